// A tree in the upper's format becomes a layer's tar, the same bytes each time, from which the same
// tree comes again.
#include "tools/archive/tree/pack.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "tools/archive/tar/tar_reader.h"
#include "unit/archive/archive_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

struct Made {
  std::string bytes;
  archive::Digests digests;
  std::string problem;
};

Made packed(int root, archive::SinkOptions to = {archive::Compression::kNone},
            const archive::PackOptions& options = archive::PackOptions()) {
  const Fd fd(::memfd_create("packed", MFD_CLOEXEC));
  Made made;
  auto sink = archive::Sink::make(fd.get(), "out", to);
  REQUIRE(sink);
  const auto done = archive::pack(root, *sink, options);
  if (!done) {
    made.problem = done.error().text;
    return made;
  }
  const auto digests = sink->finish();
  REQUIRE(digests);
  made.digests = *digests;
  made.bytes.resize(digests->bytes);
  REQUIRE(::pread(fd.get(), made.bytes.data(), made.bytes.size(), 0) ==
          static_cast<ssize_t>(made.bytes.size()));
  return made;
}

/// A line an entry.
std::string listing(const std::string& bytes) {
  auto source = archive::Source::take(memory_file(bytes), "t", {});
  REQUIRE(source);
  archive::TarReader reader(*source);
  std::string text;
  for (;;) {
    const auto e = reader.next();
    REQUIRE(e);
    if (*e == nullptr) return text;
    text += "0-lhpcb"[static_cast<int>((*e)->kind)];
    text += " " + (*e)->path + " " + std::to_string((*e)->uid) + ":" + std::to_string((*e)->gid);
    if (!(*e)->link.empty()) text += " -> " + (*e)->link;
    for (const auto& [name, value] : (*e)->xattrs) text += " " + name;
    text += "\n";
  }
}

std::string rich_layer() {
  TarEntry su = entry("bin/su", '0', "program");
  su.mode = 04755;
  su.uid = 12;
  su.pax = {{"SCHILY.xattr.security.capability", std::string("\1\0\0\2\0\4\0\0", 8)},
            {"SCHILY.xattr.user.overlay.opaque", "y"},
            {"SCHILY.xattr.user.a", std::string("b\0c", 3)},
            {"SCHILY.acl.access", "user::rwx,user:bin:r--:2,group::r-x,mask::r-x,other::---"},
            {"mtime", "1234567890.5"}};
  TarEntry tty = entry("dev/tty", '3');
  tty.major = 5;
  TarEntry sparse =
      entry("holes", '0', std::string("1\n1048576\n3\n") + std::string(500, '\0') + "abc");
  sparse.pax = {{"GNU.sparse.major", "1"},
                {"GNU.sparse.minor", "0"},
                {"GNU.sparse.name", "holes"},
                {"GNU.sparse.realsize", "2000000"}};
  TarEntry name = entry("x");
  name.pax["path"] = "e\xcc\x81";
  return TarBytes()
      .add("./", '5')
      .add("bin", '5')
      .add(su)
      .add("bin/su2", '1', "", "bin/su")
      .add("link", '2', "", "../x")
      .add(tty)
      .add("pipe", '6')
      .add("o", '5')
      .add("o/.wh..wh..opq")
      .add("o/f", '0', "1")
      .add("o/.wh.g")
      .add(".wh.gone")
      .add(sparse)
      .add("odd\n\xff", '0', "odd")
      .add(std::string(200, 'n') + "/" + std::string(200, 'm'), '0', "long")
      .add(name)
      .whole();
}

}  // namespace

