// The program that runs, as an object: what joins a world executes there what the
// world says, and "#!/proc/self/exe" says the joining program itself (as CVE-2019-5736). So that is
// a sealed copy in memory, from which nothing leads to the host's file.
#pragma once

#include <string>

namespace troot::cli {

/// Where the program lies on the host, also when this is the copy. Call first in main().
void learn_program();
[[nodiscard]] const std::string& program_path();

/// Executes a copy of the program with the same words, unless this is one. Where the kernel refuses
/// that, says so in one line and returns.
void become_copy(char** argv);

}  // namespace troot::cli
