// A tar that was unpacked is made again from its frame and the tree, byte for byte; a frame that is
// damaged is refused.
#include "tools/archive/tree/frame.h"

#include <algorithm>
#include <fstream>

#include "unit/archive/archive_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

Fd from_start(const Fd& fd) {
  return Fd(::open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), O_RDONLY | O_CLOEXEC));
}

/// A tree and the frame of the tar that it was.
struct Framed {
  Unpacker tree;
  Fd frame{::memfd_create("frame", MFD_CLOEXEC)};
  bool kept = false;

  archive::Digests unpack(const std::string& bytes) {
    auto writer = archive::FrameWriter::make(frame.get(), "frame");
    REQUIRE(writer);
    tree.options.frame = &*writer;
    const auto done = tree.take(bytes);
    INFO((done ? "" : done.error().text));
    REQUIRE(done);
    const auto finished = writer->finish();
    REQUIRE(finished);
    kept = *finished;
    return done->digests;
  }
  /// The tar, or a problem's text behind "refused: ".
  [[nodiscard]] std::string again(Fd from) const {
    const Fd out(::memfd_create("out", MFD_CLOEXEC));
    auto source = archive::Source::take(std::move(from), "frame", {});
    if (!source) return "refused: " + source.error().text;
    auto sink = archive::Sink::make(out.get(), "out", {archive::Compression::kNone});
    REQUIRE(sink);
    if (const auto done = archive::rebuild_tar(tree.root(), *source, *sink); !done)
      return "refused: " + done.error().text;
    const auto digests = sink->finish();
    REQUIRE(digests);
    std::string bytes(digests->bytes, '\0');
    REQUIRE(::pread(out.get(), bytes.data(), bytes.size(), 0) ==
            static_cast<ssize_t>(bytes.size()));
    return bytes;
  }
  [[nodiscard]] std::string again() const { return again(from_start(frame)); }
  [[nodiscard]] off_t size() const {
    struct stat st {};
    REQUIRE(::fstat(frame.get(), &st) == 0);
    return st.st_size;
  }
};

void comes_again(const std::string& bytes) {
  Framed framed;
  const auto digests = framed.unpack(bytes);
  CHECK(framed.kept);
  const std::string made = framed.again();
  INFO(made.substr(0, 100));
  CHECK(archive::digest_of(made) == digests.diff_id);
}

std::string record(char kind, std::uint64_t length, const std::string& rest) {
  std::string text(1, kind);
  for (int i = 0; i < 8; ++i) text += static_cast<char>(length >> (8 * i) & 0xff);
  return text + rest;
}
std::string path(const std::string& name) {
  return std::string(1, static_cast<char>(name.size())) + std::string(3, '\0') + name;
}

}  // namespace

TEST_CASE("tars of any make come again from frame and tree") {
  comes_again(TarBytes().whole());
  comes_again(TarBytes().add("a", '0', "data").cut() + std::string(1024, '\0') + "behind the end");
  TarBytes many;
  for (int i = 0; i < 3000; ++i) many.add("f" + std::to_string(i), '0', std::string(i % 1500, 'x'));
  comes_again(many.whole());
  // Longer than what is read at once.
  comes_again(TarBytes()
                  .add("big", '0', std::string(3'000'001, 'b'))
                  .add("./d", '5')
                  .add("./d/f", '0', "one")
                  .add("d/.wh.g")
                  .add("d/h", '1', "", "d/f")
                  .add(std::string(150, 'n'), '0', std::string(513, 'l'))
                  .whole());
  TarEntry sparse =
      entry("holes", '0', std::string("1\n1048576\n3\n") + std::string(500, '\0') + "abc");
  sparse.pax = {{"GNU.sparse.major", "1"},
                {"GNU.sparse.minor", "0"},
                {"GNU.sparse.name", "holes"},
                {"GNU.sparse.realsize", "2000000"}};
  comes_again(TarBytes().add(sparse).add("behind", '0', "b").whole());
}

