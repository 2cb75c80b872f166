// Fd, the one owner of a file descriptor in all of the project.
#pragma once

#include <unistd.h>

#include <utility>

namespace troot {

/// Owns a descriptor and closes it; empty: -1. Moved from, it is empty. Not thread-safe.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~Fd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }
  /// The caller owns what is returned.
  int release() noexcept { return std::exchange(fd_, -1); }
  /// Closes what it has and takes `fd`.
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace troot
