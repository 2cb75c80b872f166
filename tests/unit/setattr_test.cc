// A request that changes several attributes at once changes all of them or none.
#include "fusefs/posix.h"
#include "unit/union_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

struct Attributes : Fixture {
  NodeId file = 0;
  explicit Attributes(Ownership ownership) {
    config.ownership = ownership;
    if (ownership == Ownership::kNative) config.upper_owner.reset();
    open();
    file = create(kRootId, "f");
    REQUIRE(write(file, 0, std::string(10000, 'x')));
    SetAttr set;
    set.mode = 04755;
    set.uid = 7;
    set.gid = 8;
    set.atime = timespec{1000, 1};
    set.mtime = timespec{2000, 2};
    REQUIRE(overlay->setattr(caller, file, set));
    set = {};
    set.mode = 04755;
    REQUIRE(overlay->setattr(caller, file, set));
  }
  /// All of stat(2) that may be changed, and the charge.
  std::string seen() {
    const auto st = overlay->getattr(file);
    REQUIRE(st);
    std::ostringstream out;
    out << std::oct << st->st_mode << std::dec << ' ' << st->st_uid << ' ' << st->st_gid << ' '
        << st->st_size << ' ' << st->st_blocks << ' ' << st->st_atim.tv_sec << ' '
        << st->st_atim.tv_nsec << ' ' << st->st_mtim.tv_sec << ' ' << st->st_mtim.tv_nsec << ' '
        << used().bytes;
    return out.str();
  }
};

SetAttr everything(off_t size) {
  SetAttr set;
  set.mode = 02700;
  set.uid = 17;
  set.gid = 18;
  set.atime = timespec{3000, 3};
  set.mtime = timespec{4000, 4};
  set.size = size;
  return set;
}

SetAttr cut_by_another() {
  SetAttr set;
  set.size = 100;
  set.kill_suidgid = true;
  return set;
}

/// Fails the `at`-th changing call; how many there were.
int calls_of(Attributes& f, const SetAttr& set, int at, Result<struct stat>& result) {
  int calls = 0;
  posix::set_hook([&](const char*) { return ++calls == at ? EIO : 0; });
  result = f.overlay->setattr(f.caller, f.file, set);
  posix::set_hook({});
  return calls;
}

}  // namespace

TEST_CASE("attributes that are changed together are changed all, or none if any step fails") {
  for (const Ownership ownership : {Ownership::kPresented, Ownership::kNative}) {
    if (ownership == Ownership::kNative && ::geteuid() != 0) continue;
    for (const SetAttr& set :
         {everything(100), everything(0), everything(50000), cut_by_another()}) {
      Attributes model(ownership);
      REQUIRE(model.overlay->setattr(model.caller, model.file, set));
      const std::string after = model.seen();
      int failures = 0;
      for (int at = 1;; ++at) {
        CAPTURE(static_cast<int>(ownership), set.size.value_or(-1), at);
        Attributes f(ownership);
        const std::string before = f.seen();
        Result<struct stat> result = fail(EIO);
        if (calls_of(f, set, at, result) < at) break;
        if (!result) {
          ++failures;
          CHECK(result.error() == EIO);
          CHECK(f.seen() == before);
          REQUIRE(f.overlay->setattr(f.caller, f.file, set));
        }
        if (set.mtime) CHECK(f.seen() == after);
        CHECK(f.overlay->getattr(f.file)->st_size == *set.size);
        CHECK((f.overlay->getattr(f.file)->st_mode & S_ISUID) == 0);
        f.check_recount();
      }
      CHECK(failures >= 2);
    }
  }
}
