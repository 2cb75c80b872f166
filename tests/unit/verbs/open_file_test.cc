// What it proves: which files may leave the server's hands (the data of the upper, and never a
// lower's), what the union believes of a file that was written to past it, and what the boundary
// says where the kernel passes nothing through.
#include <linux/fuse.h>

#include "fusefs/base/posix.h"
#include "fusefs/fuse/passthrough.h"
#include "fusefs/fuse/passthrough_abi.h"
#include "quota/unit.h"
#include "unit/overlay/union_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

struct Unaccounted : Fixture {
  const std::string text = std::string(10'000, 'l');
  Unaccounted() {
    put(lower + "/f", text);
    config.quota = false;
    open();
  }
  /// The descriptor that the kernel would be given; -1: none.
  int data(NodeId node, Access access = Access::kReadWrite) {
    auto file = overlay->open_file(node, access);
    REQUIRE(file);
    held = file->data;
    return held ? held->get() : -1;
  }
  [[nodiscard]] bool is_noted_sparse(const std::string& name) const {
    return ::lgetxattr((upper + "/" + name).c_str(), "user.overlay.troot.alloc", nullptr, 0) >= 0;
  }
  std::shared_ptr<const Fd> held;
};

bool is_same(int fd, const std::string& path) {
  struct stat a {
  }, b{};
  return ::fstat(fd, &a) == 0 && ::lstat(path.c_str(), &b) == 0 && a.st_ino == b.st_ino &&
         a.st_dev == b.st_dev;
}
SetAttr size(off_t size) {
  SetAttr set;
  set.size = size;
  return set;
}

}  // namespace

