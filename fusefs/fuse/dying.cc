// What owns it: see dying.h.
#include "fusefs/fuse/dying.h"

#include <dirent.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <memory>

namespace troot::fusefs {
namespace {

struct Closer {
  void operator()(DIR* dir) const { ::closedir(dir); }
  void operator()(std::FILE* file) const { std::fclose(file); }
};

/// The words of a line of status, after its name; empty: there is no such line.
std::string_view line_of(std::string_view status, std::string_view name) noexcept {
  std::size_t at = status.find(name);
  if (at == std::string_view::npos) return {};
  at += name.size();
  return status.substr(at, status.find('\n', at) - at);
}

bool has_kill(std::string_view mask) noexcept {
  mask.remove_prefix(std::min(mask.find_first_not_of(" \t"), mask.size()));
  std::uint64_t bits = 0;
  (void)std::from_chars(mask.data(), mask.data() + mask.size(), bits, 16);
  return (bits & std::uint64_t{1} << (SIGKILL - 1)) != 0;
}

bool is_called(std::string_view numbers, pid_t tid) noexcept {
  for (std::size_t at = 0; (at = numbers.find_first_not_of(" \t", at)) != std::string_view::npos;) {
    pid_t number = 0;
    const auto [end, error] =
        std::from_chars(numbers.data() + at, numbers.data() + numbers.size(), number);
    if (error != std::errc{}) return false;
    if (number == tid) return true;
    at = static_cast<std::size_t>(end - numbers.data());
  }
  return false;
}

bool status_says_dying(const char* path, pid_t tid) noexcept {
  const std::unique_ptr<std::FILE, Closer> file(std::fopen(path, "re"));
  if (!file) return false;
  std::array<char, 4096> text{};
  const std::size_t size = std::fread(text.data(), 1, text.size(), file.get());
  return says_dying({text.data(), size}, tid);
}

/// Calls `each` with the entries of a directory that are numbers, until it returns true.
template <typename Each>
bool any_number(const char* path, Each each) noexcept {
  const std::unique_ptr<DIR, Closer> dir(::opendir(path));
  if (!dir) return false;
  while (const dirent* entry = ::readdir(dir.get())) {
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && each(entry->d_name)) return true;
  }
  return false;
}

}  // namespace

bool says_dying(std::string_view status, pid_t tid) noexcept {
  if (!has_kill(line_of(status, "\nSigPnd:")) && !has_kill(line_of(status, "\nShdPnd:")))
    return false;
  return is_called(line_of(status, "\nNSpid:"), tid);
}

bool is_dying(pid_t tid) noexcept {
  if (tid <= 0) return false;
  std::array<char, 64> path{};
  (void)std::snprintf(path.data(), path.size(), "/proc/%d/status", tid);
  if (status_says_dying(path.data(), tid)) return true;
  // Under another number, in a namespace of its own: a thread of some process.
  return any_number("/proc", [tid](const char* process) {
    std::array<char, 300> tasks{};
    (void)std::snprintf(tasks.data(), tasks.size(), "/proc/%s/task", process);
    return any_number(tasks.data(), [&](const char* task) {
      std::array<char, 600> status{};
      (void)std::snprintf(status.data(), status.size(), "%s/%s/status", tasks.data(), task);
      return status_says_dying(status.data(), tid);
    });
  });
}

}  // namespace troot::fusefs
