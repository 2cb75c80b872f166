// A listening AF_UNIX socket at a path of any length, and connecting to one. sun_path
// holds 107 bytes, so the last component is named through a descriptor of its directory.
#pragma once

#include <string>
#include <utility>

#include "quota/base/result.h"

namespace troot::fusefs {

/// Removes the socket's file when destroyed.
class BoundSocket {
 public:
  /// Mode 0600. A socket that nobody answers on is replaced; EADDRINUSE: somebody does.
  [[nodiscard]] static Result<BoundSocket> listen(const std::string& path);
  BoundSocket(BoundSocket&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        directory_(std::exchange(other.directory_, -1)),
        name_(std::move(other.name_)) {}
  BoundSocket& operator=(BoundSocket&&) = delete;
  ~BoundSocket();
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  BoundSocket(int fd, int directory, std::string name)
      : fd_(fd), directory_(directory), name_(std::move(name)) {}
  int fd_;
  int directory_;
  std::string name_;
};

/// A connected descriptor, the caller's to close. Errors: those of connect(2); ETIMEDOUT: it is
/// there and accepts nobody.
[[nodiscard]] Result<int> connect_socket(const std::string& path);

}  // namespace troot::fusefs
