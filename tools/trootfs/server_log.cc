// Implements server_log.h.
#include "tools/trootfs/server_log.h"

#include <fcntl.h>
#include <spdlog/sinks/base_sink.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <mutex>

namespace troot {
namespace {

/// So many different lines are remembered: more than take turns in any trouble that was seen.
constexpr std::size_t kRecent = 16;

class ServerLog final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  ServerLog(std::string path, int fd, LogBounds bounds)
      : path_(std::move(path)), bounds_(bounds), fd_(fd) {}
  ~ServerLog() override {
    for (Recent& recent : recent_) tell_repeats(recent);
    ::close(fd_);
  }
  ServerLog(const ServerLog&) = delete;
  ServerLog& operator=(const ServerLog&) = delete;

  static int open_file(const std::string& path) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    // Names of files stand in it, whoever made it.
    if (fd >= 0) (void)::fchmod(fd, S_IRUSR | S_IWUSR);
    return fd;
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& msg) override {
    const std::string text(msg.payload.data(), msg.payload.size());
    auto recent = std::find_if(recent_.begin(), recent_.end(),
                               [&text](const Recent& r) { return r.text == text; });
    if (recent != recent_.end() && msg.time - recent->written < bounds_.repeated) {
      ++recent->repeats;
      recent->level = msg.level;
      return;
    }
    if (recent == recent_.end()) {
      recent =
          std::min_element(recent_.begin(), recent_.end(),
                           [](const Recent& a, const Recent& b) { return a.written < b.written; });
    }
    tell_repeats(*recent);
    recent->text = text;
    recent->written = msg.time;
    write(msg);
  }
  void flush_() override {}

 private:
  struct Recent {
    std::string text;
    spdlog::log_clock::time_point written;
    spdlog::level::level_enum level = spdlog::level::warn;
    std::uint64_t repeats = 0;
  };

  void tell_repeats(Recent& recent) {
    if (recent.repeats == 0) return;
    const std::string text = std::to_string(recent.repeats) + " times more: " + recent.text;
    recent.repeats = 0;
    write(spdlog::details::log_msg("trootfs", recent.level, text));
  }

  void write(const spdlog::details::log_msg& msg) {
    spdlog::memory_buf_t line;
    formatter_->format(msg, line);
    struct stat st {};
    if (::fstat(fd_, &st) == 0 &&
        static_cast<std::size_t>(st.st_size) + line.size() > bounds_.bytes)
      begin_anew();
    // A full disk costs lines.
    (void)!::write(fd_, line.data(), std::min(line.size(), bounds_.bytes));
  }

  void begin_anew() {
    const std::string before = path_ + ".1";
    const bool kept = ::rename(path_.c_str(), before.c_str()) == 0;
    const int fd = kept ? open_file(path_) : -1;
    if (fd < 0) {
      (void)!::ftruncate(fd_, 0);
      return;
    }
    ::close(fd_);
    fd_ = fd;
  }

  const std::string path_;
  const LogBounds bounds_;
  int fd_;
  std::array<Recent, kRecent> recent_;
};

}  // namespace

std::shared_ptr<spdlog::sinks::sink> open_server_log(const std::string& path, LogBounds bounds) {
  const int fd = ServerLog::open_file(path);
  if (fd < 0) return nullptr;
  return std::make_shared<ServerLog>(path, fd, bounds);
}

}  // namespace troot
