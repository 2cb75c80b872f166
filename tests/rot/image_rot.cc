// Image.json and a layer's frame damaged in every way: the file is read as it was, or refused by a
// line that names it; the frame makes the same tar, or another one, which its digest tells, or
// none.
#include <fcntl.h>
#include <unistd.h>

#include <boost/filesystem.hpp>

#include "rot/rot.h"
#include "tools/archive/stream/digest.h"
#include "tools/archive/tree/frame.h"
#include "tools/troot/image/world_image.h"
#include "tools/troot/world/store.h"
#include "unit/catch.h"
#include "unit/scratch.h"

namespace troot::cli {
namespace {

using tests::Damage, tests::Files;

std::vector<Damage> bits_and_lengths(const Files& files, const char* name) {
  std::vector<Damage> damages;
  const std::size_t size = files.at(name).size();
  for (std::size_t at = 0; at < size; ++at)
    damages.push_back(
        {"cut to " + std::to_string(at), [at, name](Files& f) { f[name].resize(at); }});
  for (std::size_t at = 0; at < 8 * size; ++at) {
    damages.push_back({"bit " + std::to_string(at), [at, name](Files& f) {
                         f[name][at / 8] ^= static_cast<char>(1U << at % 8);
                       }});
  }
  return damages;
}

archive::Image an_image() {
  archive::Image image;
  image.tag = "one";
  image.digest = "sha256:" + std::string(64, '1');
  image.config.rest = R"({"config":{"Cmd":["/bin/sh"],"Env":["A=b"]},"rootfs":{"diff_ids":[]}})";
  return image;
}

std::string bytes_of(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::pread(fd, buffer, sizeof buffer, static_cast<off_t>(text.size()))) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  return text;
}

/// The digest of the tar; empty: refused.
std::string tar_again(const std::string& frame, int tree) {
  auto source = archive::Source::open(frame, {});
  const Fd out(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  archive::SinkOptions plain;
  plain.compression = archive::Compression::kNone;
  auto sink = archive::Sink::make(out.get(), "out", plain);
  REQUIRE(sink);
  if (!source || !archive::rebuild_tar(tree, *source, *sink)) return "";
  const auto digests = sink->finish();
  REQUIRE(digests);
  return digests->diff_id;
}

TEST_CASE("image.json: each bit flipped, each length cut: as it was, or refused by name") {
  const tests::Scratch dir;
  const World world("w", dir.make("w"));
  const auto text = image_text(an_image());
  REQUIRE(text);
  const std::string path = world.path() + "/image.json";
  REQUIRE(replace_text(path, *text, Keep::kWhileRunning));
  const Files files = tests::read_files(world.path());
  const std::vector<Damage> damages = bits_and_lengths(files, "image.json");
  std::size_t refused = 0;
  for (const Damage& damage : damages) {
    Files now = files;
    damage.make(now);
    tests::write_files(world.path(), now);
    INFO(damage.what);
    const auto image = load_image(world);
    if (image) {
      REQUIRE(*image);
      CHECK((*image)->config.rest == an_image().config.rest);
      CHECK((*image)->tag == "one");
    } else {
      ++refused;
      CHECK(image.error().text.find(path) != std::string::npos);
    }
  }
  CHECK(refused > 9 * damages.size() / 10);
  boost::filesystem::remove(path);
  const auto none = load_image(world);
  REQUIRE(none);
  CHECK_FALSE(*none);
}

TEST_CASE(
    "a frame: each bit flipped, each length cut: the same tar, or none that is taken for it") {
  const tests::Scratch dir;
  dir.make("tree");
  const Fd tree(::open((dir / "tree").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::string tar = "head of a" + std::string(3000, 'a') + "head of b" + "bb" + "end";
  for (const auto& [name, data] : {std::pair{"a", std::string(3000, 'a')}, {"b", "bb"}})
    REQUIRE(replace_text(dir / ("tree/" + std::string(name)), data, Keep::kWhileRunning));
  dir.make("f");
  const std::string path = dir / "f/frame";
  {
    const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    auto writer = archive::FrameWriter::make(fd.get(), path);
    REQUIRE(writer);
    writer->take(std::as_bytes(std::span(tar)));
    writer->file(9, 3000, "a");
    writer->file(9 + 3000 + 9, 2, "b");
    REQUIRE(writer->finish().value_or(false));
    CHECK(bytes_of(fd.get()).size() < 200);
  }
  const std::string digest = archive::digest_of(tar);
  REQUIRE(tar_again(path, tree.get()) == digest);
  const Files files = tests::read_files(dir / "f");
  std::size_t refused = 0;
  const std::vector<Damage> damages = bits_and_lengths(files, "frame");
  for (const Damage& damage : damages) {
    Files now = files;
    damage.make(now);
    tests::write_files(dir / "f", now);
    INFO(damage.what);
    refused += tar_again(path, tree.get()) != digest ? 1 : 0;
  }
  CHECK(refused > 9 * damages.size() / 10);
}

}  // namespace
}  // namespace troot::cli
