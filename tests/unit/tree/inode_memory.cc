// What a known inode costs the server in memory: 200 bytes at most, name and
// directory included, whatever the kernel does with its own caches meanwhile.
#include <fstream>

#include "unit/overlay/union_fixture.h"

using namespace troot::tests;

namespace {

constexpr int kDirectories = 100, kEach = 1000;
constexpr double kMostBytes = 200;

std::int64_t resident_bytes() {
  std::int64_t size = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

/// Looks up every name of a directory and keeps the lookups, as the kernel does.
std::vector<NodeId> look_up_all(Overlay& overlay, NodeId dir) {
  std::vector<NodeId> found;
  const auto status = overlay.readdir(dir, 0, DirMode::kPlus, [&](const DirItem& item) {
    if (item.entry.id != 0) found.push_back(item.entry.id);
    return true;
  });
  REQUIRE(status);
  return found;
}

}  // namespace

TEST_CASE("a known inode costs at most 200 bytes", "[memory]") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return;  // sanitizers multiply memory
#endif
  Fixture f;
  for (int d = 0; d < kDirectories; ++d) {
    const std::string dir = f.dir.make("lower/directory-" + std::to_string(d));
    for (int i = 0; i < kEach; ++i) put(dir + "/file-number-" + std::to_string(i), "");
  }
  Overlay& overlay = f.open();
  std::vector<NodeId> known = look_up_all(overlay, kRootId);
  REQUIRE(known.size() == kDirectories);
  known.reserve((kEach + 1) * kDirectories);
  const std::int64_t before = resident_bytes();
  for (int d = 0; d < kDirectories; ++d) {
    const auto inside = look_up_all(overlay, known[static_cast<std::size_t>(d)]);
    known.insert(known.end(), inside.begin(), inside.end());
  }
  const auto inodes = overlay.stats().inodes;
  REQUIRE(inodes >= static_cast<std::uint64_t>(kDirectories) * kEach);
  // Of what has grown, the test's own list of ids is the smaller part.
  const auto own = static_cast<std::int64_t>(known.size() * sizeof(NodeId));
  const double each = static_cast<double>(resident_bytes() - before - own) / double(inodes);
  INFO(each << " bytes for each of " << inodes << " inodes");
  CHECK(each <= kMostBytes);
  for (auto it = known.rbegin(); it != known.rend(); ++it) overlay.forget(*it, 1);
  CHECK(overlay.stats().inodes < 10);
}
