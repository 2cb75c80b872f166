// LibFuzzer's door to the targets. TROOT_FUZZ_TARGET names the one to try.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/target.h"

namespace {

const troot::fuzz::Target& chosen() {
  const char* const wanted = std::getenv("TROOT_FUZZ_TARGET");
  for (const auto& target : troot::fuzz::targets()) {
    if (wanted != nullptr && target.name == wanted) return target;
  }
  std::fprintf(stderr, "TROOT_FUZZ_TARGET must be one of:");
  for (const auto& target : troot::fuzz::targets())
    std::fprintf(stderr, " %.*s", static_cast<int>(target.name.size()), target.name.data());
  std::fprintf(stderr, "\n");
  std::exit(2);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const troot::fuzz::Target& target = chosen();
  target.run({reinterpret_cast<const char*>(data), size});
  return 0;
}