TEST_CASE("a layer goes to a tree and back, and again, with the same bytes") {
  Unpacker first, second;
  const auto there = first.take(rich_layer());
  INFO((there ? "" : there.error().text));
  REQUIRE(there);
  CHECK(there->left_out.total() == 0);
  const Made made = packed(first.root());
  CHECK(made.problem.empty());
  CHECK(made.digests.diff_id == archive::digest_of(made.bytes));
  CHECK(made.digests.digest == made.digests.diff_id);
  CHECK(packed(first.root()).bytes == made.bytes);
  REQUIRE(second.take(made.bytes));
  CHECK(listing(packed(second.root()).bytes) == listing(made.bytes));
  CHECK(packed(second.root()).bytes == made.bytes);
  CHECK(second.stat("holes").st_blocks < 100);
  CHECK(second.stat("bin/su").st_nlink == 2);
  CHECK(boost::filesystem::exists(second / "e\xcc\x81"));
  CHECK(boost::filesystem::exists(second / "odd\n\xff"));
  const std::string shown = listing(made.bytes);
  CHECK(has(shown, "\n0 .wh.gone 0:0\n"));
  CHECK(has(shown, "\n- o/ 0:0\n0 o/.wh..wh..opq 0:0\n0 o/f 0:0\n0 o/.wh.g 0:0\n"));
  CHECK(has(shown, "0 bin/su 12:0"));
  CHECK(has(shown, "user.overlay.opaque"));
  CHECK(has(shown, "l bin/su2 12:0") == false);
  CHECK(has(shown, "bin/su2"));
  CHECK(!has(shown, "override_stat"));
}

TEST_CASE("compressed, with any number of threads") {
  Unpacker u;
  REQUIRE(u.take(TarBytes().add("a", '0', std::string(3 << 20, 'x') + "end").whole()));
  const Made plain = packed(u.root());
  const Made one = packed(u.root(), {archive::Compression::kZstd, 0, 1});
  CHECK(packed(u.root(), {archive::Compression::kZstd, 0, 4}).bytes == one.bytes);
  const Made gzip = packed(u.root(), {archive::Compression::kGzip});
  for (const Made* made : {&one, &gzip}) {
    CHECK(made->digests.diff_id == plain.digests.diff_id);
    CHECK(made->digests.digest == archive::digest_of(made->bytes));
    CHECK(made->bytes.size() < 100'000);
    Unpacker again;
    archive::SourceOptions from;
    from.digest = made->digests.digest;
    from.diff_id = made->digests.diff_id;
    REQUIRE(again.take(made->bytes, from));
    CHECK(packed(again.root()).bytes == plain.bytes);
    // A bomb, and a stream that is cut.
    Unpacker hostile;
    CHECK(has(hostile.refused(made->bytes.substr(0, made->bytes.size() / 2)), "a.tar"));
  }
}

TEST_CASE("a stream that grows too much is refused") {
  Unpacker u, hostile;
  REQUIRE(u.take(TarBytes().add("a", '0', std::string(80 << 20, '\0')).whole()));
  archive::SourceOptions from;
  from.most_ratio = 100;
  const Made bomb = packed(u.root(), {archive::Compression::kZstd});
  CHECK(has(hostile.refused(bomb.bytes, from), "100 times its size"));
}

TEST_CASE("what a layer's tar cannot say is refused") {
  Unpacker u;
  u.options.kind = archive::TarKind::kRootfs;
  REQUIRE(u.take(TarBytes().add("d/.wh.x").whole()));
  CHECK(has(packed(u.root()).problem, "d/.wh.x: its name"));
  Unpacker v;
  REQUIRE(v.take(TarBytes().add("d", '5').whole()));
  ::setxattr((v / "d").c_str(), "user.overlay.redirect", "/e", 2, 0);
  CHECK(has(packed(v.root()).problem, "d: a part of it lies in the layers below"));
}

TEST_CASE("a plain tree is packed as it is") {
  const Scratch scratch;
  scratch.make("t/d");
  REQUIRE(::mknod((scratch / "t/d/s").c_str(), S_IFSOCK | 0600, 0) == 0);
  REQUIRE(::mkfifo((scratch / "t/.wh.x").c_str(), 0600) == 0);
  const Fd root(::open((scratch / "t").c_str(), O_RDONLY | O_DIRECTORY));
  archive::PackOptions options;
  options.kind = archive::TarKind::kRootfs;
  const Made made = packed(root.get(), {archive::Compression::kNone}, options);
  CHECK(has(listing(made.bytes), ".wh.x"));
  CHECK(!has(listing(made.bytes), "d/s"));
}
