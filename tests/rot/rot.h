// What the tests of damage share: a directory as a value, every way in which it can
// be damaged, and the lines that were logged about it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace troot::tests {

/// The files below a directory by their paths in it, with their bytes.
using Files = std::map<std::string, std::string>;
[[nodiscard]] Files read_files(const std::string& dir);
/// Replaces all that lies in `dir`.
void write_files(const std::string& dir, const Files& files);

/// One way to damage a directory.
struct Damage {
  std::string what;
  std::function<void(Files&)> make;
};
/// The bytes of a file that are worth flipping; all: empty.
using Worth = std::function<std::vector<std::size_t>(const std::string& path, const std::string&)>;
/// Two bits of each byte flipped, each length cut, each file gone, and each file as it was in
/// `older`, newest last.
[[nodiscard]] std::vector<Damage> every_damage(const Files& now, const std::vector<Files>& older,
                                               const Worth& worth);
/// `count` of them as the seed says (TROOT_ROT_SEED), or all of them with TROOT_ROT=all. What puts
/// an older file back, of which there are few, stays, and the bits of the file `always`. Prints the
/// seed.
[[nodiscard]] std::vector<Damage> sampled(std::vector<Damage> all, std::size_t count,
                                          const std::string& always);

/// While it lives, what is logged from warnings on is kept here and goes nowhere else.
class Lines {
 public:
  Lines();
  ~Lines();
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;
  [[nodiscard]] std::string take();

 private:
  struct Kept;
  std::unique_ptr<Kept> kept_;
};

}  // namespace troot::tests
