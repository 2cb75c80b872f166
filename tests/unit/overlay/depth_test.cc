// Trees deeper than a stack: nothing in the union recurses by the depth of a tree.
//
// Every thread of this program, the ledger's too, has a stack of 256 KiB, so that a frame a level
// is a crash at 8,000 levels. TROOT_DEPTH=N takes N of them (the kernel's own renames take as long
// as a place is deep, so the time grows with the square).
#include <pthread.h>
#include <sys/resource.h>

#include <thread>

#include "crash/nursery.h"
#include "fusefs/base/posix.h"
#include "fusefs/base/remove_tree.h"
#include "fusefs/mount/flatten.h"
#include "model/seeds.h"
#include "unit/overlay/union_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kLargeFrames = true;
#else
constexpr bool kLargeFrames = false;
#endif
constexpr std::size_t kStack_bytes = kLargeFrames ? 1 << 20 : 256 << 10;

std::size_t depth() {
  static const std::size_t levels = number_of("TROOT_DEPTH", 8000);
  return levels;
}

/// Runs what it is given in a thread with a small stack, as are those that it makes.
void on_small_stack(const std::function<void()>& body) {
  pthread_attr_t small, before;
  REQUIRE(::pthread_getattr_default_np(&before) == 0);
  REQUIRE(::pthread_attr_init(&small) == 0);
  REQUIRE(::pthread_attr_setstacksize(&small, kStack_bytes) == 0);
  REQUIRE(::pthread_setattr_default_np(&small) == 0);
  std::exception_ptr failed;
  std::thread([&] {
    try {
      body();
    } catch (...) {
      failed = std::current_exception();
    }
  }).join();
  REQUIRE(::pthread_setattr_default_np(&before) == 0);
  if (failed) std::rethrow_exception(failed);
}

