// A snapshot, step by step (fusefs/mount/seal.h). What may take long or fail comes before the gate
// is shut, or can be taken back; from the exchange on there is only memory to be moved, and the
// ledger to be told.
#include "fusefs/mount/seal.h"

#include <limits.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <thread>
#include <utility>

#include "fusefs/disk/object.h"
#include "fusefs/mount/layer_locks.h"
#include "fusefs/mount/refusal.h"
#include "fusefs/mount/seal_record.h"
#include "fusefs/mount/seal_shift.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/whiteout.h"

namespace troot::fusefs {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// How long everybody waits at most for those who are at work, and how often that is tried.
constexpr auto kPatience = 40ms;
constexpr auto kBetween = 60ms;
constexpr int kTries = 100;
/// As often for the journal, which is worth less than that.
constexpr int kFewTries = 5;

std::uint64_t us_since(Clock::time_point begin) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin).count());
}

/// Charged objects that stay in the upper.
using Remaining = std::vector<std::pair<quota::InodeKey, quota::InodeRecord>>;

class Sealing {
 public:
  Sealing(State& state, std::string path) : state_(state), path_(std::move(path)) {}

  tl::expected<Sealed, OpenError> run() {
    ACCEPT(check());
    if (auto s = safely([this] { return prepare(); }); !s) return give_up(s.error());
    if (!shut(kTries)) {
      return give_up_with(OpenError{
          "the upper is busy: an operation, a check or a refresh has not ended for seconds; try "
          "again when it has",
          EBUSY});
    }
    if (auto s = safely([this] { return move(); }); !s) {
      auto refused = give_up(s.error());
      state_.gate.open();
      return refused;
    }
    shift_layers(state_, std::move(fresh_));
    Status told = safely([this] { return count_anew(); });
    state_.gate.open();
    std::uint64_t paused = us_since(shut_);
    if (told) told = safely([&] { return tell_ledger(paused); });
    if (!told) {
      spdlog::error(
          "snapshot {}: the ledger cannot be written: {}; the next mount counts the upper", path_,
          std::strerror(told.error().value()));
      state_.quota->distrust();
    }
    if (auto s = safely([this] { return finish(); }); !s)
      spdlog::warn("snapshot {}: not synced: {}", path_, std::strerror(s.error().value()));
    return Sealed{paused};
  }

 private:
  /// Where memory is short the gate is opened again, and what was begun taken back.
  template <typename F>
  static Status safely(const F& step) {
    try {
      return step();
    } catch (const std::bad_alloc&) {
      return fail(ENOMEM);
    }
  }

  Refusal check() {
    const Layout& layout = state_.layout;
    if (layout.read_only) return refuse("the mount is read-only: nothing in it changes", EROFS);
    if (layout.layers.size() > kMostLowers)
      return refuse("there are " + std::to_string(kMostLowers) + " layers; remove a snapshot",
                    E2BIG);
    const bool on_disk = state_.quota && layout.config.ledger == LedgerPlace::kDisk;
    if (!on_disk || !state_.quota->journal())
      return refuse("a mount with noquota, or without a ledger on disk, takes no snapshot",
                    EOPNOTSUPP);
    return {};
  }

  /// All that needs no standstill.
  Status prepare() {
    TRY(dir, posix::open_at(AT_FDCWD, path_.c_str(), O_RDONLY | O_DIRECTORY));
    dir_ = std::move(dir);
    bool empty = true;
    CHECK_OK(posix::list(dir_.get(), [&](const DirName&) { return empty = false; }));
    if (!empty) return fail(ENOTEMPTY);
    CHECK_OK(find_upper());
    TRY(troot, posix::open_at(state_.work.lock_work.get(), "troot", O_RDONLY | O_DIRECTORY));
    troot_ = std::move(troot);
    const Layer& upper = state_.layout.layers[kUpper];
    TRY(sx, posix::stat_at(upper.root->get(), "."));
    TRY(there, posix::stat_fd(dir_.get()));
    if (device_of(there) != upper.dev) return fail(EXDEV);
    CHECK_OK(state_.quota->flush(quota::Quota::Sync::kToKernel));
    CHECK_OK(write_seal_record(troot_.get(), {path_, key_of(sx)}));
    begun_ = true;
    CHECK_OK(posix::mkdir(dir_.get(), "tree", 0700));
    return open_fresh();
  }

