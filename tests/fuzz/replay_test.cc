// Every input of the corpus through its target, and some thousand changes of each: with any
// compiler, in every run of the tests. Finding new inputs is libFuzzer's (docs/TESTING.md).
//
// TROOT_FUZZ_ROUNDS=N makes N changed inputs of each (300), TROOT_FUZZ_SEED=N takes that seed.
#include <algorithm>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>

#include <boost/filesystem.hpp>

#include "fuzz/target.h"
#include "model/seeds.h"
#include "unit/catch.h"

using namespace troot;

namespace {

namespace fs = boost::filesystem;

std::vector<std::string> inputs_of(std::string_view target) {
  std::vector<fs::path> paths;
  const fs::path dir = fs::path(TROOT_FUZZ_CORPUS) / std::string(target);
  for (fs::directory_iterator it(dir), end; it != end; ++it) paths.push_back(it->path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> inputs;
  for (const fs::path& path : paths) {
    std::ostringstream text;
    text << std::ifstream(path.string(), std::ios::binary).rdbuf();
    inputs.push_back(text.str());
  }
  return inputs;
}

/// The input with a few bytes changed, taken out, put in, or with a piece of another one.
std::string changed(const std::vector<std::string>& inputs, std::size_t which,
                    std::mt19937_64& random) {
  static constexpr char kTelling[] = "\0\n :=/.,\\\"-+0179fUP\xff";
  std::string text = inputs[which];
  for (auto times = 1 + random() % 4; times > 0; --times) {
    const std::size_t at = random() % (text.size() + 1);
    const char byte =
        random() % 2 ? kTelling[random() % (sizeof kTelling - 1)] : static_cast<char>(random());
    switch (random() % 5) {
      case 0:
        text.insert(at, 1 + random() % 3, byte);
        break;
      case 1:
        text.erase(at, 1 + random() % 8);
        break;
      case 2:
        text.insert(at, inputs[random() % inputs.size()], 0, random() % 64);
        break;
      case 3:
        text.resize(at);
        break;
      default:
        if (at < text.size()) text[at] = byte;
    }
  }
  return text;
}

std::string shown(const std::string& bytes) {
  std::ostringstream out;
  for (const char c : bytes) out << std::hex << (static_cast<unsigned>(c) & 0xff) << ' ';
  return out.str();
}

void try_one(const fuzz::Target& target, const std::string& bytes) {
  INFO(target.name << " with " << shown(bytes));
  CHECK_NOTHROW(target.run(bytes));
}

}  // namespace

TEST_CASE("every format takes any bytes, and what it reads it writes again") {
  const auto seed = tests::number_of("TROOT_FUZZ_SEED", tests::seed_of_today());
  const auto rounds = tests::number_of("TROOT_FUZZ_ROUNDS", 300);
  std::cerr << "TROOT_FUZZ_SEED=" << seed << "\n";
  for (const fuzz::Target& target : fuzz::targets()) {
    std::mt19937_64 random(seed);
    const auto inputs = inputs_of(target.name);
    INFO(target.name);
    REQUIRE(!inputs.empty());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      try_one(target, inputs[i]);
      for (std::uint64_t n = 0; n < rounds; ++n) try_one(target, changed(inputs, i, random));
    }
  }
}
