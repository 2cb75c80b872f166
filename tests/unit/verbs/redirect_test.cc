// Redirects: where the lower parts of renamed directories are found, in the upper and in chains of
// lower layers, and what hostile ones may not do.
#include "unit/overlay/union_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

void redirect(const std::string& path, const std::string& value) {
  mark(path, "user.overlay.redirect", value);
}

}  // namespace

TEST_CASE("directories with lower parts are renamed: the kernel's redirect") {
  Fixture f;
  f.dir.make("lower/a/b/c");
  f.dir.make("lower/z");
  put(f.lower + "/a/top", "top");
  put(f.lower + "/a/b/file", "file");
  put(f.lower + "/a/b/c/deep", "deep");
  put(f.lower + "/z/old", "old");
  f.open();
  const NodeId file = f.id("a/b/file");
  REQUIRE(f.overlay->rename(Caller{}, f.id("a"), "b", kRootId, "moved", 0));
  CHECK(xattr(f.upper + "/moved", "user.overlay.redirect") == "/a/b");
  CHECK(is_whiteout(f.upper + "/a/b"));
  CHECK(f.list(f.id("a")) == std::set<std::string>{"top"});
  CHECK(f.list(f.id("moved")) == std::set<std::string>{"c", "file"});
  CHECK(f.id("moved/file") == file);
  REQUIRE(f.write(file, 4, "!"));
  CHECK(get(f.upper + "/moved/file") == "file!");
  // A child of a renamed directory moves out; a renamed one moves on, over a directory that was
  // emptied.
  REQUIRE(f.overlay->rename(Caller{}, f.id("moved"), "c", kRootId, "c2", 0));
  CHECK(xattr(f.upper + "/c2", "user.overlay.redirect") == "/a/b/c");
  REQUIRE(f.overlay->unlink(f.id("z"), "old"));
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "moved", kRootId, "z", 0));
  CHECK(f.list(f.id("z")) == std::set<std::string>{"file"});
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "c2", kRootId, "z", RENAME_EXCHANGE));
  CHECK(f.read(f.id("z/deep")) == "deep");
  CHECK(f.read(f.id("c2/file")) == "file!");
  f.check_recount();
  CHECK(f.list(kRootId) == std::set<std::string>{"a", "c2", "z"});
  CHECK(f.read(f.id("z/deep")) == "deep");
  CHECK(f.read(f.id("c2/file")) == "file!");
  auto again = f.overlay->mkdir(f.caller, f.id("a"), "b", 0755);
  REQUIRE(again);
  CHECK(f.list(again->id).empty());
  // The upper as a lower: its redirects are followed in the layers below it.
  f.rotate();
  CHECK(f.list(kRootId) == std::set<std::string>{"a", "c2", "z"});
  CHECK(f.read(f.id("z/deep")) == "deep");
  CHECK(f.read(f.id("c2/file")) == "file!");
  CHECK(f.list(f.id("a/b")).empty());
}

TEST_CASE("a corrupt redirect is never followed") {
  Fixture f;
  f.dir.make("upper/d");
  f.dir.make("lower/d");
  put(f.lower + "/d/x", "x");
  f.open();
  for (const char* bad : {"/../etc", "a/b", "..", "/a//b", "/"}) {
    REQUIRE(::setxattr((f.upper + "/d").c_str(), "user.overlay.redirect", bad, std::strlen(bad),
                       0) == 0);
    CHECK(f.err("d") == EIO);
  }
}

TEST_CASE("a chain of redirects through the layers") {
  Fixture f;
  f.dir.make("lower/a/b/c");
  put(f.lower + "/a/b/c/bottom", "bottom");
  put(f.lower + "/a/b/side", "side");
  f.open();
  // Each rotation adds a layer with redirects of its own.
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "a", kRootId, "a1", 0));
  f.rotate();
  REQUIRE(f.overlay->rename(Caller{}, f.id("a1"), "b", f.id("a1"), "b2", 0));
  CHECK(xattr(f.upper + "/a1/b2", "user.overlay.redirect") == "/a1/b");
  f.rotate();
  REQUIRE(f.overlay->rename(Caller{}, f.id("a1/b2"), "c", kRootId, "c3", 0));
  CHECK(xattr(f.upper + "/c3", "user.overlay.redirect") == "/a1/b2/c");
  f.create(f.id("c3"), "top");
  f.rotate();
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "a1", kRootId, "a4", 0));
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "c3", f.id("a4/b2"), "c5", 0));
  for (int remount = 0; remount < 3; ++remount) {
    CHECK(f.list(f.id("a4")) == std::set<std::string>{"b2"});
    CHECK(f.list(f.id("a4/b2")) == std::set<std::string>{"c5", "side"});
    CHECK(f.list(f.id("a4/b2/c5")) == std::set<std::string>{"bottom", "top"});
    CHECK(f.read(f.id("a4/b2/c5/bottom")) == "bottom");
    CHECK(f.err("a1") == ENOENT);
    CHECK(f.err("a4/b2/c") == ENOENT);
    if (remount == 1) {
      f.rotate();
    } else {
      f.open();
    }
  }
}