  /// Where the upper's name is, whatever links led to it.
  Status find_upper() {
    char real[PATH_MAX];
    const int root = state_.layout.layers[kUpper].root->get();
    const std::string link = "/proc/self/fd/" + std::to_string(root);
    const ssize_t n = ::readlink(link.c_str(), real, sizeof real);
    if (n <= 1 || n == sizeof real) return n < 0 ? Status(fail_errno()) : fail(ENAMETOOLONG);
    const std::string_view full(real, static_cast<std::size_t>(n));
    const std::size_t slash = full.rfind('/');
    name_ = full.substr(slash + 1);
    const std::string parent(full.substr(0, std::max<std::size_t>(slash, 1)));
    TRY(fd, posix::open_at(AT_FDCWD, parent.c_str(), O_RDONLY | O_DIRECTORY));
    parent_ = std::move(fd);
    TRY(found, posix::stat_at(parent_.get(), name_.c_str()));
    TRY(known, posix::stat_at(root, "."));
    return key_of(found) == key_of(known) ? Status{} : fail(ESTALE);
  }

  Status open_fresh() {
    TRY(root, posix::open_at(dir_.get(), "tree", O_PATH | O_DIRECTORY));
    auto lock = lock_dir("upperdir", path_ + "/tree");
    if (!lock) return fail(lock.error().error);
    fresh_.lock = std::move(*lock);
    TRY(sx, posix::stat_fd(root.get()));
    const Layer& upper = state_.layout.layers[kUpper];
    Layer& layer = fresh_.layer;
    layer.path = upper.path;
    layer.root = std::make_shared<const Fd>(std::move(root));
    layer.dev = upper.dev;
    layer.owner = upper.owner;
    layer.mount = sx.stx_mnt_id;
    layer.overridden = upper.overridden;
    state_.layout.hidden.reserve(state_.layout.hidden.size() + 1);
    root_ = {upper.dev, sx.stx_ino, ""};
    return {};
  }

  bool shut(int tries) {
    for (int i = 0; i < tries; ++i) {
      shut_ = Clock::now();
      if (state_.gate.shut(kPatience)) return true;
      std::this_thread::sleep_for(kBetween);
    }
    return false;
  }

  /// Nobody is inside. After a failure everything can be taken back.
  Status move() {
    CHECK_OK(tidy_for_seal(state_));
    // Whiteouts of the sealed layer shall not be names of one that gets more.
    (void)posix::unlink(state_.work.stage.get(), kSharedWhiteout);
    CHECK_OK(state_.quota->flush(quota::Quota::Sync::kToKernel));
    TRY(charges, state_.quota->recorded());
    charges_ = std::move(charges);
    CHECK_OK(find_remaining());
    CHECK_OK(quota::write_charges(path_ + "/charges", charges_));
    TRY(upper, posix::open_at(parent_.get(), name_.c_str(), O_RDONLY | O_DIRECTORY));
    CHECK_OK(name_layer(upper.get()));
    CHECK_OK(dress(upper.get(), fresh_.lock.get(), state_.root->ino));
    for (const char* name : {"links", "index"}) {
      CHECK_OK(posix::rename(troot_.get(), name, dir_.get(), name));
      CHECK_OK(posix::mkdir(troot_.get(), name, 0700));
    }
    TRY(links, posix::open_at(troot_.get(), "links", O_RDONLY | O_DIRECTORY));
    TRY(index, posix::open_at(troot_.get(), "index", O_RDONLY | O_DIRECTORY));
    fresh_.links = std::move(links);
    fresh_.index = std::move(index);
    TRY(root, examine_root());
    remaining_.push_back(root);
    CHECK_OK(posix::rename(parent_.get(), name_.c_str(), dir_.get(), "tree", RENAME_EXCHANGE));
    // From here on nothing may fail: there is room for it.
    state_.layout.hidden.push_back(root_);
    return {};
  }

