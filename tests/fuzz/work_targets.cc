// What owns it: fuzzing what the union reads from its work directory: the file of inode numbers,
// and the names and counts of the kernel's index of hard links.
#include <fcntl.h>
#include <spdlog/spdlog.h>

#include <fstream>
#include <map>
#include <set>

#include "fusefs/disk/format.h"
#include "fusefs/disk/numbers.h"
#include "fuzz/target.h"
#include "unit/scratch.h"

namespace troot::fuzz {

using namespace fusefs;

namespace {

constexpr std::uint64_t kTop = std::uint64_t{1} << 56;

using Shown = std::map<std::pair<dev_t, std::uint64_t>, std::uint64_t>;

/// What a mount shows of some objects of some file systems; the fourth of four uses all bits of its
/// numbers, so that they are given out one by one.
Shown shown_by(const std::string& dir, dev_t devices) {
  Numbers numbers(1);
  must(numbers
           .remember_in(Fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
                        LinesOutlive::kServer)
           .has_value());
  Shown shown;
  std::set<std::uint64_t> all;
  for (dev_t device = 1; device <= devices; ++device) {
    const std::string name = "fsid-1-" + encode_u64(device);
    const std::uint64_t tops = device == 4 ? 256 : 3;
    for (std::uint64_t top = 0; top < tops; ++top) {
      for (const std::uint64_t low : {2U, 3U}) {
        const std::uint64_t ino = (device == 4 ? top : top * 127) * kTop + low;
        const auto number = numbers.of(device, ino, [&] { return name; });
        must(all.insert(number).second);
        must(numbers.of(device, ino, [&] { return name; }) == number);
        shown[{device, ino}] = number;
      }
    }
  }
  return shown;
}

}  // namespace

void numbers(std::string_view bytes) {
  spdlog::set_level(spdlog::level::off);
  static const tests::Scratch scratch;
  static const std::string dir = scratch.make("troot");
  std::ofstream(dir + "/numbers", std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  const dev_t devices = bytes.size() % 4 == 0 ? 4 : 3;  // the fourth takes its time
  const Shown shown = shown_by(dir, devices);
  // A file of another version is left alone: nothing is kept then.
  const bool foreign = bytes.find('\n') != std::string_view::npos &&
                       bytes.substr(0, bytes.find('\n')) != "troot-numbers 1";
  if (!foreign) must(shown_by(dir, devices) == shown);
}

void kernel_index(std::string_view bytes) {
  if (const auto nlink = parse_kernel_nlink(bytes)) {
    const std::string text = (nlink->of_upper ? "U" : "L") +
                             std::string(nlink->more < 0 ? "" : "+") + std::to_string(nlink->more);
    const auto again = parse_kernel_nlink(text);
    must(again && again->of_upper == nlink->of_upper && again->more == nlink->more);
  }
  if (const auto handle = parse_kernel_handle(bytes)) {
    constexpr std::size_t kMostBytes = 128, kHeadDigits = 42;
    must(!handle->bytes.empty() && handle->bytes.size() <= kMostBytes);
    must(handle->type >= 0 && handle->type <= UINT8_MAX);
    must(2 * handle->bytes.size() + kHeadDigits == bytes.size());
  }
}

}  // namespace troot::fuzz
