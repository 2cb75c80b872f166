// Images: a layout that is written is read again, as a directory and as a tar, also by the way that
// docker has it; what is damaged or means harm is refused.
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "tools/archive/oci/image_reader.h"
#include "tools/archive/oci/layout_writer.h"
#include "unit/archive/archive_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

std::string tar_with(const std::string& name) {
  return TarBytes().add(name, '0', "content of " + name).whole();
}

struct Layout {
  Scratch scratch;
  Fd dir;
  std::vector<archive::ImageLayer> layers;

  Layout() {
    scratch.make("oci");
    dir.reset(::open(path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  [[nodiscard]] std::string path() const { return scratch / "oci"; }
  cli::Outcome<std::string> add(const std::string& tag, archive::Compression compression,
                                const archive::ImageConfig& config = archive::ImageConfig()) {
    TAKE(writer, archive::LayoutWriter::open(dir.get(), "oci"));
    const std::string tar = tar_with(tag);
    TAKE(layer, writer.add_layer({compression}, [&](archive::Sink& sink) {
      return sink.write(std::as_bytes(std::span(tar)));
    }));
    layers.push_back(layer);
    return writer.add_image(config, {layer}, tag);
  }
  [[nodiscard]] cli::Outcome<archive::Image> read(const std::string& tag) const {
    TAKE(reader, archive::ImageReader::open(path(), dir.get()));
    return reader.image(tag);
  }
  [[nodiscard]] std::string text(const std::string& file) const {
    std::ostringstream out;
    out << std::ifstream(path() + "/" + file, std::ios::binary).rdbuf();
    return out.str();
  }
  void put(const std::string& file, const std::string& text) const {
    std::ofstream(path() + "/" + file, std::ios::binary) << text;
  }
};

std::string problem_of(const cli::Outcome<archive::Image>& image) {
  return image ? "read" : image.error().text;
}

/// What one layer unpacks to.
std::string unpacked(const archive::ImageReader& reader, const archive::ImageLayer& layer,
                     const std::string& file) {
  auto source = reader.layer(layer, {});
  REQUIRE(source);
  Unpacker u;
  const auto done = archive::unpack(*source, u.root(), u.options);
  INFO((done ? "" : done.error().text));
  REQUIRE(done);
  return u.text(file);
}

}  // namespace

TEST_CASE("a layout is written and read again") {
  Layout layout;
  archive::ImageConfig config;
  config.env = {"A=b"};
  config.cmd = {"/bin/sh", "-c"};
  config.entrypoint = {"/init"};
  config.workdir = "/w";
  config.user = "5:6";
  config.rest = R"({"config":{"Labels":{"k":"v"}}})";
  config.history = {{"", "made", "", false}};
  REQUIRE(layout.add("one", archive::Compression::kZstd, config));
  REQUIRE(layout.add("two", archive::Compression::kGzip));
  REQUIRE(layout.add("three", archive::Compression::kNone));
  const auto first = layout.add("two", archive::Compression::kGzip);
  const std::string index = layout.text("index.json");
  CHECK(layout.add("two", archive::Compression::kGzip).value_or("") == first.value_or("?"));
  CHECK(layout.text("index.json") == index);
  const auto reader = archive::ImageReader::open(layout.path(), layout.dir.get());
  REQUIRE(reader);
  CHECK(reader->tags() == std::vector<std::string>{"one", "three", "two"});
  const auto image = reader->image("one");
  INFO(problem_of(image));
  REQUIRE(image);
  CHECK(image->config.env == config.env);
  CHECK(image->config.cmd == config.cmd);
  CHECK(image->config.entrypoint == config.entrypoint);
  CHECK(image->config.workdir == "/w");
  CHECK(image->config.user == "5:6");
  CHECK(image->config.history.size() == 1);
  CHECK(image->config.architecture == archive::this_architecture());
  CHECK(has(image->config.rest, R"("Labels":{"k":"v"})"));
  for (const char* tag : {"one", "two", "three"})
    CHECK(unpacked(*reader, reader->image(tag)->layers[0], tag) ==
          "content of " + std::string(tag));
  CHECK(has(problem_of(reader->image("")), "name one by its tag; there are: one, three, two"));
  CHECK(has(problem_of(reader->image("none")), "no image has the tag none"));
}

TEST_CASE("a layout as one tar, plain and compressed, with docker's manifest") {
  Layout layout;
  REQUIRE(layout.add("one", archive::Compression::kZstd));
  for (const auto compression : {archive::Compression::kNone, archive::Compression::kZstd}) {
    const std::string path = layout.scratch / "image.tar";
    {
      const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
      auto sink = archive::Sink::make(fd.get(), "image.tar", {compression});
      REQUIRE(sink);
      REQUIRE(archive::pack_layout(layout.dir.get(), "oci", *sink));
      REQUIRE(sink->finish());
    }
    const auto reader = archive::ImageReader::open(path, layout.dir.get());
    REQUIRE(reader);
    const auto image = reader->image("");
    INFO(problem_of(image));
    REQUIRE(image);
    CHECK(image->tag == "one");
    CHECK(unpacked(*reader, image->layers[0], "one") == "content of one");
  }
}

TEST_CASE("what docker save writes, with layers by symlinks") {
  const std::string layer = tar_with("f");
  const std::string config = R"({"architecture":"amd64","config":{"Cmd":["x"]},"os":"linux",)"
                             R"("rootfs":{"type":"layers","diff_ids":[")" +
                             archive::digest_of(layer) + R"("]}})";
  const std::string file = archive::digest_of(config).substr(7) + ".json";
  const std::string manifest =
      R"([{"Config":")" + file +
      R"(","RepoTags":["docker.io/library/w:latest"],"Layers":["a/layer.tar"]}])";
  const Scratch scratch;
  const Fd spill(::open(scratch.path().c_str(), O_RDONLY | O_DIRECTORY));
  const auto opened = [&](const std::string& bytes) {
    std::ofstream(scratch / "saved.tar", std::ios::binary | std::ios::trunc) << bytes;
    return archive::ImageReader::open(scratch / "saved.tar", spill.get());
  };
  TarBytes tar;
  tar.add("x.tar", '0', layer).add("a/layer.tar", '2', "", "../x.tar").add(file, '0', config);
  const auto reader = opened(TarBytes(tar).add("manifest.json", '0', manifest).whole());
  REQUIRE(reader);
  const auto image = reader->image("w");
  INFO(problem_of(image));
  REQUIRE(image);
  CHECK(image->config.cmd == std::vector<std::string>{"x"});
  CHECK(unpacked(*reader, image->layers[0], "f") == "content of f");
  // A layer that is not what the configuration says.
  const auto changed = opened(
      TarBytes(tar).add("x.tar", '0', tar_with("g")).add("manifest.json", '0', manifest).whole());
  REQUIRE(changed);
  auto source = changed->layer(changed->image("")->layers[0], {});
  REQUIRE(source);
  Unpacker u;
  const auto done = archive::unpack(*source, u.root(), u.options);
  REQUIRE(!done);
  CHECK(has(done.error().text, "digest"));
  CHECK(boost::filesystem::is_empty(u.tree()));
  // A link that leads out, a loop, a configuration that is another, and nothing of an image.
  for (const char* link : {"../../../etc/passwd", "/etc/passwd", "layer.tar", "../a/layer.tar"}) {
    INFO(link);
    const auto bad = opened(TarBytes(tar)
                                .add("a/layer.tar", '2', "", link)
                                .add("manifest.json", '0', manifest)
                                .whole());
    REQUIRE(bad);
    CHECK(has(problem_of(bad->image("")), "not there"));
  }
  const auto other = opened(
      TarBytes(tar).add(file, '0', config + " ").add("manifest.json", '0', manifest).whole());
  REQUIRE(other);
  CHECK(has(problem_of(other->image("")), "digest is another"));
  CHECK(!opened(tar_with("f")));
  CHECK(!opened(TarBytes(tar).add("../manifest.json", '0', manifest).whole()));
}

