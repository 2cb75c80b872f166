// Implements small_file.h.
#include "quota/small_file.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace troot::quota {

Result<std::optional<std::string>> read_file(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return std::optional<std::string>{};
    return fail_errno();
  }
  if (!S_ISREG(st.st_mode)) {
    spdlog::warn("{}: not a file; it is taken for absent", path);
    return std::optional<std::string>{};
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (file.bad() || !file.is_open()) return fail(EIO);
  return std::optional<std::string>{text.str()};
}

Status write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno();
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace troot::quota
