// What it proves: the command line of the mount program is read as written, and everything that
// cannot work is refused with one line that names it.
#include "fusefs/launch/options.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "fusefs/launch/option_text.h"
#include "fusefs/launch/preflight.h"
#include "unit/catch.h"

using namespace troot::fusefs;

namespace {

tl::expected<MountOptions, UsageError> parse(std::vector<std::string> args) {
  return parse_command_line(args);
}

/// With lowerdir=/l and a mount point, so that only `options` can be wrong.
MountOptions good(const std::string& options) {
  auto parsed = parse({"-o", "lowerdir=/l," + options, "/m"});
  INFO((parsed ? std::string() : parsed.error().message));
  REQUIRE(parsed);
  return *parsed;
}

std::string refused(const std::string& options) {
  const auto parsed = parse({"-o", "lowerdir=/l," + options, "/m"});
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().exit_code == kExitUsage);
  CHECK(parsed.error().message.find('\n') == std::string::npos);
  return parsed.error().message;
}

/// A directory with l, u, w, m in it, removed at the end.
class Tree {
 public:
  Tree() {
    std::string form = "/tmp/options_test.XXXXXX";
    REQUIRE(::mkdtemp(form.data()));
    top = std::filesystem::canonical(form);
    for (const char* name : {"l", "u", "w", "m"}) make(name);
  }
  ~Tree() { std::filesystem::remove_all(top); }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  void make(const std::string& name) const {
    std::filesystem::create_directories(top + "/" + name);
  }
  [[nodiscard]] std::string at(const std::string& name) const { return top + "/" + name; }

