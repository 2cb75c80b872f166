// Many threads on one union: each works partly in a directory of its own, where every answer is
// known, and partly on names that all share, where promises must hold. Between the rounds the one
// invariant is checked and the union opened anew.
//
// TROOT_STRESS_SECONDS=N goes on for N seconds, TROOT_STRESS_SEED=N takes that seed.
#include <sys/xattr.h>

#include <cstring>
#include <iostream>
#include <thread>

#include "model/seeds.h"
#include "stress/private_tree.h"
#include "stress/shared_tree.h"

using namespace troot;
using namespace troot::tests;

namespace {

constexpr unsigned kThreads = 8;
constexpr int kLowers = 3;
constexpr std::chrono::seconds kStuck{120};  // no operation takes that long, under a sanitizer too

/// The xattrs of a directory, its ACLs among them.
void copy_xattrs(const std::string& from, const std::string& to) {
  std::string names(64 << 10, '\0'), value(64 << 10, '\0');
  const ssize_t size = ::llistxattr(from.c_str(), names.data(), names.size());
  REQUIRE(size >= 0);
  for (const char* name = names.c_str(); name < names.c_str() + size;
       name += std::strlen(name) + 1) {
    const ssize_t n = ::lgetxattr(from.c_str(), name, value.data(), value.size());
    REQUIRE(n >= 0);
    REQUIRE(::lsetxattr(to.c_str(), name, value.data(), static_cast<std::size_t>(n), 0) == 0);
  }
}

/// Takes part of a lower directory into a layer above it: the merged tree stays what it is.
void spread(const std::string& below, const std::string& above, Random& random) {
  for (const std::string& name : names_in(below)) {
    const std::string from = below + "/" + name, to = above + "/" + name;
    struct stat st {};
    REQUIRE(::lstat(from.c_str(), &st) == 0);
    const auto kind = random() % 3;
    if (kind == 0) continue;
    if (S_ISDIR(st.st_mode) && kind == 1) {
      REQUIRE(::mkdir(to.c_str(), 0700) == 0);
      spread(from, to, random);
      REQUIRE(::chmod(to.c_str(), st.st_mode & 07777) == 0);
      copy_xattrs(from, to);
    } else {
      REQUIRE(::rename(from.c_str(), to.c_str()) == 0);
    }
  }
}

void put_file(const std::string& path, std::size_t size) {
  std::ofstream(path) << std::string(size, 'l');
  REQUIRE(::chmod(path.c_str(), 0644) == 0);
}

void fill_shared(const std::string& dir, char kind, Random& random) {
  REQUIRE(::mkdir(dir.c_str(), 0755) == 0);
  for (int i = 0; i < 4; ++i) put_file(dir + "/f" + std::to_string(i), 1 + random() % 20000);
  put_file(dir + "/r0", kThreads * 4096);
  if (kind == 0) return;
  for (int i = 0; i < 2; ++i) {
    fill_shared(dir + "/" + kind + std::to_string(i), kind == 'd' ? 'e' : '\0', random);
  }
}

struct Thread {
  Progress progress;
  std::unique_ptr<PrivateTree> own;
  std::unique_ptr<SharedTree> shared;
  std::string broken;
  std::atomic<bool> done{false};
};

class Stress {
 public:
  Stress(std::uint64_t seed, Ownership ownership) : random_(seed) {
    ::umask(0);
    rig_.config.lowers.clear();
    for (int i = 0; i < kLowers; ++i)
      rig_.config.lowers.push_back(rig_.dir.make("lower" + std::to_string(i)));
    rig_.config.cached_dirs = rig_.config.cached_files = 16;  // two in each shard
    if (ownership == Ownership::kNative) {
      rig_.config.ownership = ownership;
      rig_.config.xattr_space = XattrSpace::kTrusted;
      rig_.config.upper_owner.reset();
    }
    for (unsigned i = 0; i < kThreads; ++i) add_thread(i, seed);
    fill_shared(rig_.lower() + "/sharedA", 'd', random_);
    fill_shared(rig_.lower() + "/sharedB", 'd', random_);
    for (int i = kLowers - 1; i > 0; --i) {
      const auto at = static_cast<std::size_t>(i);
      spread(rig_.config.lowers[at], rig_.config.lowers[at - 1], random_);
    }
    rig_.lower_print = rig_.print_lowers();
    rig_.open();
    set_limits();
  }

  void round(std::chrono::milliseconds time) {
    stop_.store(false);
    std::vector<std::thread> running;
    for (auto& t : threads_) {
      t->done.store(false);
      running.emplace_back([this, &t] { work(*t); });
    }
    watch(time);
    for (std::thread& t : running) t.join();
    for (const auto& t : threads_) {
      if (!t->broken.empty()) FAIL(t->broken);
    }
    check_quiet();
  }
  void reopen() {
    REQUIRE(rig_.overlay->close());
    rig_.overlay.reset();
    rig_.check_work_is_clean();
    rig_.open();
  }
  void finish() {
    rig_.check_invariant();
    CHECK(rig_.overlay->close());
    rig_.overlay.reset();
  }
  [[nodiscard]] std::uint64_t operations() const {
    std::uint64_t n = 0;
    for (const auto& t : threads_) n += t->progress.operations.load();
    return n;
  }

