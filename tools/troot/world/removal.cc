// Removing a directory with all that is in it, whatever its depth.
//
// A world may hold paths that are longer than any system call takes. So nothing here is named by a
// path: a directory that is not empty is moved up to the top and emptied there, which takes one
// descriptor and no stack for a tree of any depth.
#include "tools/troot/world/removal.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "quota/base/fd.h"

namespace troot::cli {
namespace {

using Listing = std::unique_ptr<DIR, int (*)(DIR*)>;

Listing open_directory(int at, const char* name) {
  Fd fd(::openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  Listing listing(fd.valid() ? ::fdopendir(fd.get()) : nullptr, &::closedir);
  if (listing) static_cast<void>(fd.release());
  return listing;
}

std::vector<std::string> names_in(DIR* directory) {
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  return names;
}

/// What is no directory, and an empty one. Returns an errno, 0 if it is gone.
int remove_flat(int at, const std::string& name) {
  if (::unlinkat(at, name.c_str(), 0) == 0 || errno == ENOENT) return 0;
  if (errno != EISDIR && errno != EPERM) return errno;
  if (::unlinkat(at, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
  return errno == EEXIST ? ENOTEMPTY : errno;
}

class Removal {
 public:
  explicit Removal(int top) : top_(top) {}

  /// Empties the top. Returns the errno of the first that stayed, 0 if none did.
  int run(DIR* top) {
    for (const std::string& name : names_in(top)) {
      if (const int error = remove_flat(top_, name); error == ENOTEMPTY) {
        full_.push_back(name);
      } else {
        note(error);
      }
    }
    while (!full_.empty()) {
      const std::string name = std::move(full_.back());
      full_.pop_back();
      empty_out(name);
    }
    return error_;
  }

 private:
  void note(int error) {
    if (error_ == 0) error_ = error;
  }

  /// A directory of the top. Those in it that are not empty become further ones.
  void empty_out(const std::string& name) {
    const Listing listing = open_directory(top_, name.c_str());
    if (!listing) return note(errno);
    for (const std::string& inner : names_in(listing.get())) {
      int error = remove_flat(::dirfd(listing.get()), inner);
      if (error == ENOTEMPTY) error = move_up(::dirfd(listing.get()), inner);
      note(error);
    }
    if (::unlinkat(top_, name.c_str(), AT_REMOVEDIR) != 0) note(errno);
  }

  int move_up(int from, const std::string& name) {
    for (;;) {
      const std::string beside = "rest." + std::to_string(number_++);
      if (::renameat2(from, name.c_str(), top_, beside.c_str(), RENAME_NOREPLACE) == 0) {
        full_.push_back(beside);
        return 0;
      }
      // One of a removal that was cut short: it is in the list already.
      if (errno != EEXIST) return errno;
    }
  }

  const int top_;
  std::uint64_t number_ = 0;
  std::vector<std::string> full_;
  int error_ = 0;
};

}  // namespace

Done remove_directory(const std::string& path) {
  const Listing top = open_directory(AT_FDCWD, path.c_str());
  if (!top) return failure_errno("remove " + path);
  if (const int error = Removal(::dirfd(top.get())).run(top.get()); error != 0)
    return failure_errno("remove " + path, error);
  if (::rmdir(path.c_str()) != 0) return failure_errno("remove " + path);
  return {};
}

}  // namespace troot::cli