TEST_CASE("a frame is small, and holds no file's data") {
  std::string noise(1 << 20, '\0');
  std::uint32_t state = 1;
  for (char& c : noise) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  Framed framed;
  framed.unpack(TarBytes().add("noise", '0', noise).whole());
  CHECK(framed.size() < 1000);
  CHECK(framed.again() == TarBytes().add("noise", '0', noise).whole());
}

TEST_CASE("a file that an entry after it replaced makes another tar") {
  Framed framed;
  const auto digests = framed.unpack(TarBytes().add("a", '0', "one").add("a", '0', "two").whole());
  CHECK(archive::digest_of(framed.again()) != digests.diff_id);
  Framed shorter;
  shorter.unpack(TarBytes().add("a", '0', "longer").add("a", '0', "two").whole());
  CHECK(has(shorter.again(), "refused: a: it is not the file"));
}

TEST_CASE("too much between files gives no frame, and no harm") {
  Framed framed;
  // What AUFS kept for itself is left out, data and all.
  framed.unpack(TarBytes().add(".wh..wh.plnk", '0', std::string(70 << 20, 'x')).whole());
  CHECK(!framed.kept);
}

TEST_CASE("a size that the tar has no data for gives no frame") {
  TarEntry said = entry("holes", '0', std::string("1\n0\n3\n") + std::string(505, '\0') + "abc");
  said.pax = {{"GNU.sparse.major", "1"},
              {"GNU.sparse.minor", "0"},
              {"GNU.sparse.name", "holes"},
              {"GNU.sparse.realsize", "2000"}};
  for (const char* map : {"1\n0\n3\n", "0\n", "1\n0\n0\n", "2\n0\n1\n1\n2\n"}) {
    said.data.replace(0, std::strlen(map), map);
    const std::string bytes = TarBytes().add(said).add("behind", '0', "b").whole();
    Framed framed;
    auto writer = archive::FrameWriter::make(framed.frame.get(), "frame");
    REQUIRE(writer);
    framed.tree.options.frame = &*writer;
    const auto done = framed.tree.take(bytes);
    const auto kept = writer->finish();
    INFO(map);
    if (done && kept && *kept) CHECK(framed.again() == bytes);
  }
}

TEST_CASE("a frame that is damaged or means harm is refused") {
  Framed framed;
  framed.unpack(TarBytes().add("f", '0', "content").add("d", '5').whole());
  REQUIRE(::symlink(framed.tree.outside().c_str(), (framed.tree / "link").c_str()) == 0);
  REQUIRE(::mkfifo((framed.tree / "fifo").c_str(), 0600) == 0);
  const std::string first = "troot-frame 1\n";
  CHECK(framed.again(memory_file(first + record('b', 2, "ab") + record('f', 3, path("f")) + "e")) ==
        "abcon");
  for (const std::string& bad :
       {std::string("troot-frame 2\ne"), first, first + "x", first + record('b', 5, "ab"),
        first + record('b', ~0ULL, "ab") + "e", first + record('x', 1, path("f")) + "e",
        first + record('f', 8, path("f")) + "e", first + record('f', ~0ULL, path("f")) + "e",
        first + record('f', 1, path("absent")) + "e", first + record('f', 1, path("d")) + "e",
        first + record('f', 1, path("link")) + "e", first + record('f', 1, path("fifo")) + "e",
        first + record('f', 1, path("link/x")) + "e", first + record('f', 1, path("f/x")) + "e",
        first + record('f', 1, path("../outside")) + "e", first + record('f', 1, path("/f")) + "e",
        first + record('f', 1, path("")) + "e",
        first + record('f', 1,
                       "\xff\xff\xff\xff"
                       "f")}) {
    INFO(bad.substr(first.size()));
    CHECK(has(framed.again(memory_file(bad)), "refused: "));
  }
}
