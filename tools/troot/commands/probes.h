// The things that troot needs from a host, each tried for real, in a child where the
// try changes the process.
#pragma once

#include <string>
#include <vector>

namespace troot::cli {

enum class Verdict {
  kOk,
  kWarn,  ///< works, with less
  kFail   ///< worlds cannot run
};

struct Finding {
  std::string what;
  Verdict verdict = Verdict::kOk;
  std::string detail;  ///< what happened, with the errno's words
  std::string cure;    ///< the line to paste; empty where there is none
};

/// All of them, in the order in which a world needs them. `store` is where the store is or will be;
/// `refusal`: why no world is to be kept there.
[[nodiscard]] std::vector<Finding> probe_all(const std::string& store, const std::string& refusal);

}  // namespace troot::cli