TEST_CASE("a relative redirect is looked up beside, in each layer where the parent is") {
  Fixture f;
  const std::string low2 = f.dir.make("low2");
  f.config.lowers = {f.lower, low2};
  f.dir.make("upper/p/new");
  f.dir.make("lower/p/old");
  f.dir.make("low2/q/old");
  redirect(f.lower + "/p", "q");
  redirect(f.upper + "/p/new", "old");
  put(f.lower + "/p/old/one", "1");
  put(low2 + "/q/old/two", "2");
  put(low2 + "/q/beside", "");
  f.open();
  CHECK(f.list(f.id("p")) == std::set<std::string>{"beside", "new", "old"});
  CHECK(f.list(f.id("p/new")) == std::set<std::string>{"one", "two"});
  CHECK(f.read(f.id("p/new/two")) == "2");
}

TEST_CASE("opaque directories on the way of a redirect") {
  Fixture f;
  const std::string low2 = f.dir.make("low2"), low3 = f.dir.make("low3");
  f.config.lowers = {f.lower, low2, low3};
  f.dir.make("upper/x");
  redirect(f.upper + "/x", "/o/d");
  // What is opaque hides what lies below its names…
  f.dir.make("lower/o/d");
  mark(f.lower + "/o", "user.overlay.opaque", "y");
  f.dir.make("low2/o/d");
  put(low2 + "/o/d/hidden", "");
  // …but for a name that says itself where its lower parts are.
  f.dir.make("upper/y");
  redirect(f.upper + "/y", "/o/e");
  f.dir.make("lower/o/e");
  redirect(f.lower + "/o/e", "/r");
  f.dir.make("low2/r");
  put(low2 + "/r/shown", "");
  f.dir.make("low3/o/e");
  put(low3 + "/o/e/hidden", "");
  f.open();
  CHECK(f.list(f.id("x")).empty());
  CHECK(f.list(f.id("y")) == std::set<std::string>{"shown"});
  CHECK(f.list(f.id("o/e")) == std::set<std::string>{"shown"});
}

TEST_CASE("what is deep in the tree is renamed beside itself however long its path is") {
  Fixture f;
  std::string path = f.lower;
  for (int i = 0; i < 3; ++i) path += "/" + std::string(150, static_cast<char>('a' + i));
  boost::filesystem::create_directories(path + "/d");
  put(path + "/d/x", "x");
  f.open();
  const std::string shown = path.substr(f.lower.size() + 1);
  REQUIRE(f.overlay->rename(Caller{}, f.id(shown), "d", f.id(shown), "e", 0));
  CHECK(xattr(f.upper + "/" + shown + "/e", "user.overlay.redirect") == "d");
  // Elsewhere the kernel could not find it.
  auto moved = f.overlay->rename(Caller{}, f.id(shown), "e", kRootId, "e", 0);
  REQUIRE_FALSE(moved);
  CHECK(moved.error() == EXDEV);
  f.open();
  CHECK(f.read(f.id(shown + "/e/x")) == "x");
}

TEST_CASE("redirects that lead nowhere show nothing that is not theirs") {
  Fixture f;
  const std::string outside = f.dir.make("outside");
  put(outside + "/secret", "secret");
  f.dir.make("upper/d");
  put(f.upper + "/d/own", "own");
  f.dir.make("lower/dir");
  put(f.lower + "/file", "");
  boost::filesystem::create_symlink(outside, f.lower + "/link");
  boost::filesystem::create_symlink("dir", f.lower + "/inside");
  REQUIRE(::mknod((f.lower + "/gone").c_str(), S_IFCHR, 0) == 0);
  for (const char* to : {"/absent", "/file", "/link", "/inside", "/gone", "/file/x", "/link/x"}) {
    CAPTURE(to);
    redirect(f.upper + "/d", to);
    f.open();
    CHECK(f.list(f.id("d")) == std::set<std::string>{"own"});
  }
  // A circle ends: each step goes down a layer.
  redirect(f.upper + "/d", "/d");
  f.dir.make("lower/d/d");
  redirect(f.lower + "/d", "/d/d");
  f.open();
  CHECK(f.list(f.id("d")) == std::set<std::string>{"d", "own"});
}

TEST_CASE("redirects in lower layers that are corrupt, or that may not be followed, are errors") {
  Fixture f;
  const std::string low2 = f.dir.make("low2");
  f.config.lowers = {f.lower, low2};
  f.dir.make("lower/d");
  f.dir.make("low2/d");
  redirect(f.lower + "/d", "a/b");
  f.open();
  CHECK(f.err("d") == EIO);
  redirect(f.lower + "/d", std::string(300, 'n'));
  CHECK(f.err("d") == EIO);
  redirect(f.lower + "/d", "/e");
  CHECK(f.err("d") == 0);
  f.config.redirect_dir = RedirectDir::kNofollow;
  f.open();
  CHECK(f.err("d") == EPERM);
}