  /// So that the new upper is not mounted without it. What stays of a failure is in nobody's way.
  Status name_layer(int upper) const {
    TRY(name, random_name());
    return posix::set_xattr(upper, ".", state_.layout.xattr.layer.c_str(), name);
  }

  Status count_anew() {
    state_.quota->seal(charges_);
    for (const auto& [key, record] : remaining_) state_.quota->count(key, record);
    return {};
  }

  /// What is parked is charged to the upper on.
  Status find_remaining() {
    TRY(parked, posix::open_at(state_.work.parked.get(), ".", O_RDONLY | O_DIRECTORY));
    std::vector<std::string> names;
    CHECK_OK(posix::list(parked.get(), [&](const DirName& d) {
      names.emplace_back(d.name);
      return true;
    }));
    for (const std::string& name : names) {
      TRY(sx, posix::stat_at(parked.get(), name.c_str()));
      if (sx.stx_nlink > 1 && !S_ISDIR(sx.stx_mode)) continue;  // it has a name in the upper
      TRY(e, examine(state_, parked.get(), name.c_str(), sx));
      remaining_.emplace_back(e.account.key, e.account.record());
      quota::Usage& sum = charges_[quota::to_u32(e.account.project)];
      sum = sum - quota::Usage{e.account.bytes(), 1};
    }
    return {};
  }

  Result<std::pair<quota::InodeKey, quota::InodeRecord>> examine_root() {
    const int root = fresh_.layer.root->get();
    TRY(sx, posix::stat_at(root, "."));
    TRY(e, examine(state_, root, ".", sx));
    return std::pair(e.account.key, e.account.record());
  }

  /// With the gate open: the disk is slow. The journal begins anew in a second, short pause, since
  /// no operation may be under way then; until that a kill means a count, of an upper that is new.
  /// Where somebody is at work for long it stays so: the end of the mount is clean all the same.
  Status tell_ledger(std::uint64_t& paused) {
    CHECK_OK(state_.quota->flush(quota::Quota::Sync::kToDisk));
    if (!shut(kFewTries)) {
      spdlog::info("snapshot {}: the journal counts for nothing until the next one", path_);
      return {};
    }
    const Status ended = state_.quota->end_seal();
    state_.gate.open();
    paused = std::max(paused, us_since(shut_));
    return ended;
  }

  /// With the gate open again: what was done is on disk before the record of it goes.
  Status finish() {
    TRY(charges, posix::open_at(dir_.get(), "charges", O_RDONLY));
    CHECK_OK(posix::fsync(charges.get(), false));
    for (const Fd* fd : {&dir_, &troot_, &parent_}) CHECK_OK(posix::fsync(fd->get(), false));
    return remove_seal_record(troot_.get());
  }

  tl::unexpected<OpenError> give_up(Errno why) {
    return give_up_with(OpenError{"snapshot " + path_ + ": " + text_of(why), why.value()});
  }

  tl::unexpected<OpenError> give_up_with(OpenError why) {
    if (begun_ && !(take_back(troot_.get(), dir_.get()) && remove_seal_record(troot_.get())))
      spdlog::error("snapshot {}: not taken back; the next mount does it", path_);
    return tl::unexpected(std::move(why));
  }

  static std::string text_of(Errno why) {
    if (why == EXDEV) return "not on the file system of the upper";
    if (why == ENOTEMPTY) return "the directory is not empty";
    if (why == EBUSY) {
      return "a file that was unlinked is in use and has another name, which a file system without "
             "birth times cannot tell; try again when it is closed";
    }
    return std::strerror(why.value());
  }

  State& state_;
  const std::string path_;
  Fd dir_, troot_, parent_;
  std::string name_;  ///< of the upper in parent_
  Hidden root_{};     ///< the new upper
  bool begun_ = false;
  NewUpper fresh_;
  quota::Charges charges_;
  Remaining remaining_;
  Clock::time_point shut_;
};

}  // namespace

tl::expected<Sealed, OpenError> seal_upper(State& state, const std::string& dir) {
  std::lock_guard alone(state.sealing);
  return Sealing(state, dir).run();
}

}  // namespace troot::fusefs
