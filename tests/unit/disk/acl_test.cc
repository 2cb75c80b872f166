// POSIX ACLs: their arithmetic (acl(5)), and what the union keeps of them where ownership is
// presented: never as ACLs of the host.
#include "fusefs/disk/acl.h"

#include "unit/overlay/union_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

struct Line {
  unsigned tag, perm, id = 0xffffffff;
};
constexpr unsigned kUserObj = 1, kUser = 2, kGroupObj = 4, kMask = 16, kOther = 32;

std::string acl(const std::vector<Line>& lines) {
  std::string text("\2\0\0\0", 4);
  for (const Line& l : lines) {
    const unsigned char entry[8] = {
        static_cast<unsigned char>(l.tag),      0,
        static_cast<unsigned char>(l.perm),     0,
        static_cast<unsigned char>(l.id),       static_cast<unsigned char>(l.id >> 8),
        static_cast<unsigned char>(l.id >> 16), static_cast<unsigned char>(l.id >> 24)};
    text.append(reinterpret_cast<const char*>(entry), sizeof entry);
  }
  return text;
}
/// rwx for the owner, `named` for user 7, r-x for the group, `mask`, --- for others.
std::string named(unsigned perm, unsigned mask) {
  return acl({{kUserObj, 7}, {kUser, perm, 7}, {kGroupObj, 5}, {kMask, mask}, {kOther, 0}});
}
const std::string kMinimal = acl({{kUserObj, 6}, {kGroupObj, 4}, {kOther, 4}});

struct AclFixture : Fixture {
  [[nodiscard]] mode_t mode(const std::string& path) {
    return overlay->getattr(id(path))->st_mode & 07777;
  }
  [[nodiscard]] std::string access(const std::string& path) {
    return overlay->getxattr(id(path), kAccessAcl).value_or("");
  }
  [[nodiscard]] std::string defaults(const std::string& path) {
    return overlay->getxattr(id(path), kDefaultAcl).value_or("");
  }
  [[nodiscard]] Status set(const std::string& path, std::string_view name,
                           const std::string& value) {
    return overlay->setxattr(caller, id(path), name, value, 0);
  }
  void chmod(const std::string& path, mode_t to) {
    SetAttr s;
    s.mode = to;
    REQUIRE(overlay->setattr(caller, id(path), s));
  }
};

}  // namespace

TEST_CASE("an ACL and the mode it stands for") {
  CHECK(acl_mode(kMinimal) == mode_t{0644});
  CHECK(acl_is_minimal(kMinimal));
  CHECK(acl_mode(named(7, 3)) == mode_t{0730});
  CHECK_FALSE(acl_is_minimal(named(7, 3)));
  CHECK(acl_with_mode(named(7, 3), 0654) ==
        acl({{kUserObj, 6}, {kUser, 7, 7}, {kGroupObj, 5}, {kMask, 5}, {kOther, 4}}));
  const auto child = inherit_acl(named(7, 7), 0646);
  REQUIRE(child);
  CHECK(child->mode == 0640);
  CHECK(child->access ==
        acl({{kUserObj, 6}, {kUser, 7, 7}, {kGroupObj, 5}, {kMask, 4}, {kOther, 0}}));
  CHECK(inherit_acl(kMinimal, S_IFREG | 0666)->access.empty());
  CHECK(inherit_acl(kMinimal, S_IFREG | 04600)->mode == (S_IFREG | 04600));
  CHECK(acl_with_ids(named(7, 7), [](std::uint32_t) { return 65534U; }) ==
        acl({{kUserObj, 7}, {kUser, 7, 65534}, {kGroupObj, 5}, {kMask, 7}, {kOther, 0}}));
}