TEST_CASE("no descriptor of a lower is handed out, for whatever it is opened") {
  Unaccounted f;
  const NodeId id = f.id("f");
  for (const Access access : {Access::kRead, Access::kWrite, Access::kReadWrite})
    CHECK(f.data(id, access) == -1);
  SetAttr mode;
  mode.mode = 0600;
  REQUIRE(f.overlay->setattr(f.caller, id, mode));  // in the upper now, its data below
  for (const Access access : {Access::kRead, Access::kWrite, Access::kReadWrite})
    CHECK(f.data(id, access) == -1);
  CHECK_FALSE(f.overlay->times_move_unseen(id));
  REQUIRE(f.write(id, 0, "x"));
  const int fd = f.data(id, Access::kRead);
  REQUIRE(fd >= 0);
  CHECK((::fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
  CHECK(is_same(fd, f.upper + "/f"));
  CHECK_FALSE(is_same(fd, f.lower + "/f"));
  CHECK(get(f.lower + "/f") == f.text);
}

TEST_CASE("nothing of a mount with quota is handed out") {
  Fixture f;
  f.open();
  const auto file = f.overlay->open_file(f.create(kRootId, "new"), Access::kRead);
  REQUIRE(file);
  CHECK_FALSE(file->data);
}

TEST_CASE("what may be mapped for writing has times that move unseen, once and for all") {
  Unaccounted f;
  const NodeId id = f.create(kRootId, "new");
  REQUIRE(f.overlay->open_file(id, Access::kRead));
  REQUIRE(f.overlay->open_file(id, Access::kWrite));
  CHECK_FALSE(f.overlay->times_move_unseen(id));
  const auto first = f.overlay->open_file(id, Access::kReadWrite);
  REQUIRE(first);
  CHECK(first->times_move_unseen);
  CHECK(f.overlay->times_move_unseen(id));
  const auto second = f.overlay->open_file(id, Access::kReadWrite);
  REQUIRE(second);
  CHECK_FALSE(second->times_move_unseen);
}

TEST_CASE("a file that was written to past the union is as long as it is") {
  Unaccounted f;
  const NodeId id = f.create(kRootId, "new");
  REQUIRE(f.write(id, 0, "12345"));  // its size is known from here on
  const int fd = f.data(id);
  REQUIRE(::pwrite(fd, f.text.data(), f.text.size(), 0) == static_cast<ssize_t>(f.text.size()));
  CHECK(f.overlay->getattr(id)->st_size == static_cast<off_t>(f.text.size()));
  REQUIRE(f.overlay->setattr(f.caller, id, size(9000)));
  CHECK(f.read(id) == f.text.substr(0, 9000));
  // Cut, not grown: it has no hole that would have to be noted.
  CHECK_FALSE(f.is_noted_sparse("new"));
}

TEST_CASE("holes that were left past the union are charged as holes by the next mount") {
  Unaccounted f;
  const NodeId id = f.create(kRootId, "new");
  const int fd = f.data(id);
  REQUIRE(::pwrite(fd, "x", 1, 0) == 1);
  REQUIRE(::pwrite(fd, "x", 1, 100 * quota::kPageSize) == 1);
  struct stat st {};
  REQUIRE(::fstat(fd, &st) == 0);
  if (st.st_blocks * 512 >= 100 * quota::kPageSize) return;  // no holes here
  CHECK(f.overlay->getattr(id)->st_blocks * 512 == 2 * quota::kPageSize);
  CHECK_FALSE(f.is_noted_sparse("new"));
  REQUIRE(f.overlay->close_file(id));
  CHECK(f.is_noted_sparse("new"));
  f.held.reset();
  CHECK(f.overlay->getattr(id)->st_blocks * 512 == 2 * quota::kPageSize);
  f.overlay.reset();
  f.config.quota = true;
  f.open();
  CHECK(f.used().bytes == 3 * quota::kPageSize);  // with the upper's root
  f.check_recount();
}

TEST_CASE("a kernel that offers nothing is asked for nothing, and one that refuses is named") {
  fuse_init_out reply{};
  Passthrough old(-1);
  old.negotiate(FUSE_ASYNC_READ, reply);
  CHECK(reply.flags == 0);
  CHECK(reply.flags2 == 0);
  CHECK_FALSE(old.works([]() -> Result<Fd> { return fail(EIO); }));
  CHECK(old.refusal().find("Linux 6.9") != std::string::npos);

  Passthrough refused(-1);
  refused.negotiate(abi::kPassthrough, reply);
  CHECK(reply.flags == FUSE_INIT_EXT);
  CHECK(reply.flags2 == 1U << 5);
  std::uint32_t depth = 0;
  std::memcpy(&depth, reinterpret_cast<const char*>(&reply) + 36, sizeof depth);
  CHECK(depth == 1);  // max_stack_depth, which older headers do not name
  int samples = 0;
  const auto sample = [&]() -> Result<Fd> {
    ++samples;
    return Fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  };
  CHECK_FALSE(refused.works(sample));
  CHECK_FALSE(refused.works(sample));
  CHECK(samples == 1);
  CHECK(refused.refusal().find("Bad file descriptor") != std::string::npos);
}

TEST_CASE("an inode with served files stays served; one that cannot be passed through fails") {
  Passthrough opens(-1);  // takes nothing
  const auto below = []() -> Result<OpenFile> { return OpenFile{}; };
  const auto above = []() -> Result<OpenFile> {
    OpenFile file;
    file.data = std::make_shared<const Fd>(Fd(::open("/dev/null", O_RDWR | O_CLOEXEC)));
    return file;
  };
  const auto first = opens.open(7, below);
  REQUIRE(first);
  CHECK(first->backing == 0);
  CHECK(first->flags == FOPEN_KEEP_CACHE);
  const auto second = opens.open(7, above);  // copied up meanwhile
  REQUIRE(second);
  CHECK(second->backing == 0);
  CHECK_FALSE(opens.close(7, first->handle));
  REQUIRE(opens.open(7, above));
  CHECK_FALSE(opens.close(7, second->handle));
  CHECK_FALSE(opens.close(7, second->handle));
  const auto alone = opens.open(7, above);
  REQUIRE_FALSE(alone);
  CHECK(alone.error() == EBADF);
  CHECK_FALSE(opens.close(7, 1));  // of one that never came to be
  REQUIRE(opens.open(7, below));
  const auto failing = opens.open(8, []() -> Result<OpenFile> { return fail(EMFILE); });
  REQUIRE_FALSE(failing);
  CHECK(failing.error() == EMFILE);
}