Fd open_dir(int at, const char* name) {
  Fd fd(::openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  REQUIRE(fd.valid());
  return fd;
}

/// A file below some directories called d.
void make_deep(const std::string& top, std::size_t levels) {
  Fd at = open_dir(AT_FDCWD, top.c_str());
  for (std::size_t i = 0; i < levels; ++i) {
    REQUIRE(::mkdirat(at.get(), "d", 0755) == 0);
    at = open_dir(at.get(), "d");
  }
  const Fd file(::openat(at.get(), "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  REQUIRE(::write(file.get(), "below", 5) == 5);
}

/// A union whose layers are removed by what can: they are too deep for a path.
struct Deep : Fixture {
  ~Deep() {
    overlay.reset();
    for (const std::string& layer : {lower, upper}) {
      const Fd at = open_dir(AT_FDCWD, layer.c_str());
      remove_tree(at.get(), "d");
      remove_tree(at.get(), "moved");
    }
  }
  using Fixture::Fixture;
  Deep(const Deep&) = delete;
  Deep& operator=(const Deep&) = delete;

  /// The directories below `top`, from there down, each known to the kernel.
  std::vector<NodeId> known_below(const std::string& top) {
    std::vector<NodeId> ids{id(top)};
    while (ids.size() < depth()) {
      const auto entry = overlay->lookup(ids.back(), "d");
      REQUIRE(entry);
      ids.push_back(entry->id);
    }
    return ids;
  }
  void forget(const std::vector<NodeId>& ids) {
    for (const NodeId each : ids) overlay->forget(each, 1);
  }
  void check_ledger() {
    const auto checked = overlay->check(CheckMode::kLook);
    REQUIRE(checked);
    CHECK(checked->differences.empty());
    CHECK(checked->objects == static_cast<std::uint64_t>(used().inodes));
  }
};

/// "DIRECTORY": makes a deep tree in the union there, and is gone.
int make_and_die(std::istream& words) {
  std::string path;
  words >> path;
  on_small_stack([&path] {
    Deep f(path);
    f.open();
    NodeId at = kRootId;
    for (std::size_t i = 0; i < depth(); ++i) {
      const auto made = f.overlay->mkdir(f.caller, at, "d", 0755);
      if (!made) ::_exit(1);
      at = made->id;
    }
    ::_exit(f.overlay->mknod(f.caller, at, "f", S_IFREG | 0644, 0) ? 0 : 2);
  });
  return 3;
}

Nursery nursery("(a server that makes a deep tree)");

}  // namespace

TEST_CASE("(a server that makes a deep tree)", "[.]") { Nursery::serve(make_and_die); }

TEST_CASE("a lower tree that is deeper than a stack is shown, copied up, moved and counted") {
  on_small_stack([] {
    Deep f;
    make_deep(f.lower, depth());
    f.open();
    {
      const auto ids = f.known_below("d");
      const auto file = f.overlay->lookup(ids.back(), "f");
      REQUIRE(file);
      CHECK(f.read(file->id) == "below");
      REQUIRE(f.write(file->id, 0, "above"));
      CHECK(f.used().inodes == static_cast<std::int64_t>(depth() + 2));
      f.overlay->forget(file->id, 1);
      f.forget(ids);
    }
    CHECK(f.overlay->stats().inodes <= 2);
    f.check_ledger();
    f.check_recount();
    const auto ids = f.known_below("d");
    CHECK(f.overlay->refresh());
    REQUIRE(f.overlay->rename(Caller{}, kRootId, "d", kRootId, "moved", 0));
    const auto file = f.overlay->lookup(ids.back(), "f");
    REQUIRE(file);
    CHECK(f.read(file->id) == "above");
    REQUIRE(f.overlay->unlink(ids.back(), "f"));
    f.overlay->forget(file->id, 1);
    f.forget(ids);
    f.check_recount();
  });
}

TEST_CASE("who waits for the copy-up of a long way is let go when its program is killed") {
  constexpr std::size_t kLevels = 100, kKilled = 10;
  Deep f;
  make_deep(f.lower, kLevels);
  f.open();
  NodeId at = kRootId;
  for (std::size_t i = 0; i < kLevels; ++i) at = f.overlay->lookup(at, "d")->id;
  std::size_t polls = 0;
  f.caller.interrupted = [&polls] { return ++polls > kKilled; };
  SetAttr mode;
  mode.mode = 0700;
  const auto refused = f.overlay->setattr(f.caller, at, mode);
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == EINTR);
  CHECK(f.used().inodes == static_cast<std::int64_t>(kKilled + 1));
  f.caller.interrupted = nullptr;
  CHECK(f.overlay->setattr(f.caller, at, mode));
  f.check_recount();
}

TEST_CASE("a file without its data, below directories that moved, is found however deep it lies") {
  on_small_stack([] {
    Deep f;
    make_deep(f.lower, depth());
    f.open();
    REQUIRE(f.overlay->rename(Caller{}, kRootId, "d", kRootId, "moved", 0));
    auto ids = f.known_below("moved");
    auto file = f.overlay->lookup(ids.back(), "f");
    REQUIRE(file);
    SetAttr mode;
    mode.mode = 0600;
    REQUIRE(f.overlay->setattr(f.caller, file->id, mode));
    CHECK(f.read(file->id) == "below");
    f.open();
    ids = f.known_below("moved");
    file = f.overlay->lookup(ids.back(), "f");
    REQUIRE(file);
    CHECK(f.read(file->id) == "below");
  });
}

TEST_CASE("a tree that was made deeper than a stack is found and counted after a kill") {
  on_small_stack([] {
    Deep f;
    REQUIRE(nursery.run(f.dir.path()) == 0);
    f.open();
    CHECK(f.used().inodes == static_cast<std::int64_t>(depth() + 2));
    CHECK(f.overlay->lookup(f.known_below("d").back(), "f"));
    f.check_recount();
  });
}

TEST_CASE("flatten says where a tree becomes too deep for it") {
  if (kLargeFrames) {
    WARN("the limit is for frames that no sanitizer made larger");
    return;
  }
  constexpr rlim_t kDescriptors = 8192;
  struct rlimit most {};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &most) == 0);
  if (most.rlim_max < kDescriptors) {
    WARN("too few descriptors");
    return;
  }
  most.rlim_cur = std::max(most.rlim_cur, kDescriptors);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &most) == 0);
  Deep f;
  constexpr std::size_t kFlattened = 1000;
  make_deep(f.upper, kFlattened);
  const auto flattened = [&f] {
    return f.open().flatten(FlattenMode::kLook, [](const FlattenStep&) {});
  };
  CHECK(flattened());
  {
    const Fd at = open_dir(AT_FDCWD, f.upper.c_str());
    remove_tree(at.get(), "d");
  }
  make_deep(f.upper, kFlattened + 1);
  const auto refused = flattened();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().error == ENAMETOOLONG);
  CHECK(refused.error().path.starts_with("/d/d/d"));
}
