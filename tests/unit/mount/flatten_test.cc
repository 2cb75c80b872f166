// troot flatten below the command line: each step leaves the tree as it was shown, wherever it is
// cut off, and the next run ends what was begun.
#include "fusefs/mount/flatten.h"

#include "crash/nursery.h"
#include "fusefs/base/posix.h"
#include "model/rig.h"

using namespace troot;
using namespace troot::tests;

namespace {

void put(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

/// A union with everything that flatten resolves.
void furnish(Rig& rig) {
  for (const char* dir : {"lower/a/b/c", "lower/d/e", "lower/f"}) rig.dir.make(dir);
  for (const char* name : {"a/b/file", "a/b/gone", "a/b/c/deep", "d/e/x", "meta", "h1"})
    put(rig.lower() + "/" + name, std::string(5000, 'l') + name);
  REQUIRE(::link((rig.lower() + "/h1").c_str(), (rig.lower() + "/f/h2").c_str()) == 0);
  rig.lower_print = rig.print_lowers();
  Overlay& o = rig.open();
  REQUIRE(o.rename(Caller{}, rig.id("a"), "b", kRootId, "moved", 0));
  REQUIRE(o.rename(Caller{}, rig.id("moved"), "c", kRootId, "c2", 0));
  REQUIRE(o.unlink(rig.id("moved"), "gone"));
  REQUIRE(o.rename(Caller{}, kRootId, "d", rig.id("moved"), "d2", 0));
  SetAttr times;
  times.mtime = timespec{1000, 1};
  REQUIRE(o.setattr(rig.caller, rig.id("meta"), times));
  const std::string text = "new";
  REQUIRE(o.write(rig.caller, rig.id("h1"), 0, std::as_bytes(std::span(text)), {}));
  rig.overlay.reset();
}

std::size_t changes(Overlay& overlay, FlattenMode mode) {
  std::size_t count = 0;
  const auto done = overlay.flatten(mode, [&](const FlattenStep& step) {
    if (step.what != FlattenStep::What::kUnsaid) ++count;
  });
  CHECK(done);
  return count;
}

/// "RIG AT": flattens, and dies before changing call AT.
int flatten_and_die(std::istream& words) {
  std::string path;
  int deadly = 0, calls = 0;
  if (!(words >> path >> deadly)) return 2;
  Rig rig(path);
  auto overlay = Overlay::open(rig.config);
  if (!overlay) return 2;
  posix::set_hook([&](const char*) {
    if (++calls == deadly) ::_exit(1);
    return 0;
  });
  const bool done = (*overlay)->flatten(FlattenMode::kDo, [](const FlattenStep&) {}).has_value();
  ::_exit(done ? 0 : 2);
}

Nursery nursery("(flatten that dies)");

}  // namespace

TEST_CASE("(flatten that dies)", "[.]") { Nursery::serve(flatten_and_die); }

TEST_CASE("flatten changes nothing that is shown, and leaves nothing to do") {
  Rig rig;
  furnish(rig);
  rig.open();
  const std::string before = rig.dump(false);
  rig.open();
  const std::size_t planned = changes(*rig.overlay, FlattenMode::kLook);
  CHECK(planned > 8);
  CHECK(changes(*rig.overlay, FlattenMode::kDo) == planned);
  rig.open();
  CHECK(changes(*rig.overlay, FlattenMode::kLook) == 0);
  CHECK(rig.dump(false) == before);
  rig.check_invariant();
  CHECK(rig.dump(false) == before);
}

TEST_CASE("flatten that is killed at any change of the disk is ended by the next") {
  std::string before;
  for (int deadly = 1;; ++deadly) {
    Rig rig;
    furnish(rig);
    const int code = nursery.run(rig.dir.path() + " " + std::to_string(deadly));
    CAPTURE(deadly);
    REQUIRE(code != 2);
    rig.open();
    const std::string now = rig.dump(false);
    if (before.empty()) before = now;  // killed before its first change
    CHECK(now == before);
    rig.open();
    (void)changes(*rig.overlay, FlattenMode::kDo);
    rig.open();
    CHECK(changes(*rig.overlay, FlattenMode::kLook) == 0);
    CHECK(rig.dump(false) == before);
    rig.check_invariant();
    if (code == 0) break;
  }
}

TEST_CASE("flatten that meets the limit says where, and goes on when there is room") {
  Rig rig;
  furnish(rig);
  rig.config.size_bytes = 20 * 4096;
  rig.open();
  const std::string before = rig.dump(false);
  rig.open();
  auto limits = rig.overlay->quota()->total().limits;
  limits.bytes.hard = static_cast<std::uint64_t>(rig.used().bytes) + 4096;
  REQUIRE(rig.overlay->quota()->set_total_limits(limits));
  const auto stopped = rig.overlay->flatten(FlattenMode::kDo, [](const FlattenStep&) {});
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().error == EDQUOT);
  CHECK(stopped.error().path.size() > 1);
  rig.config.size_bytes = 0;
  rig.open();
  (void)changes(*rig.overlay, FlattenMode::kDo);
  rig.open();
  CHECK(rig.dump(false) == before);
  rig.check_invariant();
}
