// What owns it: see proc_number.h.
#include "fusefs/base/proc_number.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

namespace troot::fusefs {

std::int64_t ProcNumber::operator()() noexcept {
  if (!opened_) {
    opened_ = true;
    file_ = Fd(::open(path_, O_RDONLY | O_CLOEXEC));
  }
  std::array<char, 128> text{};
  const ssize_t n =
      file_.valid() ? ::pread(file_.get(), text.data(), text.size() - 1, 0) : ssize_t{-1};
  if (n <= 0) return -1;
  const char* at = text.data();
  for (int word = 0; word < word_; ++word) {
    at = std::strchr(at, ' ');
    if (at == nullptr) return -1;
    ++at;
  }
  char* end = nullptr;
  const long long number = std::strtoll(at, &end, 10);
  return end != at ? number : -1;
}

}  // namespace troot::fusefs
