// Mounting, serving until the end, and unmounting.
#include "fusefs/fuse/session.h"

#define FUSE_USE_VERSION 314
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "fusefs/fuse/mount_watch.h"
#include "fusefs/fuse/notifier.h"
#include "fusefs/fuse/ops.h"
#include "fusefs/fuse/passthrough.h"
#include "fusefs/serve/device.h"
#include "fusefs/serve/uring_abi.h"
#include "fusefs/serve/workers.h"

namespace troot::fusefs {
namespace {

/// How long a mount that was detached may stay in use before its connection is cut.
constexpr int kDetachPatience_ms = 3000;
/// How often it is looked whether anybody still uses a mount that is in its namespace no more.
constexpr int kDetachedLook_ms = 500;

tl::unexpected<UsageError> cannot_mount(std::string message) {
  return tl::unexpected<UsageError>(UsageError{std::move(message), kExitCannot});
}

sigset_t end_signals() noexcept {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  return set;
}

/// The last thing that libfuse had to say, for the one line that a failed mount gets. Written only
/// while the mount is made, before there are threads.
std::string& last_complaint() {
  static std::string text;
  return text;
}

/// libfuse's own messages go to our log.
[[gnu::format(printf, 2, 0)]] void log_from_libfuse(fuse_log_level level, const char* format,
                                                    va_list args) {
  std::array<char, 512> line{};
  (void)std::vsnprintf(line.data(), line.size(), format, args);
  std::string_view text(line.data());
  while (text.ends_with('\n')) text.remove_suffix(1);
  if (level >= FUSE_LOG_DEBUG) {
    spdlog::debug("{}", text);
    return;
  }
  if (text.starts_with("fuse: ")) text.remove_prefix(6);
  last_complaint() = text;
  spdlog::warn("libfuse: {}", text);
}

/// What identifies a mount, without asking its server.
std::optional<dev_t> device_of(const std::string& path) noexcept {
  struct statx attr {};
  // A plain stat would wait for a GETATTR that nobody serves yet.
  if (::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &attr) != 0)
    return {};
  return makedev(attr.stx_dev_major, attr.stx_dev_minor);
}

/// The arguments of fuse_session_new, freed with it.
class Arguments {
 public:
  explicit Arguments(const MountOptions& o) {
    ::fuse_opt_add_arg(&args_, "trootfs");
    if (o.debug) ::fuse_opt_add_arg(&args_, "-d");
    // The kernel checks permissions from the presented owners and modes, so that no ACCESS comes.
    add("default_permissions");
    add("fsname=" + o.fsname);
    add("subtype=" + o.subtype);
    if (o.read_only) add("ro");
    if (o.allow_other) add("allow_other");
    if (o.allow_root && !o.allow_other) add("allow_root");
    for (const auto& flag : o.mount_flags) add(flag);
  }
  ~Arguments() { ::fuse_opt_free_args(&args_); }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  fuse_args* get() { return &args_; }