TEST_CASE("what is no ACL is told") {
  for (const std::string& bad :
       {std::string(), std::string("\2\0\0", 3), std::string("\3\0\0\0", 4), kMinimal + "x",
        acl({{kUserObj, 7}}), acl({{kUserObj, 8}, {kGroupObj, 4}, {kOther, 4}}),
        acl({{kUserObj, 7}, {kUserObj, 7}, {kGroupObj, 4}, {kOther, 4}}),
        acl({{kUserObj, 7}, {kUser, 7, 1}, {kGroupObj, 4}, {kOther, 4}}),
        acl({{kUserObj, 7}, {3, 7, 1}, {kGroupObj, 4}, {kOther, 4}}),
        acl({{kGroupObj, 4}, {kUserObj, 7}, {kOther, 4}}),
        acl({{kUserObj, 7}, {kUser, 7}, {kGroupObj, 4}, {kMask, 7}, {kOther, 4}})}) {
    CHECK_FALSE(acl_mode(bad));
    CHECK_FALSE(inherit_acl(bad, 0644));
    CHECK_FALSE(acl_with_mode(bad, 0644));
    CHECK_FALSE(acl_is_minimal(bad));
  }
}

TEST_CASE("an ACL rules the mode, and chmod the ACL") {
  AclFixture f;
  f.open();
  f.create(kRootId, "file");
  REQUIRE(f.set("file", kAccessAcl, named(6, 7)));
  CHECK(f.mode("file") == 0770);
  CHECK(f.access("file") == named(6, 7));
  CHECK(xattr(f.upper + "/file", "system.posix_acl_access").empty());  // nothing acts on the host
  CHECK_FALSE(f.set("file", kAccessAcl, "nonsense"));
  CHECK_FALSE(f.set("file", kDefaultAcl, kMinimal));
  f.chmod("file", 04750);
  CHECK(f.mode("file") == 04750);
  CHECK(f.access("file") ==
        acl({{kUserObj, 7}, {kUser, 6, 7}, {kGroupObj, 5}, {kMask, 5}, {kOther, 0}}));
  f.check_recount();
  CHECK(f.mode("file") == 04750);
  // One that says no more than a mode becomes one.
  REQUIRE(f.set("file", kAccessAcl, kMinimal));
  CHECK(f.mode("file") == 04644);
  CHECK(f.access("file").empty());
  REQUIRE(f.set("file", kAccessAcl, named(6, 6)));
  REQUIRE(f.overlay->removexattr(f.caller, f.id("file"), kAccessAcl));
  CHECK(f.mode("file") == 04760);
  f.check_recount();
  CHECK(f.mode("file") == 04760);
  CHECK(f.overlay->listxattr(f.id("file")).value_or("?").empty());
}

TEST_CASE("the want of an ACL is no error to who removes it, and what is none is not set") {
  AclFixture f;
  put(f.lower + "/file", "x");
  f.open();
  REQUIRE(f.overlay->mkdir(f.caller, kRootId, "d", 0700));
  REQUIRE(f.overlay->symlink(f.caller, kRootId, "link", "d"));
  const auto remove = [&](const std::string& path, std::string_view name) {
    const auto status = f.overlay->removexattr(f.caller, f.id(path), name);
    return status ? 0 : status.error().value();
  };
  CHECK(remove("d", kAccessAcl) == 0);
  CHECK(remove("d", kDefaultAcl) == 0);
  CHECK(remove("d", "user.none") == ENODATA);
  CHECK(remove("link", kAccessAcl) == ENOTSUP);
  CHECK(remove("file", kAccessAcl) == 0);
  CHECK_FALSE(boost::filesystem::exists(f.upper + "/file"));  // no reason to copy up
  const std::string unsorted = acl({{kOther, 4}, {kGroupObj, 4}, {kUserObj, 7}});
  for (const std::string_view name : {kAccessAcl, kDefaultAcl})
    CHECK(f.set("d", name, unsorted).error() == EINVAL);
  CHECK(f.set("file", kAccessAcl, unsorted).error() == EINVAL);
  CHECK_FALSE(boost::filesystem::exists(f.upper + "/file"));
  f.create(f.id("d"), "child");
  f.config.acl = false;
  f.open();
  CHECK(remove("d", kAccessAcl) == ENOTSUP);
}

