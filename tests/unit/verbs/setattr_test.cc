// A request that changes several attributes at once changes all of them or none.
#include <sys/sysmacros.h>

#include <algorithm>

#include "fusefs/base/posix.h"
#include "unit/overlay/union_fixture.h"

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

TEST_CASE("chown of a symlink moves its ctime, and a device that is made keeps its numbers") {
  Fixture f;
  f.open();
  const auto link = f.overlay->symlink(f.caller, kRootId, "l", "target");
  REQUIRE(link);
  for (const uid_t uid : {7U, 7U, 0U}) {
    const auto before = f.overlay->getattr(link->id);
    ::usleep(20000);
    SetAttr set;
    set.uid = uid;
    const auto after = f.overlay->setattr(f.caller, link->id, set);
    REQUIRE(after);
    CHECK(after->st_uid == uid);
    CHECK(after->st_ctim.tv_sec * 1000000000 + after->st_ctim.tv_nsec >
          before->st_ctim.tv_sec * 1000000000 + before->st_ctim.tv_nsec);
    CHECK(after->st_mtim.tv_nsec == before->st_mtim.tv_nsec);
  }
  for (const mode_t type : {S_IFCHR, S_IFBLK}) {
    const std::string name = type == S_IFCHR ? "char" : "block";
    const auto made = f.overlay->mknod(f.caller, kRootId, name, type | 0600, makedev(1, 2));
    REQUIRE(made);
    CHECK(made->attr.st_rdev == makedev(1, 2));
    CHECK((made->attr.st_mode & S_IFMT) == type);
    f.open();
    CHECK(f.overlay->getattr(f.id(name))->st_rdev == makedev(1, 2));
  }
}

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

namespace {

/// Lower objects of several kinds whose attributes are changed.
struct Below : Fixture {
  explicit Below(Ownership ownership) {
    config.ownership = ownership;
    if (ownership == Ownership::kNative) {
      config.upper_owner.reset();
      config.xattr_space = XattrSpace::kTrusted;  // a fifo has no others
    }
    put(lower + "/file", std::string(10000, 'x'));
    put(lower + "/empty", "");
    put(lower + "/noted", "y");
    mark(lower + "/noted", "user.note", "1");
    REQUIRE(::mkdir((lower + "/dir").c_str(), 0750) == 0);
    REQUIRE(::symlink("file", (lower + "/link").c_str()) == 0);
    REQUIRE(::mkfifo((lower + "/fifo").c_str(), 0640) == 0);
    REQUIRE(::chmod((lower + "/file").c_str(), 06755) == 0);
    const timespec old[2] = {{1000, 1}, {2000, 2}};
    for (const char* name : kNames)
      REQUIRE(::utimensat(AT_FDCWD, (lower + "/" + name).c_str(), old, AT_SYMLINK_NOFOLLOW) == 0);
    open();
  }
  std::string seen(const std::string& name) {
    const auto st = overlay->getattr(id(name));
    REQUIRE(st);
    std::ostringstream out;
    out << std::oct << st->st_mode << std::dec << ' ' << st->st_uid << ' ' << st->st_gid << ' '
        << st->st_size << ' ' << st->st_blocks << ' ' << st->st_mtim.tv_sec << ' '
        << st->st_mtim.tv_nsec;
    // To read a symlink below moves its time of access, which nothing can prevent.
    if (name != "link") out << ' ' << st->st_atim.tv_sec << ' ' << st->st_atim.tv_nsec;
    return out.str();
  }
  static constexpr const char* kNames[] = {"file", "empty", "noted", "dir", "link", "fifo"};
};

std::vector<SetAttr> changes() {
  std::vector<SetAttr> all(6);
  all[0].mode = 0640;
  all[1].mode = 06711;
  all[2].uid = 17;
  all[3].gid = 18;
  all[3].mode = 04700;
  all[4].mtime = timespec{3000, 3};
  all[5].atime = timespec{4000, 4};
  all[5].uid = 17;
  all[5].kill_suidgid = true;
  return all;
}

}  // namespace

TEST_CASE("a lower object comes up with its new attributes, in one step, or stays as it was") {
  for (const Ownership ownership : {Ownership::kPresented, Ownership::kNative}) {
    if (ownership == Ownership::kNative && ::geteuid() != 0) continue;
    int number = -1;
    for (const SetAttr& set : changes()) {
      ++number;
      for (const std::string name : Below::kNames) {
        if (name == "link" && set.mode) continue;
        CAPTURE(static_cast<int>(ownership), number, name);
        // The same change of what was brought up before.
        Below model(ownership);
        SetAttr nothing;
        nothing.atime = timespec{1000, 1};
        REQUIRE(model.overlay->setattr(model.caller, model.id(name), nothing));
        REQUIRE(model.overlay->setattr(model.caller, model.id(name), set));
        int failures = 0;
        for (int at = 1;; ++at) {
          CAPTURE(at);
          Below f(ownership);
          const std::string before = f.seen(name);
          std::vector<std::string> calls;
          posix::set_hook([&](const char* call) {
            calls.emplace_back(call);
            return static_cast<int>(calls.size()) == at ? EIO : 0;
          });
          const auto result = f.overlay->setattr(f.caller, f.id(name), set);
          posix::set_hook({});
          if (!result) {
            ++failures;
            CHECK(f.seen(name) == before);
            REQUIRE(f.overlay->setattr(f.caller, f.id(name), set));
          }
          CHECK(f.seen(name) == model.seen(name));
          f.check_recount();
          // A count reads directories, which moves their times of access.
          if (name != "dir") CHECK(f.seen(name) == model.seen(name));
          if (static_cast<int>(calls.size()) >= at) continue;
          // Once it is published nothing changes but the times of the directory. An object with
          // xattrs of its own is changed afterwards.
          // (A symlink's record is a rename, too.)
          const auto published = std::find(calls.rbegin(), calls.rend(), "renameat2");
          REQUIRE(published != calls.rend());
          const std::vector<std::string> after(published.base(), calls.end());
          if (name != "noted") CHECK(after == std::vector<std::string>{"utimensat"});
          break;
        }
        CHECK(failures >= 2);
      }
    }
  }
}

TEST_CASE(
    "truncation to the size that a lower file has: O_TRUNC moves its times, the kernel's own "
    "after a failed write changes nothing") {
  Fixture f;
  put(f.lower + "/lock", "");
  put(f.lower + "/own", "");
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  for (const char* name : {"/lock", "/own"})
    REQUIRE(::utimensat(AT_FDCWD, (f.lower + name).c_str(), old, 0) == 0);
  f.open();
  SetAttr set;
  set.size = 0;
  const auto truncated = f.overlay->setattr(f.caller, f.id("lock"), set);
  REQUIRE(truncated);
  CHECK(truncated->st_mtim.tv_sec > 1000);
  CHECK(::access((f.upper + "/lock").c_str(), F_OK) == 0);
  set.by_file = true;
  const auto untouched = f.overlay->setattr(f.caller, f.id("own"), set);
  REQUIRE(untouched);
  CHECK(untouched->st_mtim.tv_sec == 1000);
  CHECK(::access((f.upper + "/own").c_str(), F_OK) != 0);
  f.check_recount();
}
