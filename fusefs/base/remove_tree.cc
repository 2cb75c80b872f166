// Removes trees of any depth and any width (fusefs/base/remove_tree.h).
#include "fusefs/base/remove_tree.h"

#include <atomic>
#include <cerrno>
#include <new>
#include <string>
#include <vector>

#include "fusefs/base/posix.h"

namespace troot::fusefs {
namespace {

/// Removes what is no directory, and an empty one.
bool remove_flat(int dirfd, const char* name) {
  const auto status = posix::unlink(dirfd, name);
  if (status || (status.error() != EISDIR && status.error() != EPERM)) return true;
  return posix::unlink(dirfd, name, AT_REMOVEDIR).has_value();
}

/// Empties a directory. Directories in it that are not empty are moved up beside it: so a tree of
/// any depth takes no deeper stack and one descriptor.
void empty_out(int dirfd, const char* name, std::vector<std::string>& moved) {
  const auto fd = posix::open_at(dirfd, name, O_RDONLY | O_DIRECTORY);
  if (!fd) return;
  std::vector<std::string> full;
  (void)posix::list(fd->get(), [&](const DirName& d) {
    full.emplace_back(d.name);
    return true;
  });
  std::erase_if(full, [&](const std::string& n) { return remove_flat(fd->get(), n.c_str()); });
  for (const std::string& n : full) {
    static std::atomic<std::uint64_t> number{0};
    std::string beside = "rest" + std::to_string(number.fetch_add(1));
    if (posix::rename(fd->get(), n.c_str(), dirfd, beside.c_str(), RENAME_NOREPLACE))
      moved.push_back(std::move(beside));
  }
}

}  // namespace

void remove_tree(int dirfd, const char* name) noexcept {
  if (remove_flat(dirfd, name)) return;
  try {
    std::vector<std::string> left{name};
    while (!left.empty()) {
      const std::string one = std::move(left.back());
      left.pop_back();
      empty_out(dirfd, one.c_str(), left);
      (void)posix::unlink(dirfd, one.c_str(), AT_REMOVEDIR);
    }
  } catch (const std::bad_alloc&) {
    // The next mount empties the stage.
  }
}

}  // namespace troot::fusefs