TEST_CASE("a sgid that outlived a write goes by the next, once an ACL lets the group execute") {
  AclFixture f;
  f.open();
  f.create(kRootId, "file");
  f.chmod("file", 02660);
  const NodeId id = f.id("file");
  const auto write = [&] {
    WriteMode mode;
    mode.kill_suidgid = true;
    REQUIRE(f.overlay->write(f.caller, id, 0, std::as_bytes(std::span("x", 1)), mode));
  };
  write();
  REQUIRE(f.overlay->setxattr(f.caller, id, kAccessAcl, named(7, 7), 0));
  write();
  CHECK(f.mode("file") == 0770);
}

TEST_CASE("a default ACL is handed down, and takes the umask's place") {
  AclFixture f;
  f.caller.umask = 077;
  f.open();
  REQUIRE(f.overlay->mkdir(f.caller, kRootId, "d", 0777));
  CHECK(f.mode("d") == 0700);
  REQUIRE(f.set("d", kDefaultAcl, named(7, 7)));
  f.create(f.id("d"), "file");
  CHECK(f.mode("d/file") == 0640);
  CHECK(f.access("d/file") ==
        acl({{kUserObj, 6}, {kUser, 7, 7}, {kGroupObj, 5}, {kMask, 4}, {kOther, 0}}));
  REQUIRE(f.overlay->mkdir(f.caller, f.id("d"), "sub", 0777));
  CHECK(f.defaults("d/sub") == named(7, 7));
  CHECK(f.mode("d/sub") == 0770);
  f.open();  // known from the disk too
  f.create(f.id("d/sub"), "deep");
  CHECK(f.mode("d/sub/deep") == 0640);
  REQUIRE(f.overlay->symlink(f.caller, f.id("d"), "link", "to"));
  const auto temporary = f.overlay->tmpfile(f.caller, f.id("d"), 0666);
  REQUIRE(temporary);
  CHECK((temporary->attr.st_mode & 07777) == 0660);
  REQUIRE(f.overlay->removexattr(f.caller, f.id("d"), kDefaultAcl));
  f.create(f.id("d"), "plain");
  CHECK(f.mode("d/plain") == 0600);
  CHECK(f.access("d/plain").empty());
  f.overlay->forget(temporary->id, 1);
  f.check_recount();
}

TEST_CASE("where a default ACL cannot be read nothing is made, until it is removed") {
  AclFixture f;
  f.dir.make("upper/d");
  mark(f.upper + "/d", "user.overlay.troot.x.system.posix_acl_default", "\2");
  f.open();
  const auto refused = f.overlay->mkdir(f.caller, f.id("d"), "sub", 0777);
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == EIO);
  CHECK(f.list(f.id("d")).empty());
  REQUIRE(f.overlay->removexattr(f.caller, f.id("d"), kDefaultAcl));
  REQUIRE(f.overlay->mkdir(f.caller, f.id("d"), "sub", 0777));
  f.check_recount();
}

TEST_CASE("ACLs of a lower layer show, and come along") {
  AclFixture f;
  put(f.lower + "/file", "x");
  const std::string value = named(7, 5);
  if (::setxattr((f.lower + "/file").c_str(), kAccessAcl.data(), value.data(), value.size(), 0) !=
      0) {
    WARN("this file system has no ACLs");
    return;
  }
  f.config.id_count = 5;
  f.open();
  CHECK(f.access("file") ==
        acl({{kUserObj, 7}, {kUser, 7, 65534}, {kGroupObj, 5}, {kMask, 5}, {kOther, 0}}));
  f.config.id_count = 0;
  f.open();
  CHECK(f.access("file") == value);
  CHECK(f.mode("file") == 0750);
  REQUIRE(f.write(f.id("file"), 0, "y"));
  CHECK(f.access("file") == value);
  CHECK(f.mode("file") == 0750);
  CHECK(xattr(f.upper + "/file", "system.posix_acl_access").empty());
  f.config.squash_to_root = true;
  f.open();
  CHECK(f.access("file").empty());
  CHECK(f.overlay->listxattr(f.id("file")).value_or("?").empty());
  CHECK(f.set("file", kAccessAcl, value).error() == ENOTSUP);
}
