// Opens for the server's user what is his own and lacks the owner's permissions: files of mode 0000
// or 0200, directories of mode 0000, 0300 or 0600. Their owner would chmod them first, but lowers
// are never written. In a user namespace of its own that maps just him (user_namespaces(7)) a
// process may pass over the permissions of his objects, and of nobody else's; so a small one does,
// started when first needed and gone a moment after, and hands descriptors over.
#pragma once

#include <string>

#include "fusefs/base/posix.h"
#include "quota/base/mutex.h"

namespace troot::fusefs {

/// Thread-safe. Where no such namespace may be made, or the object is not his by user and group,
/// every call answers EACCES.
class OwnReader {
 public:
  OwnReader() = default;
  ~OwnReader() = default;
  OwnReader(const OwnReader&) = delete;
  OwnReader& operator=(const OwnReader&) = delete;

  /// As posix::open_noatime (O_PATH: as posix::open_at). An empty name: the object of `dirfd`.
  [[nodiscard]] Result<Fd> open(int dirfd, const char* name, int flags);
  /// As posix::get_xattr.
  [[nodiscard]] Result<std::string> get_xattr(int dirfd, const char* name, const char* xattr);

 private:
  struct Request;
  struct Reply;
  [[nodiscard]] Result<Fd> ask(int dirfd, const Request& request, Reply& reply);
  [[nodiscard]] bool start() REQUIRES(mutex_);
  [[noreturn]] static void serve(int socket) noexcept;
  static void answer(int socket) noexcept;

  Mutex mutex_;
  Fd socket_ GUARDED_BY(mutex_);
};

}  // namespace troot::fusefs
