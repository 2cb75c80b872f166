// Where the seeds of random tests come from: the environment, or the day, so that
// each day tries other ones; and those that are tried every time.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace troot::tests {

inline std::uint64_t number_of(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// Days since 1970.
inline std::uint64_t seed_of_today() {
  return static_cast<std::uint64_t>(std::time(nullptr)) / 86400;
}

/// A seed, and how many operations with it.
struct KeptSeed {
  std::uint64_t seed;
  std::uint64_t operations;
};
/// Of model_test. A seed that shows a difference is added here with the operations that it took.
inline constexpr std::array<KeptSeed, 2> kModelSeeds{{{1, 8000}, {40, 8000}}};

}  // namespace troot::tests
