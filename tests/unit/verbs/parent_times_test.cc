// A copy-up puts the times of the parent back: never over what somebody else has set meanwhile.
#include <atomic>
#include <chrono>
#include <thread>

#include "fusefs/base/posix.h"
#include "unit/overlay/union_fixture.h"

namespace troot::tests {
namespace {

namespace posix = fusefs::posix;
using namespace std::chrono_literals;

/// Runs `other` in a thread of its own when utimensat is called for the `at`-th time below, and
/// gives it the time to be done then, if nothing keeps it waiting.
template <typename Work, typename Other>
void beside(int at, const Work& work, const Other& other) {
  std::atomic<int> calls{0};
  std::atomic<bool> done{false};
  std::thread thread;
  posix::set_hook([&](const char* call) {
    if (std::string_view(call) != "utimensat" || calls.fetch_add(1) + 1 != at) return 0;
    thread = std::thread([&] {
      other();
      done = true;
    });
    for (int i = 0; i < 100 && !done; ++i) std::this_thread::sleep_for(2ms);
    return 0;
  });
  work();
  if (thread.joinable()) thread.join();
  posix::set_hook({});
  CHECK(done);
}

struct Lower : Fixture {
  Lower() {
    REQUIRE(::mkdir((lower + "/d").c_str(), 0755) == 0);
    put(lower + "/d/f", std::string(5000, 'x'));
    const timespec old[2]{{1000, 0}, {1000, 0}};
    REQUIRE(::utimensat(AT_FDCWD, (lower + "/d").c_str(), old, 0) == 0);
    open();
    // The directory is in the upper, with its times; the file is not.
    SetAttr mode;
    mode.mode = 0750;
    REQUIRE(overlay->setattr(caller, id("d"), mode));
    REQUIRE(overlay->getattr(id("d"))->st_mtim.tv_sec == 1000);
  }
};

}  // namespace

TEST_CASE("a name made while a sibling is copied up moves its directory's mtime") {
  Lower f;
  const NodeId d = f.id("d"), file = f.id("d/f");
  beside(
      2, [&] { REQUIRE(f.write(file, 0, "new")); }, [&] { f.create(d, "made"); });
  CHECK(f.overlay->getattr(d)->st_mtim.tv_sec > 1000);
}

TEST_CASE("times set of a directory while something in it is copied up stay") {
  Lower f;
  const NodeId d = f.id("d"), file = f.id("d/f");
  SetAttr set;
  set.mtime = timespec{2000, 0};
  beside(
      2, [&] { REQUIRE(f.write(file, 0, "new")); },
      [&] { REQUIRE(f.overlay->setattr(f.caller, d, set)); });
  CHECK(f.overlay->getattr(d)->st_mtim.tv_sec == 2000);
}

TEST_CASE("a copy-up alone leaves its directory's mtime") {
  Lower f;
  REQUIRE(f.write(f.id("d/f"), 0, "new"));
  CHECK(f.overlay->getattr(f.id("d"))->st_mtim.tv_sec == 1000);
}

}  // namespace troot::tests
