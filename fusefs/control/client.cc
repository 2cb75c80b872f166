// The client's side of the control socket.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <fstream>
#include <utility>
#include <vector>

#include "fusefs/control/protocol.h"
#include "fusefs/control/server.h"
#include "fusefs/control/socket.h"
#include "fusefs/control/verbs.h"

namespace troot::fusefs {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(10);
constexpr auto kStopped = std::chrono::milliseconds(300);
/// For a request that looks at every object of the upper, or at every known one.
constexpr auto kLongPatience = std::chrono::minutes(30);
/// More than a report of 100,000 projects takes.
constexpr std::size_t kMostAnswerBytes = 64u << 20;

Status send_request(int fd, const std::string& request) {
  const std::string line = request + "\n";
  const ssize_t sent = ::send(fd, line.data(), line.size(), MSG_NOSIGNAL);
  if (sent < 0) return fail_errno();
  return static_cast<std::size_t>(sent) == line.size() ? Status{} : fail(EIO);
}

/// The process that listens at the other end, which must be of whom the caller means.
Result<pid_t> server_at(int fd, const ControlAsk& how) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return fail_errno();
  if (peer.uid != how.owner.value_or(::geteuid())) return fail(EPERM);
  return peer.pid;
}

/// Returns when there is an answer, or when it is worth waiting for one: a server that was stopped
/// gives none, but one may be stopped for a moment, by who looks at it with a debugger.
Status await_stopped(int fd, pid_t server, Clock::duration patience) {
  pollfd ready{fd, POLLIN, 0};
  const auto most = std::min(patience, Clock::duration(kStopped));
  const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(most).count();
  int polled = 0;
  do {
    polled = ::poll(&ready, 1, static_cast<int>(wait));
  } while (polled < 0 && errno == EINTR);
  return polled == 0 && process_is_stopped(server) ? Status(fail(ETIMEDOUT)) : Status{};
}

/// Up to and with `end`, or the empty line that ends an answer.
Result<std::string> receive_answer(int fd, Clock::duration patience,
                                   std::string_view end = "\n\n") {
  const auto until = Clock::now() + patience;
  std::string text;
  std::vector<char> bytes(64 << 10);  // an answer may be megabytes
  while (!text.ends_with("\n\n") && text != end) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd ready{fd, POLLIN, 0};
    const int polled = left > 0 ? ::poll(&ready, 1, static_cast<int>(left)) : 0;
    if (polled < 0 && errno == EINTR) continue;
    if (polled < 0) return fail_errno();
    if (polled == 0) return fail(ETIMEDOUT);
    // No more than is waited for: what follows it is the stream's.
    const std::size_t most = end == "\n\n" ? bytes.size() : 1;
    const ssize_t got = ::recv(fd, bytes.data(), most, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno();
    if (got == 0 || text.size() > kMostAnswerBytes) return fail(EPROTO);
    text.append(bytes.data(), static_cast<std::size_t>(got));
  }
  return text;
}

std::map<std::string, std::string> parse_line(std::string_view line) {
  std::map<std::string, std::string> pairs;
  while (!line.empty()) {
    const auto word = line.substr(0, line.find(' '));
    line.remove_prefix(std::min(line.size(), word.size() + 1));
    const auto equals = word.find('=');
    if (equals == std::string_view::npos) continue;
    pairs.emplace(word.substr(0, equals), unescape_value(word.substr(equals + 1)));
  }
  return pairs;
}

Result<ControlReply> parse_answer(std::string_view text) {
  ControlReply reply;
  const auto head = text.substr(0, text.find('\n'));
  text.remove_prefix(head.size() + 1);
  if (head.starts_with("error ")) {
    const auto rest = head.substr(6);
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), reply.error);
    if (error != std::errc{} || reply.error <= 0) return fail(EPROTO);
    reply.text =
        rest.substr(std::min(rest.size(), static_cast<std::size_t>(end - rest.data()) + 1));
    return reply;
  }
  if (head != "ok") return fail(EPROTO);
  while (!text.empty() && text[0] != '\n') {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() + 1);
    reply.lines.push_back(parse_line(line));
  }
  return reply;
}

}  // namespace

std::string ControlReply::value(const std::string& key) const {
  for (const auto& line : lines) {
    if (const auto pair = line.find(key); pair != line.end()) return pair->second;
  }
  return {};
}

bool process_is_stopped(pid_t pid) {
  if (pid <= 0) return false;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  // The name before it may hold anything.
  const auto state = line.rfind(") ");
  return state != std::string::npos && state + 2 < line.size() &&
         (line[state + 2] == 'T' || line[state + 2] == 't');
}

Result<ControlReply> control_request(const std::string& path, const std::string& request,
                                     const ControlAsk& how) {
  if (request.find('\n') != std::string::npos) return fail(EINVAL);
  TRY(fd, connect_socket(path));
  auto answer = [&]() -> Result<std::string> {
    TRY(server, server_at(fd, how));
    CHECK_OK(send_request(fd, request));
    const auto patience = how.patience          ? Clock::duration(*how.patience)
                          : takes_long(request) ? Clock::duration(kLongPatience)
                                                : kPatience;
    CHECK_OK(await_stopped(fd, server, patience));
    return receive_answer(fd, patience);
  }();
  ::close(fd);
  if (!answer) return fail(answer.error());
  return parse_answer(*answer);
}

Result<EventStream> EventStream::open(const std::string& path, ControlReply& reply,
                                      const ControlAsk& how) {
  TRY(fd, connect_socket(path));
  EventStream stream(fd);
  TRY(server, server_at(fd, how));
  static_cast<void>(server);
  CHECK_OK(send_request(fd, "watch"));
  TRY(head, receive_answer(fd, kPatience, "ok\n"));
  TRY(parsed, parse_answer(head));
  reply = std::move(parsed);
  return stream;
}

EventStream::EventStream(EventStream&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), text_(std::move(other.text_)) {}

EventStream& EventStream::operator=(EventStream&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(text_, other.text_);
  return *this;
}

EventStream::~EventStream() {
  if (fd_ >= 0) ::close(fd_);
}

Result<EventStream::Batch> EventStream::read() {
  std::array<char, 16384> bytes{};
  ssize_t got = 0;
  do {
    got = ::recv(fd_, bytes.data(), bytes.size(), 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail_errno();
  if (got == 0) return fail(ECONNRESET);
  text_.append(bytes.data(), static_cast<std::size_t>(got));
  Batch batch;
  std::size_t at = 0;
  for (std::size_t end = 0; (end = text_.find('\n', at)) != std::string::npos; at = end + 1) {
    if (end == at) {
      batch.ended = true;
    } else {
      batch.lines.push_back(parse_line(std::string_view(text_).substr(at, end - at)));
    }
  }
  text_.erase(0, at);
  if (text_.size() > kMostAnswerBytes) return fail(EPROTO);
  return batch;
}

}  // namespace troot::fusefs