TEST_CASE("a layout that is damaged or means harm") {
  Layout layout;
  REQUIRE(layout.add("one", archive::Compression::kZstd));
  const archive::ImageLayer layer = layout.layers[0];
  const std::string index = layout.text("index.json"), blob = layout.text(layer.file);
  for (const std::string& bad :
       {std::string("{"), std::string("[]"), std::string("null"), std::string(100'000, '['),
        std::string("{\"manifests\":5}"), std::string("{\"manifests\":[5]}"),
        std::string("{\"manifests\":[{\"digest\":\"sha256:../../../../etc/passwd\"}]}"),
        std::string("{\"manifests\":[{\"digest\":7,\"annotations\":[]}]}"),
        std::string("{\"manifests\":[{\"digest\":\"sha256:") + std::string(64, '0') + "\"}]}"}) {
    layout.put("index.json", bad);
    CHECK(problem_of(layout.read("")) != "read");
  }
  layout.put("index.json", index);
  REQUIRE(layout.read(""));
  layout.put(layer.file, blob + "x");
  CHECK(has(problem_of(layout.read("")), "the manifest says otherwise"));
  std::string changed = blob;
  changed[blob.size() / 2] = static_cast<char>(changed[blob.size() / 2] ^ 1);
  layout.put(layer.file, changed);
  {
    const auto reader = archive::ImageReader::open(layout.path(), layout.dir.get());
    REQUIRE(reader);
    auto source = reader->layer(reader->image("")->layers[0], {});
    REQUIRE(source);
    Unpacker u;
    CHECK(!archive::unpack(*source, u.root(), u.options));
    CHECK(boost::filesystem::is_empty(u.tree()));
  }
  boost::filesystem::remove(layout.path() + "/" + layer.file);
  CHECK(has(problem_of(layout.read("")), "not there"));
  // A symlink, and what never ends.
  REQUIRE(::symlink("/etc/passwd", (layout.path() + "/" + layer.file).c_str()) == 0);
  CHECK(problem_of(layout.read("")) != "read");
  boost::filesystem::remove(layout.path() + "/" + layer.file);
  REQUIRE(::mkfifo((layout.path() + "/" + layer.file).c_str(), 0600) == 0);
  CHECK(has(problem_of(layout.read("")), "not a file"));
}
