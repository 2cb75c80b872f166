// What is left of a snapshot whose calls fail one after the other, or whose process ends there.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "fusefs/mount/seal.h"
#include "unit/mount/seal_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

/// The call that a hook lets fail, counted over all calls.
std::atomic<int> g_left{0};

}  // namespace

TEST_CASE("a snapshot that fails at any call leaves all as it was") {
  for (int n = 1; n < 400; ++n) {
    SealFixture f;
    put(f.lower + "/below", "lower");
    f.open();
    const NodeId node = f.file("file", "before");
    REQUIRE(f.overlay->symlink(f.caller, kRootId, "link", "target"));
    const quota::Usage used = f.used();
    const std::string layer = f.next_layer();
    g_left = n;
    posix::set_hook([](const char*) { return --g_left == 0 ? ENOSPC : 0; });
    const auto sealed = f.overlay->snapshot(layer);
    posix::set_hook({});
    const bool reached = g_left.load() <= 0;
    CAPTURE(n);
    if (sealed) f.add_layer(layer);
    if (!sealed) CHECK(f.used() == used);
    CHECK(f.read(node) == "before");
    REQUIRE(f.write(node, 0, "after!"));
    CHECK(f.read(node) == "after!");
    CHECK(f.err("link") == 0);
    if (sealed) CHECK(get(layer + "/tree/file") == "before");
    REQUIRE(f.overlay->close());
    f.open();
    CHECK(f.read(f.id("file")) == "after!");
    f.check_recount();
    if (!reached) return;
  }
  FAIL("a snapshot takes more calls than this test tries");
}

namespace {

/// A process that takes a snapshot and ends at its `n`th call. False: it came to its end.
bool dies_at(int n, const std::string& path, const std::string& layer) {
  const pid_t child = ::fork();
  if (child == 0) {
    SealFixture f(path);
    f.open();
    const NodeId node = f.id("file");
    const bool written = f.write(node, 0, "after!").has_value();
    g_left = n;
    posix::set_hook([](const char*) {
      if (--g_left == 0) ::_exit(9);
      return 0;
    });
    const bool taken = f.overlay->snapshot(layer).has_value();
    posix::set_hook({});
    ::_exit(written && taken ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  REQUIRE((WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 9));
  return WEXITSTATUS(status) == 9;
}

}  // namespace

TEST_CASE("killed at any call, a snapshot was taken or was not") {
#ifdef __SANITIZE_THREAD__
  return;  // it forbids threads in a child of a process that has some
#endif
  bool died = true;
  for (int n = 1; died; ++n) {
    CAPTURE(n);
    SealFixture f;
    put(f.lower + "/a", "two names");
    REQUIRE(::link((f.lower + "/a").c_str(), (f.lower + "/b").c_str()) == 0);
    f.open();
    f.file("file", "before");
    REQUIRE(f.write(f.id("a"), 0, "TWO"));
    REQUIRE(f.overlay->symlink(f.caller, kRootId, "link", "target"));
    REQUIRE(f.overlay->close());
    f.overlay.reset();
    const std::string layer = f.next_layer();
    died = dies_at(n, f.dir.path(), layer);
    const auto settled = settle_seal(f.upper, f.work);
    REQUIRE(settled);
    CHECK(settle_seal(f.upper, f.work)->outcome == SealOutcome::kNone);
    const bool taken = get(layer + "/tree/file") == "after!";
    if (settled->outcome != SealOutcome::kNone) {
      CHECK(settled->dir == layer);
      CHECK(taken == (settled->outcome == SealOutcome::kTaken));
    }
    if (!taken) CHECK(boost::filesystem::is_empty(layer));
    if (taken) f.add_layer(layer);
    f.open();
    CHECK(f.read(f.id("file")) == "after!");
    CHECK(f.read(f.id("b")) == "TWO names");
    CHECK(f.overlay->getattr(f.id("link"))->st_uid == 0);
    REQUIRE(f.write(f.id("file"), 0, "again!"));
    f.check_recount();
    REQUIRE(n < 400);
  }
}

TEST_CASE("what a kill left of a snapshot is settled by the next mount") {
  SealFixture f;
  f.open();
  f.file("file", "text");
  REQUIRE(f.overlay->close());
  CHECK(settle_seal(f.upper, f.work)->outcome == SealOutcome::kNone);
  put(f.work + "/troot/sealing", "nonsense");
  CHECK(settle_seal(f.upper, f.work).error() == EUCLEAN);
}

TEST_CASE("a layer that a kill left is asked for until a mount has it") {
  SealFixture f;
  f.open();
  f.file("file", "before");
  REQUIRE(f.overlay->close());
  f.overlay.reset();
  const std::string layer = f.next_layer();
  // At each call, until one comes after the exchange.
  for (int n = 1; get(layer + "/tree/file") != "after!"; ++n) {
    REQUIRE(settle_seal(f.upper, f.work));
    REQUIRE(dies_at(n, f.dir.path(), layer));
  }
  for (int i = 0; i < 2; ++i) {
    const auto opened = Overlay::open(f.config);
    REQUIRE(!opened);
    CHECK(opened.error().error == ESTALE);
  }
  // However its path is written.
  f.config.lowers.insert(f.config.lowers.begin(), f.dir.path() + "/./layer1//tree");
  f.config.sealed = 1;
  f.config.charges.push_back(layer + "/charges");
  f.open();
  CHECK(f.read(f.id("file")) == "after!");
  f.check_recount();
}
