// Directories that a test may fill: removed at the end, on the fastest file system that can hold an
// upper.
#pragma once

#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

#include <boost/filesystem.hpp>

namespace troot::tests {

class Scratch {
 public:
  Scratch() {
    for (const char* base : {"/dev/shm", "/var/tmp", "/tmp"}) {
      std::string path = std::string(base) + "/troot-test-XXXXXX";
      if (::mkdtemp(path.data()) == nullptr) continue;
      if (::setxattr(path.c_str(), "user.probe", "1", 1, 0) == 0) {
        ::removexattr(path.c_str(), "user.probe");
        path_ = path;
        return;
      }
      boost::filesystem::remove_all(path);
    }
    throw std::runtime_error("no directory with user xattrs for tests");
  }
  /// One that another process made, and removes.
  explicit Scratch(std::string path) : path_(std::move(path)), borrowed_(true) {}
  ~Scratch() {
    boost::system::error_code ignored;
    if (!borrowed_) boost::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::string make(const std::string& name) const {
    boost::filesystem::create_directories(path_ + "/" + name);
    return path_ + "/" + name;
  }

 private:
  std::string path_;
  bool borrowed_ = false;
};

}  // namespace troot::tests
