// Counting the upper again where nothing better is known: all of it, by several
// threads, with a word on how far it has come every second.
//
// A directory that waits is a name below another (fusefs/base/steps.h), not a descriptor: each
// thread holds one, whatever the depth and the width of the tree.
#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>
#include <unordered_set>

#include "fusefs/base/steps.h"
#include "fusefs/disk/object.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/whiteout.h"

namespace troot::fusefs {
namespace {

constexpr std::chrono::seconds kTick{1};
constexpr unsigned kFewestThreads = 2;  // the disk is waited for more than the processor
constexpr unsigned kMostThreads = 16;

/// Where in the upper a thread is. It goes from one directory to the next by ".." and by names, so
/// that a walk costs no more in a tree that is deep. Nobody else changes the upper meanwhile.
class Position {
 public:
  Position(int upper, StepPtr root) : upper_(upper), at_(std::move(root)) {}

  /// A descriptor to list `to` by, good until the next call. After a failure it is nowhere.
  Result<int> go_to(const StepPtr& to) {
    std::vector<const Step*> down;
    const Step *here = at_.get(), *there = to.get();
    while (here != there) {
      if (here->depth >= there->depth) {
        CHECK_OK(open("..", O_PATH));
        here = here->parent;
      } else {
        down.push_back(there);
        there = there->parent;
      }
    }
    for (; down.size() > 1; down.pop_back()) CHECK_OK(open(down.back()->name.c_str(), O_PATH));
    CHECK_OK(open(down.empty() ? "." : down.back()->name.c_str(), O_RDONLY));
    return fd_.get();
  }
  /// Where it is now. Returns where it was, to be dropped.
  [[nodiscard]] StepPtr arrived(StepPtr at) { return std::exchange(at_, std::move(at)); }

 private:
  Status open(const char* name, int how) {
    TRY(next, posix::open_at(fd_.valid() ? fd_.get() : upper_, name, how | O_DIRECTORY));
    fd_ = std::move(next);
    return {};
  }

  const int upper_;
  StepPtr at_;
  Fd fd_;
};

/// What is counted, and who hears of each object, from several threads at a time.
struct Counted {
  int tree;
  int index;
  const LinkStore* links;  ///< null: the upper's
  std::function<void(const Account&)> hear;
};

class Counter {
 public:
  Counter(State& state, Counted counted) : state_(state), counted_(std::move(counted)) {}

  Status run(const std::function<void(std::uint64_t)>& progress) {
    TRY(sx, posix::stat_at(counted_.tree, "."));
    CHECK_OK(count_object(counted_.tree, ".", sx));
    CHECK_OK(count_index());
    {
      MutexLock lock(mutex_);
      waiting_.push_back(root_);
    }
    std::vector<std::thread> threads;
    const unsigned wanted =
        std::clamp(std::thread::hardware_concurrency(), kFewestThreads, kMostThreads);
    threads.reserve(wanted);
    for (unsigned i = 0; i < wanted; ++i) {
      try {
        threads.emplace_back([this] { work(); });
      } catch (const std::system_error&) {
        // Fewer do, and where none can be had, this one.
        if (threads.empty()) work();
        break;
      }
    }
    tell(progress);
    for (std::thread& thread : threads) thread.join();
    MutexLock lock(mutex_);
    return failed_;
  }

  [[nodiscard]] std::uint64_t objects() const { return objects_.load(); }

 private:
  [[nodiscard]] bool over() const REQUIRES(mutex_) {
    return !failed_ || (waiting_.empty() && busy_ == 0);
  }

  void tell(const std::function<void(std::uint64_t)>& progress) {
    MutexLock lock(mutex_);
    auto next = std::chrono::steady_clock::now() + kTick;
    while (!over()) {
      if (moved_.wait_until(mutex_, next)) continue;
      next += kTick;
      lock.unlock();
      if (progress) progress(objects());
      lock.lock();
    }
  }

  void work() {
    MutexLock lock(mutex_);
    Position position(counted_.tree, root_);
    for (;;) {
      while (!over() && waiting_.empty()) moved_.wait(mutex_);
      if (over()) return;
      // The newest first: so those that wait are few, as in a walk depth first.
      StepPtr step = std::move(waiting_.back());
      waiting_.pop_back();
      ++busy_;
      lock.unlock();
      std::vector<std::string> below;
      const Status status = count_safely(position, step, below);
      lock.lock();
      --busy_;
      if (!status && failed_) failed_ = status;
      for (std::string& name : below) waiting_.push_back(step.below(std::move(name)));
      (void)position.arrived(std::move(step));
      if (!waiting_.empty() || over()) moved_.notify_all();
    }
  }

