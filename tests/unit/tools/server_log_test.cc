// The log of a server: nobody fills the disk with it, and nothing is said twice in a row.
#include "tools/trootfs/server_log.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "unit/catch.h"
#include "unit/scratch.h"

namespace troot {
namespace {

namespace fs = std::filesystem;

std::string read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::size_t lines_with(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) count += line.find(part) != std::string::npos;
  return count;
}

struct Fixture {
  tests::Scratch dir;
  std::string path = dir / "log";
  [[nodiscard]] spdlog::logger open(LogBounds bounds = {}) const {
    auto sink = open_server_log(path, bounds);
    REQUIRE(sink);
    return {"trootfs", std::move(sink)};
  }
};

TEST_CASE("lines that come again and again are counted, also where several take turns") {
  const Fixture f;
  {
    auto log = f.open();
    for (int i = 0; i < 100'000; ++i) log.error("cut off {}", i % 3);
    log.warn("another");
  }
  const std::string text = read(f.path);
  CHECK(text.size() < 1000);
  CHECK(lines_with(text, "] cut off") == 3);
  CHECK(lines_with(text, "33333 times more: cut off 0") == 1);
  CHECK(lines_with(text, "another") == 1);
}

TEST_CASE("after its time a line is written again, with how often it came") {
  const Fixture f;
  auto log = f.open({.bytes = 1 << 20, .repeated = std::chrono::seconds(0)});
  for (int i = 0; i < 10; ++i) log.warn("again");
  CHECK(lines_with(read(f.path), "again") == 10);
}

TEST_CASE("the file is bounded, whatever is said; the one before is kept, and both are private") {
  const Fixture f;
  constexpr std::size_t kBytes = 10'000;
  std::ofstream(f.path) << "from before\n";
  fs::permissions(f.path, fs::perms::all);
  auto log = f.open({.bytes = kBytes});
  for (int i = 0; i < 5000; ++i) {
    log.warn("{} {}", i, std::string(static_cast<std::size_t>(i) % 300, 'x'));
    REQUIRE(fs::file_size(f.path) <= kBytes);
  }
  CHECK(read(f.path).find("4999") != std::string::npos);
  CHECK(fs::file_size(f.path + ".1") <= kBytes);
  CHECK(std::distance(fs::directory_iterator(f.dir.path()), fs::directory_iterator()) == 2);
  for (const std::string& path : {f.path, f.path + ".1"}) {
    struct stat st {};
    REQUIRE(::stat(path.c_str(), &st) == 0);
    CHECK((st.st_mode & 0777) == 0600);
  }
  log.warn("{}", std::string(3 * kBytes, 'y'));
  CHECK(fs::file_size(f.path) <= kBytes);
}

TEST_CASE("a place where no file can be made is told by errno") {
  const Fixture f;
  CHECK_FALSE(open_server_log(f.path + "/none"));
}

}  // namespace
}  // namespace troot