 private:
  void add(const std::string& option) {
    std::string escaped;
    for (const char c : option) {
      if (c == ',' || c == '\\') escaped += '\\';
      escaped += c;
    }
    ::fuse_opt_add_arg(&args_, ("-o" + escaped).c_str());
  }
  fuse_args args_ = FUSE_ARGS_INIT(0, nullptr);
};

void unmount_path(const std::string& path) noexcept {
  if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return;
  const char* const argv[] = {"fusermount3", "-u", "-q", "-z", "--", path.c_str(), nullptr};
  pid_t child = -1;
  if (::posix_spawnp(&child, "fusermount3", nullptr, nullptr, const_cast<char**>(argv), environ) !=
      0) {
    spdlog::error("cannot unmount {}: no fusermount3", path);
    return;
  }
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

class FuseSession final : public Session {
 public:
  FuseSession(Overlay& overlay, const MountOptions& options)
      : served_{overlay},
        options_(options),
        end_fd_(::eventfd(0, EFD_CLOEXEC)),
        gone_fd_(::eventfd(0, EFD_CLOEXEC)) {}

  ~FuseSession() override {
    workers_.reset();
    notifier_.reset();
    device_.reset();
    if (session_) {
      if (!gone_) unmount();
      // Once the connection is gone this only tidies up. Where it is not, libfuse would unmount
      // whatever lies at the path by now; closing the descriptor, below, is enough.
      if (gone_ && mounted_) ::fuse_session_unmount(session_);
      ::fuse_session_destroy(session_);
    }
    ::close(end_fd_);
    ::close(gone_fd_);
  }

  tl::expected<void, UsageError> create() {
    ::fuse_set_log_func(log_from_libfuse);
    Arguments arguments(options_);
    session_ =
        ::fuse_session_new(arguments.get(), &operations(), sizeof(fuse_lowlevel_ops), &served_);
    if (!session_) return cannot_mount("libfuse refused the mount options: " + last_complaint());
    return {};
  }

  tl::expected<void, UsageError> mount_here() {
    const std::string& path = options_.mountpoint;
    const auto below = device_of(path);
    if (::fuse_session_mount(session_, path.c_str()) != 0) {
      const std::string& why = last_complaint();
      return cannot_mount("cannot mount on " + path + (why.empty() ? "" : ": " + why));
    }
    mounted_ = true;
    device_number_ = device_of(path);
    if (device_number_ && device_number_ != below) served_.overlay.hide_device(*device_number_);
    return attach(::fuse_session_fd(session_), -1);
  }

  tl::expected<void, UsageError> attach(int fd, int clone) {
    fuse_custom_io io{};
    io.read = [](int from, void* into, std::size_t size, void*) {
      return ::read(from, into, size);
    };
    io.writev = [](int, iovec* iov, int count, void* user) {
      return static_cast<Served*>(user)->device->reply(iov, count);
    };
    if (const int error = ::fuse_session_custom_io(session_, &io, fd); error != 0) {
      return cannot_mount(std::string("libfuse refused the connection: ") + std::strerror(-error));
    }
    device_ = std::make_unique<Device>(fd, clone);
    served_.device = device_.get();
    if (options_.passthrough) {
      passthrough_ = std::make_unique<Passthrough>(fd);
      served_.passthrough = passthrough_.get();
    }
    return {};
  }

  void publish_control(std::string path) override { served_.control = std::move(path); }

  Status run(std::function<void()> ready) override {
    device_->amend = [this](std::uint64_t offered, fuse_init_out& reply) {
      if (passthrough_) passthrough_->negotiate(offered, reply);
      if (take_rings(offered)) accept_offer(reply, uring_abi::kOverIoUring);
    };
    device_->on_init = [this, told = std::move(ready)] {
      if (rings_taken_) workers_->begin_rings();
      if (passthrough_) (void)passthrough_->works([this] { return served_.overlay.sample_file(); });
      told();
    };
    const auto on_end = [this] { signal_event(gone_fd_); };
    try {
      notifier_ = std::make_unique<Notifier>(session_);
      workers_ = std::make_unique<Workers>(
          session_, *device_, counts_, Workers::Wishes{options_.threads, options_.follow}, on_end);
    } catch (const std::exception&) {
      return fail(EAGAIN);
    }
    served_.notifier = notifier_.get();
    served_.workers = workers_.get();
    served_.overlay.on_stale([this](NodeId id) { notifier_->stale_soon(id); });
    CHECK_OK(workers_->start());
    serving_ = workers_.get();

    const sigset_t signals = end_signals();
    const int signal_fd = ::signalfd(-1, &signals, SFD_CLOEXEC);
    if (const End end = wait_for_end(signal_fd); end == End::kUnmounted) {
      // Whoever has a copy of it in another namespace uses nothing of it. All descriptors are
      // closed soon, which ends the connection.
      spdlog::info("unmounted; copies in other mount namespaces are cut off");
    } else if (end == End::kAsked) {
      unmount();
      if (!wait({gone_fd_}, kDetachPatience_ms))
        spdlog::warn("the mount is still in use; its connection is cut");
    }
    ::close(signal_fd);
    workers_->stop();
    served_.overlay.on_stale({});
    notifier_.reset();
    served_.notifier = nullptr;
    return {};
  }

  void request_end() noexcept override { signal_event(end_fd_); }
  void invalidate(const Refreshed& stale) noexcept override {
    // Failures mean that the kernel knows nothing of it, or that the mount is gone.
    for (const StaleName& one : stale.names)
      (void)::fuse_lowlevel_notify_inval_entry(session_, one.dir, one.name.c_str(),
                                               one.name.size());
    for (const NodeId id : stale.inodes)
      (void)::fuse_lowlevel_notify_inval_inode(session_, id, 0, 0);
  }
  void settle() noexcept override {
    if (Workers* const workers = serving_.load()) workers->settle();
  }
  const RequestCounts& requests() const noexcept override { return counts_; }
  const Passthrough* passthrough() const noexcept override { return passthrough_.get(); }

 private:
  static void signal_event(int fd) noexcept {
    (void)::eventfd_write(fd, 1);  // fails only where it was signalled 2^64 times
  }

  /// At INIT: whether FUSE over io_uring is accepted.
  bool take_rings(std::uint64_t offered) noexcept {
    if (options_.io_uring == IoUring::kOff) return false;
    std::string why =
        std::string("the kernel does not offer it; root enables it (Linux 6.14) by: echo Y > ") +
        uring_abi::kSwitch;
    if ((offered & uring_abi::kOverIoUring) != 0) {
      auto prepared = workers_->prepare_rings();
      rings_taken_ = prepared.has_value();
      if (!prepared) why = prepared.error();
    }
    if (!rings_taken_ && options_.io_uring == IoUring::kOn) spdlog::warn("io_uring=on: {}", why);
    return rings_taken_;
  }

  enum class End {
    kGone,       ///< the connection, with the last mount and the last user
    kUnmounted,  ///< our mount, and nobody uses it
    kAsked,
  };
  End wait_for_end(int signal_fd) {
    auto watch = mounted_ && device_number_ ? MountWatch::of(*device_number_) : std::nullopt;
    std::array<pollfd, 4> polled{{{signal_fd, POLLIN, 0},
                                  {end_fd_, POLLIN, 0},
                                  {gone_fd_, POLLIN, 0},
                                  {watch ? watch->fd() : -1, POLLPRI, 0}}};
    int unused = 0;  // looks one after the other
    bool detached = false;
    for (;;) {
      if (::poll(polled.data(), polled.size(), detached ? kDetachedLook_ms : -1) < 0) continue;
      gone_ = polled[2].revents != 0;
      if (gone_) return End::kGone;
      if (polled[0].revents != 0 || polled[1].revents != 0) return End::kAsked;
      detached = watch && !watch->there();
      // Who opens by a path that he walks may be between two looks.
      unused = detached && !watch->in_use() ? unused + 1 : 0;
      if (unused >= 3) return End::kUnmounted;
    }
  }

  /// Waits for one of the descriptors. True: the mount is gone, which is the last of them.
  bool wait(std::initializer_list<int> fds, int patience_ms) noexcept {
    std::array<pollfd, 3> polled{};
    std::size_t count = 0;
    for (const int fd : fds) polled[count++] = {fd, POLLIN, 0};
    int ready = 0;
    do {
      ready = ::poll(polled.data(), count, patience_ms);
    } while (ready < 0 && errno == EINTR);
    gone_ = ready > 0 && polled[count - 1].revents != 0;
    return gone_;
  }

  /// While the workers serve: the kernel writes dirty pages back first.
  void unmount() noexcept {
    // Somebody may have unmounted it and mounted something else there since.
    if (mounted_ && device_number_ && device_of(options_.mountpoint) == device_number_) {
      unmount_path(options_.mountpoint);
    }
  }

  Served served_;
  const MountOptions options_;
  RequestCounts counts_;
  fuse_session* session_ = nullptr;
  std::unique_ptr<Passthrough> passthrough_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Notifier> notifier_;
  std::unique_ptr<Workers> workers_;
  std::atomic<Workers*> serving_{nullptr};  ///< workers_ once they have begun
  std::optional<dev_t> device_number_;
  bool mounted_ = false;
  bool gone_ = false;
  bool rings_taken_ = false;  ///< the thread's that answers INIT
  const int end_fd_;
  const int gone_fd_;
};

}  // namespace

void block_end_signals() noexcept {
  const sigset_t signals = end_signals();
  (void)::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  (void)::signal(SIGPIPE, SIG_IGN);
}

tl::expected<std::unique_ptr<Session>, UsageError> Session::mount(Overlay& overlay,
                                                                  const MountOptions& options) {
  auto session = std::make_unique<FuseSession>(overlay, options);
  if (auto made = session->create(); !made) return tl::unexpected(made.error());
  if (auto made = session->mount_here(); !made) return tl::unexpected(made.error());
  return session;
}

tl::expected<std::unique_ptr<Session>, UsageError> Session::adopt(Overlay& overlay,
                                                                  const MountOptions& options,
                                                                  int fuse_fd, int clone) {
  auto session = std::make_unique<FuseSession>(overlay, options);
  if (auto made = session->create(); !made) return tl::unexpected(made.error());
  if (auto made = session->attach(fuse_fd, clone); !made) return tl::unexpected(made.error());
  return session;
}

}  // namespace troot::fusefs