  Status count_safely(Position& position, const StepPtr& step, std::vector<std::string>& below) {
    try {
      return count_dir(position, step, below);
    } catch (const std::bad_alloc&) {
      return fail(ENOMEM);
    }
  }

  Status count_dir(Position& position, const StepPtr& step, std::vector<std::string>& below) {
    TRY(fd, position.go_to(step));
    Status status;
    CHECK_OK(posix::list(fd, [&](const DirName& d) {
      const CName name(d.name);
      const auto sx = posix::stat_at(fd, name.get());
      if (!sx) {
        if (!(sx.error() == ENOENT)) status = fail(sx.error());
        return static_cast<bool>(status);
      }
      if (is_whiteout(*sx)) return true;
      status = count_object(fd, name.get(), *sx);
      if (status && S_ISDIR(sx->stx_mode)) below.emplace_back(d.name);
      return static_cast<bool>(status);
    }));
    return status;
  }

  /// Objects in the index whose every name lies below have no place in the upper.
  Status count_index() {
    TRY(fd, posix::open_at(counted_.index, ".", O_RDONLY | O_DIRECTORY));
    Status status;
    CHECK_OK(posix::list(fd.get(), [&](const DirName& d) {
      const CName name(d.name);
      const auto object = posix::stat_at(fd.get(), name.get());
      status = object ? count_object(fd.get(), name.get(), *object) : fail(object.error());
      return static_cast<bool>(status);
    }));
    return status;
  }

  Status count_object(int dirfd, const char* name, const struct statx& sx) {
    if (!S_ISDIR(sx.stx_mode) && sx.stx_nlink > 1) {
      MutexLock lock(seen_mutex_);
      if (!seen_.insert(sx.stx_ino).second) return {};
    }
    TRY(e, examine(state_, dirfd, name, sx, counted_.links));
    if (is_upper_whiteout(state_, dirfd, name, sx, e.flags)) return {};
    counted_.hear(e.account);
    objects_.fetch_add(1, std::memory_order_relaxed);
    return {};
  }

  State& state_;
  const Counted counted_;
  std::atomic<std::uint64_t> objects_{0};
  Mutex mutex_;
  CondVar moved_;
  const StepPtr root_ GUARDED_BY(mutex_) = StepPtr::root();
  std::vector<StepPtr> waiting_ GUARDED_BY(mutex_);
  unsigned busy_ GUARDED_BY(mutex_) = 0;
  Status failed_ GUARDED_BY(mutex_);
  Mutex seen_mutex_;
  std::unordered_set<std::uint64_t> seen_ GUARDED_BY(seen_mutex_);  ///< those with several links
};

}  // namespace

Result<std::uint64_t> recount(State& state, const std::function<void(std::uint64_t)>& progress) {
  CHECK_OK(state.quota->begin_recount());
  Counter counter(state, {state.layout.layers[kUpper].root->get(), state.work.index.get(), nullptr,
                          [&state](const Account& account) {
                            state.quota->count(account.key, account.record());
                          }});
  CHECK_OK(counter.run(progress));
  CHECK_OK(state.quota->end_recount());
  return counter.objects();
}

Result<quota::Charges> count_sealed(State& state, const std::string& dir,
                                    const std::function<void(std::uint64_t)>& progress) {
  const auto open = [&dir](const char* name) {
    return posix::open_at(AT_FDCWD, (dir + name).c_str(), O_RDONLY | O_DIRECTORY);
  };
  TRY(tree, open("/tree"));
  TRY(index, open("/index"));
  TRY(records, open("/links"));
  LinkStore links;
  CHECK_OK(links.read(std::move(records)));
  Mutex mutex;
  quota::Charges charges;
  Counter counter(state, {tree.get(), index.get(), &links, [&](const Account& account) {
                            MutexLock lock(mutex);
                            quota::Usage& sum = charges[quota::to_u32(account.project)];
                            sum = sum + quota::Usage{account.bytes(), 1};
                          }});
  CHECK_OK(counter.run(progress));
  return charges;
}

}  // namespace troot::fusefs
