// What owns it: sending events to a subscriber.
#include "fusefs/control/watch.h"

#include <sys/socket.h>

#include <cerrno>

#include "fusefs/control/answer.h"

namespace troot::fusefs {
namespace {

/// Looked up at once; a few kilobytes of text.
constexpr std::size_t kBatch = 64;

}  // namespace

std::string event_line(const quota::Event& event) {
  Lines lines;
  lines.pair("event", event.number)
      .pair("time", event.time)
      .pair("code", quota::name_of(event.warning))
      .pair("number", static_cast<int>(event.warning));
  if (event.project) lines.pair("project", quota::to_u32(*event.project));
  lines.pair("used", event.used)
      .pair("soft", event.limits.soft)
      .pair("hard", event.limits.hard)
      .pair("timer", event.timer);
  return std::move(lines).text();
}

void Watcher::look_up() {
  const auto found = ring_->read(seen_, kBatch);
  if (found.lost != 0) unsent_ += "lost=" + std::to_string(found.lost) + "\n";
  seen_ += found.lost + found.events.size();
  for (const auto& event : found.events) unsent_ += event_line(event) + "\n";
}

bool Watcher::pump(int fd) {
  for (;;) {
    if (unsent_.empty()) look_up();
    if (unsent_.empty()) return true;
    const ssize_t sent = ::send(fd, unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    unsent_.erase(0, static_cast<std::size_t>(sent));
  }
}

}  // namespace troot::fusefs
