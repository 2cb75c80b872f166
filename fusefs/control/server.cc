// The thread that serves the control socket: who is let in, and how long a client may stay.
#include "fusefs/control/server.h"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <list>
#include <optional>
#include <thread>

#include "fusefs/control/protocol.h"
#include "fusefs/control/socket.h"
#include "fusefs/control/verbs.h"
#include "fusefs/control/watch.h"
#include "fusefs/overlay.h"
#include "quota/quota.h"

namespace troot::fusefs {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::size_t kMostClients = 32;
constexpr std::size_t kMostRequestBytes = 4096;
/// Subscribers stay for as long as they like, so they may not take all the places.
constexpr std::size_t kMostWatchers = 16;
/// A client that says nothing for so long is dropped, and one that does not take its answer.
constexpr auto kSilence = 30s;
constexpr int kSendPatience_s = 2;

struct Client {
  int fd = -1;
  std::string input;
  Clock::time_point heard = Clock::now();
  std::optional<Watcher> watcher{};  ///< of a subscriber
};

bool may_ask(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

class SocketServer final : public ControlServer {
 public:
  SocketServer(BoundSocket socket, ControlSubject subject, std::function<void()> quit)
      : socket_(std::move(socket)),
        subject_(std::move(subject)),
        quit_(std::move(quit)),
        stop_fd_(::eventfd(0, EFD_CLOEXEC)),
        event_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        thread_([this] { run(); }) {}

  ~SocketServer() override {
    subject_.overlay.cancel_checks();
    (void)::eventfd_write(stop_fd_, 1);
    thread_.join();
    if (long_.joinable()) long_.join();
    if (watchers_ > 0) subject_.overlay.quota()->events().on_event({});
    for (auto& client : clients_) {
      if (client.watcher) dismiss(client);
      ::close(client.fd);
    }
    ::close(event_fd_);
    ::close(stop_fd_);
  }

 private:
  void run() noexcept {
    for (;;) {
      try {
        if (!round()) return;
      } catch (const std::exception& e) {
        spdlog::error("control socket: {}", e.what());
      }
    }
  }

  /// Waits for something and deals with it. False: the end.
  bool round() {
    drop_silent();
    std::vector<pollfd> polled{{stop_fd_, POLLIN, 0}, {event_fd_, POLLIN, 0}};
    // Beyond the most clients nobody is let in; the listen queue holds them.
    const short listening = clients_.size() < kMostClients ? POLLIN : 0;
    polled.push_back({socket_.fd(), listening, 0});
    for (const auto& client : clients_) {
      const bool waits = client.watcher && client.watcher->waits();
      polled.push_back({client.fd, static_cast<short>(waits ? POLLIN | POLLOUT : POLLIN), 0});
    }
    const bool all_watch = watchers_ == clients_.size();
    const int patience_ms = all_watch ? -1 : 1000;
    if (::poll(polled.data(), polled.size(), patience_ms) < 0) return errno == EINTR;
    if (polled[0].revents != 0) return false;
    eventfd_t events = 0;
    const bool news = ::eventfd_read(event_fd_, &events) == 0;
    std::size_t at = 3;
    for (auto client = clients_.begin(); client != clients_.end(); ++at) {
      if (serve(*client, polled[at].revents, news)) {
        ++client;
        continue;
      }
      drop(*client);
      client = clients_.erase(client);
    }
    if ((polled[2].revents & POLLIN) != 0) welcome();
    return true;
  }

  /// False: the client is done for.
  bool serve(Client& client, short happened, bool news) {
    if ((happened & ~POLLOUT) != 0 && !hear(client)) return false;
    return !client.watcher || !(news || (happened & POLLOUT) != 0) ||
           client.watcher->pump(client.fd);
  }

  void drop(const Client& client) {
    ::close(client.fd);
    if (!client.watcher || --watchers_ > 0) return;
    subject_.overlay.quota()->events().on_event({});
  }

  /// False: there are too many.
  bool subscribe(Client& client) {
    if (client.watcher) return true;
    if (watchers_ == kMostWatchers) return false;
    quota::EventRing& ring = subject_.overlay.quota()->events();
    // Who charges is never kept: a full counter of wake-ups has woken us already.
    if (++watchers_ == 1) ring.on_event([fd = event_fd_] { (void)::eventfd_write(fd, 1); });
    client.watcher.emplace(ring);
    return true;
  }

  /// Tells a subscriber that the server ends, after what it can still take.
  static void dismiss(Client& client) {
    if (client.watcher->pump(client.fd) && !client.watcher->waits())
      (void)::send(client.fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  void drop_silent() {
    const auto now = Clock::now();
    clients_.remove_if([now](const Client& client) {
      if (client.watcher || now - client.heard < kSilence) return false;
      ::close(client.fd);
      return true;
    });
  }

  void welcome() {
    const int fd = ::accept4(socket_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      // Out of descriptors: poll would report the same client again at once.
      if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(100ms);
      return;
    }
    const timeval patience{kSendPatience_s, 0};
    (void)::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (may_ask(fd)) {
      clients_.push_back({fd, {}, Clock::now(), {}});
      return;
    }
    (void)send_all(fd, error_answer(EPERM, "only the server's own user and root are answered"));
    ::close(fd);
  }

  /// Reads what a client says and answers whole lines. False: it is done for.
  bool hear(Client& client) {
    std::array<char, 1024> bytes{};
    const ssize_t got = ::recv(client.fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    if (got <= 0) return false;
    client.heard = Clock::now();
    client.input.append(bytes.data(), static_cast<std::size_t>(got));
    for (std::size_t end = 0; (end = client.input.find('\n')) != std::string::npos;) {
      const std::string line = client.input.substr(0, end);
      client.input.erase(0, end + 1);
      // Between events no answer could be told from them.
      if (client.watcher) return false;
      // Others are answered meanwhile.
      if (takes_long(line)) {
        if (!answer_aside(client.fd, line)) return false;
        continue;
      }
      Answer answer = answer_request(subject_, line);
      if (answer.after == After::kWatch && !subscribe(client))
        answer.text = error_answer(EBUSY, "too many watch this mount already");
      if (!send_all(client.fd, answer.text)) return false;
      if (answer.after == After::kQuit) quit_();
    }
    if (client.input.size() < kMostRequestBytes) return true;
    (void)send_all(client.fd, error_answer(E2BIG, "a request is one short line"));
    return false;
  }

  /// Answers in a thread of its own, one at a time. The client may be dropped meanwhile: it is
  /// answered through a descriptor of the thread's. False: it is done for.
  bool answer_aside(int client, const std::string& line) {
    if (long_busy_.exchange(true))
      return send_all(client, error_answer(EBUSY, "a check or a refresh is running"));
    if (long_.joinable()) long_.join();
    const int fd = ::fcntl(client, F_DUPFD_CLOEXEC, 0);
    try {
      if (fd < 0) throw std::system_error(errno, std::generic_category());
      long_ = std::thread([this, fd, line] {
        const Answer answer = answer_request(subject_, line);
        // Before it is said, so that who heard it may ask again at once.
        long_busy_.store(false);
        (void)send_all(fd, answer.text);
        ::close(fd);
      });
      return true;
    } catch (const std::system_error& e) {
      if (fd >= 0) ::close(fd);
      long_busy_.store(false);
      return send_all(client, error_answer(e.code().value(), "no thread can be had for it"));
    }
  }

  const BoundSocket socket_;
  const ControlSubject subject_;
  const std::function<void()> quit_;
  const int stop_fd_;
  const int event_fd_;         ///< written by who charges, while somebody watches
  std::list<Client> clients_;  // the thread's, until it is joined
  std::atomic<bool> long_busy_{false};
  std::thread long_;          // likewise; ends by itself
  std::size_t watchers_ = 0;  // likewise
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::start(const std::string& path,
                                                            ControlSubject subject,
                                                            std::function<void()> quit) {
  TRY(socket, BoundSocket::listen(path));
  try {
    return std::make_unique<SocketServer>(std::move(socket), std::move(subject), std::move(quit));
  } catch (const std::system_error& e) {
    return fail(e.code().value());
  }
}

}  // namespace troot::fusefs