 private:
  void add_thread(unsigned i, std::uint64_t seed) {
    auto root = std::make_shared<Node>();
    const std::string name = "own" + std::to_string(i), path = rig_.lower() + "/" + name;
    root->mode = S_IFDIR | 0755;
    root->uid = ::geteuid();
    root->gid = ::getegid();
    root->nlink = 1;
    REQUIRE(::mkdir(path.c_str(), 0755) == 0);
    Files files;
    fill_at_random(*root, path, random_, ::geteuid(), ::getegid(), files);
    auto t = std::make_unique<Thread>();
    t->own = std::make_unique<PrivateTree>(seed * 100 + i, t->progress, name, root, 100 * (i + 1));
    t->shared = std::make_unique<SharedTree>(seed * 100 + 50 + i, t->progress, i);
    threads_.push_back(std::move(t));
  }
  void set_limits() {
    for (std::uint32_t i = 0; i < kSharedProjects; ++i) {
      quota::Limits limits;
      limits.bytes = {0, kFixedLimit_bytes};
      REQUIRE(rig_.overlay->quota()->set_limits(quota::ProjId{kFirstSharedProject + i}, limits));
    }
  }
  void work(Thread& t) {
    try {
      t.own->open(*rig_.overlay);
      t.shared->open(*rig_.overlay);
      for (std::uint64_t i = 0; !stop_.load(std::memory_order_relaxed); ++i) {
        t.shared->one();
        if (i % 2 == 0) t.own->one();
      }
      t.own->close();
      t.shared->close();
    } catch (const std::exception& e) {
      t.broken = e.what();
      stop_.store(true);
    }
    t.done.store(true);
  }
  /// Ends the round after `time`, and the program when a thread is stuck.
  void watch(std::chrono::milliseconds time) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::uint64_t> last(kThreads, 0);
    std::vector moved(kThreads, start);
    for (;;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const auto now = std::chrono::steady_clock::now();
      if (now - start > time) stop_.store(true);
      bool all_done = true;
      for (unsigned i = 0; i < kThreads; ++i) {
        all_done = all_done && threads_[i]->done.load();
        const std::uint64_t n = threads_[i]->progress.operations.load();
        if (n != last[i] || threads_[i]->done.load()) moved[i] = now;
        last[i] = n;
        if (now - moved[i] > kStuck) die(i);
      }
      if (all_done) return;
    }
  }
  [[noreturn]] void die(unsigned stuck) {
    std::cerr << "thread " << stuck << " is stuck; the threads do:\n";
    for (const auto& t : threads_) std::cerr << "  " << t->progress.doing.load() << "\n";
    std::abort();
  }
  /// Everything is forgotten: nothing known, nothing parked, and all sums agree.
  void check_quiet() {
    CHECK(rig_.overlay->stats().inodes == 1);
    CHECK(rig_.overlay->stats().parked == 0);
    const quota::Usage total = rig_.used();
    const auto audit = rig_.overlay->quota()->audit();
    REQUIRE(audit);
    quota::Usage sum;
    for (const auto& p : *audit) {
      sum = sum + p.used;
      CHECK(p.used == rig_.overlay->quota()->project(p.id).used);
    }
    CHECK(sum == total);
    CHECK(rig_.sum_of_blocks() == total);
  }

  Random random_;
  Rig rig_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::atomic<bool> stop_{false};
};

void run(std::uint64_t seed, Ownership ownership, std::chrono::seconds time) {
  INFO("TROOT_STRESS_SEED=" << seed);
  const std::size_t fds = names_in("/proc/self/fd").size();
  const auto end = std::chrono::steady_clock::now() + time;
  {
    Stress stress(seed, ownership);
    for (bool first = true; std::chrono::steady_clock::now() < end; first = false) {
      if (!first) stress.reopen();
      stress.round(std::chrono::milliseconds(2500));
    }
    stress.finish();
    std::cerr << stress.operations() << " operations\n";
  }
  CHECK(names_in("/proc/self/fd").size() == fds);
}

}  // namespace

TEST_CASE("many threads on one union") {
  const std::uint64_t seed = number_of("TROOT_STRESS_SEED", seed_of_today());
  const std::chrono::seconds time(number_of("TROOT_STRESS_SECONDS", 20) / 2);
  std::cerr << "TROOT_STRESS_SEED=" << seed << "\n";
  run(seed, Ownership::kPresented, time);
  if (::geteuid() == 0) run(seed, Ownership::kNative, time);
}