  /// Resolves l, u and w as given, and returns the complaint, or nothing.
  [[nodiscard]] std::string check(const std::string& lower, const std::string& upper,
                                  const std::string& work, const std::string& more = "") const {
    auto parsed = parse(
        {"-o", "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work + more, at("m")});
    REQUIRE(parsed);
    auto resolved = resolve_paths(*parsed);
    last = *parsed;
    return resolved ? "" : resolved.error().message;
  }

  std::string top;
  mutable MountOptions last;
};

bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("escapes and quotes protect separators") {
  using Parts = std::vector<std::string>;
  CHECK(split_escaped("a,b\\,c,\"d,e\",,f", ',', Quoting::kQuotes) ==
        Parts{"a", "b\\,c", "d,e", "f"});
  CHECK(split_escaped("a:b\\:c:\"d", ':', Quoting::kNone) == Parts{"a", "b\\:c", "\"d"});
  CHECK(unescape("a\\:b\\\\c\\") == "a:b\\c\\");
}

TEST_CASE("layers, limits and ownership are read") {
  const auto o = good(
      "lowerdir=/a:/b\\:b:/c\\,c,upperdir=/u\\:u,workdir=/w,size=10G,inodes=1K,upper_owner=0:5,"
      "id_count=65536,hide=/x,hide=/"
      "y,errno=enospc,unreadable=empty,squash_to_root,volatile,ledger=memory");
  CHECK(o.config.lowers == std::vector<std::string>{"/a", "/b:b", "/c,c"});
  CHECK(o.config.upper == "/u:u");
  CHECK(o.config.size_bytes == std::uint64_t{10} << 30);
  CHECK(o.config.inodes == 1000u);
  CHECK(o.config.upper_owner == std::pair<uid_t, gid_t>{0, 5});
  CHECK(o.config.id_count == 65536);
  CHECK(o.config.hide == std::vector<std::string>{"/x", "/y"});
  CHECK(o.config.quota_errno == ENOSPC);
  CHECK(o.config.unreadable == Unreadable::kEmpty);
  CHECK(o.config.squash_to_root);
  CHECK(o.config.volatile_upper);
  CHECK(o.config.ledger == LedgerPlace::kMemory);
  CHECK(o.config.quota);
  CHECK(o.config.enforce);
  CHECK_FALSE(o.read_only);
}

TEST_CASE("a limit that is not given stays as remembered, 0 is none") {
  CHECK_FALSE(good("upperdir=/u,workdir=/w").config.size_bytes);
  CHECK(good("upperdir=/u,workdir=/w,size=0").config.size_bytes == 0u);
}

TEST_CASE("without an upper the mount is read-only") {
  CHECK(good("fsname=x").read_only);
  CHECK(good("upperdir=/u,workdir=/w,ro").read_only);
  CHECK_FALSE(good("upperdir=/u,workdir=/w,ro,rw").read_only);
}

TEST_CASE("arguments may stand anywhere, options repeat, mount(8)'s words are taken") {
  const auto o = parse({"src", "/m", "-n", "-t", "fuse.trootfs", "-o", "lowerdir=/l",
                        "-oro,nosuid,x-systemd.automount"});
  REQUIRE(o);
  CHECK(o->source == "src");
  CHECK(o->fsname == "src");
  CHECK(o->mountpoint == "/m");
  CHECK(o->mount_flags == std::vector<std::string>{"nosuid"});
  CHECK(unused_note(*o).empty());
  // The last word counts, and libfuse is not handed what it may not know.
  CHECK(good("sync,noatime,async,atime").mount_flags.empty());
  CHECK_FALSE(good("noatime,atime").config.noatime);
  CHECK(good("atime,noatime").mount_flags == std::vector<std::string>{"noatime"});
  CHECK(good("").fsname == "trootfs");
  CHECK(parse({"--version"})->action == MountOptions::Action::kVersion);
  CHECK(parse({"--help"})->action == MountOptions::Action::kHelp);
}

TEST_CASE("what fuse-overlayfs is given is understood, or named in one note") {
  const auto o = good(
      "upperdir=/u,workdir=/w,noacl,xattr_permissions=2,threaded=0,fsync=0,redirect_dir=off,"
      "context=\"a,b\",uidmapping=:0:1:1,frob,timeout=3");
  CHECK(o.ownership == Ownership::kPresented);
  CHECK(o.threads == 1);
  CHECK(o.config.volatile_upper);
  CHECK_FALSE(o.config.acl);
  CHECK(o.config.redirect_dir == RedirectDir::kFollow);
  CHECK_FALSE(good("metacopy=off").config.metacopy);
  CHECK(good("upperdir=/u,workdir=/w,noquota,passthrough").passthrough);
  CHECK_FALSE(good("upperdir=/u,workdir=/w,noquota").passthrough);
  CHECK(unused_note(o) ==
        "options not acted on: context uidmapping timeout (not implemented); frob (unknown)");
}

TEST_CASE("io_uring is used where it is offered, unless told otherwise") {
  CHECK(good("upperdir=/u,workdir=/w").io_uring == IoUring::kAuto);
  CHECK(good("io_uring=on").io_uring == IoUring::kOn);
  CHECK(good("io_uring=off").io_uring == IoUring::kOff);
  CHECK(good("io_uring=off,io_uring=auto").io_uring == IoUring::kAuto);
}

TEST_CASE("a client alone is followed, unless told otherwise") {
  CHECK(good("upperdir=/u,workdir=/w").follow == Follow::kAuto);
  CHECK(good("follow=on").follow == Follow::kOn);
  CHECK(good("follow=on,follow=off").follow == Follow::kOff);
}

TEST_CASE("wrong values are refused by name") {
  CHECK(says(refused("size=12Q"), "size=12Q"));
  CHECK(says(refused("size=12Q"), "10GiB"));
  CHECK(says(refused("inodes=many"), "inodes=many"));
  CHECK(says(refused("size="), "needs a value"));
  CHECK(says(refused("errno=eperm"), "enospc or edquot"));
  CHECK(says(refused("ownership=mine"), "native or presented"));
  CHECK(says(refused("upper_owner=root"), "UID:GID"));
  CHECK(says(refused("threads=0"), "threads=0"));
  CHECK(says(refused("io_uring=yes"), "auto, on or off"));
  CHECK(says(refused("follow=maybe"), "auto, on or off"));
  CHECK(says(refused("upperdir=/u"), "without workdir"));
  CHECK(says(refused("workdir=/w"), "without upperdir"));
  CHECK(says(refused("upperdir=/u,workdir=/w,noquota,size=1G"), "noquota"));
  CHECK(says(refused("upperdir=/u,workdir=/w,passthrough"), "noquota"));
  CHECK(says(refused("noquota,passthrough"), "upperdir"));
  CHECK(says(refused("upperdir=/u,workdir=/w,ro,noquota,passthrough"), "upperdir"));
  CHECK(says(parse({"/m"}).error().message, "no lowerdir"));
  CHECK(says(parse({"-o", "lowerdir=/l"}).error().message, "no mount point"));
  CHECK(says(parse({"--frob", "/m"}).error().message, "--frob"));
  CHECK(says(parse({"-o"}).error().message, "needs a value"));
  CHECK(says(parse({"-o", "lowerdir=/l", "a", "b", "c"}).error().message, "too many"));
  std::string many = "lowerdir=/l";
  for (int i = 0; i < 500; ++i) many += ":/l";
  CHECK(says(refused(many), "at most 500"));
}

TEST_CASE("a world's server needs no mount point") {
  const auto o = parse({"-f", "-o", "lowerdir=/l,fuse_socket=7"});
  REQUIRE(o);
  CHECK(o->fuse_socket == 7);
}

TEST_CASE("who runs the server decides the ownership on disk") {
  auto o = good("upperdir=/u,workdir=/w");
  apply_defaults(o, true);
  CHECK(o.config.ownership == Ownership::kNative);
  CHECK(o.config.xattr_space == XattrSpace::kTrusted);
  CHECK(o.control == "/w/troot/control");
  o = good("upperdir=/u,workdir=/w,userxattr");
  apply_defaults(o, true);
  CHECK(o.config.xattr_space == XattrSpace::kUser);
  o = good("");
  apply_defaults(o, false);
  CHECK(o.config.ownership == Ownership::kPresented);
  CHECK(o.config.xattr_space == XattrSpace::kUser);
  CHECK(o.control.empty());
}

TEST_CASE("directories are made absolute, through symlinks") {
  const Tree tree;
  std::filesystem::create_directory_symlink(tree.at("l"), tree.at("link"));
  CHECK(tree.check(tree.at("link"), tree.at("u/../u"), tree.at("w")) == "");
  CHECK(tree.last.config.lowers[0] == tree.at("l"));
  CHECK(tree.last.config.upper == tree.at("u"));
  CHECK(tree.last.config.hide.empty());
}

TEST_CASE("directories that cannot work together are refused") {
  const Tree tree;
  for (const char* name : {"l/u", "l/w", "u/in", "w/in"}) tree.make(name);
  const auto u = tree.at("u");
  const auto w = tree.at("w");
  CHECK(says(tree.check(tree.at("gone"), u, w), "lowerdir " + tree.at("gone") + ": No such file"));
  CHECK(says(tree.check(tree.at("l"), tree.at("gone"), w), "upperdir " + tree.at("gone")));
  CHECK(says(tree.check(u, u, w), "itself a lowerdir"));
  CHECK(says(tree.check(w, u, w), "itself a lowerdir"));
  CHECK(says(tree.check(tree.at("u/in"), u, w), "lies inside upperdir"));
  CHECK(says(tree.check(tree.at("w/in"), u, w), "lies inside workdir"));
  CHECK(says(tree.check(tree.at("l"), u, u), "same directory"));
  CHECK(says(tree.check(tree.at("l"), u, tree.at("u/in")), "lies inside upperdir"));
  CHECK(says(tree.check(tree.at("l"), tree.at("w/in"), w), "lies inside workdir"));
  CHECK(says(tree.check(tree.at("l"), tree.at("l/u"), w),
             "upperdir " + tree.at("l/u") + " lies inside lowerdir"));
  CHECK(says(tree.check(tree.at("l"), u, "/dev/shm"), "another file system"));
}

TEST_CASE("an upper inside a lower is allowed where it is hidden") {
  const Tree tree;
  for (const char* name : {"l/s/u", "l/s/w"}) tree.make(name);
  const auto u = tree.at("l/s/u");
  const auto w = tree.at("l/s/w");
  CHECK(says(tree.check(tree.at("l"), u, w), "hide="));
  CHECK(tree.check(tree.at("l"), u, w, ",hide=" + tree.at("l/s")) == "");
  CHECK(tree.check(tree.at("l"), u, w, ",fuse_socket=9") == "");
  CHECK(tree.last.config.hide == std::vector<std::string>{u, w});
  CHECK(tree.check("/", u, w) == "");
  CHECK(tree.last.config.hide == std::vector<std::string>{u, w, tree.at("m")});
}
