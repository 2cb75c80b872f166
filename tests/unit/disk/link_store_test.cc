// Records of symlinks: names that take no inode of their own, and the files of
// earlier versions.
#include "fusefs/disk/link_store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>
#include <set>

#include "unit/catch.h"
#include "unit/scratch.h"

namespace troot::fusefs {
namespace {

LinkRecord owned_by(std::uint32_t uid) {
  LinkRecord record;
  record.has_owner = true;
  record.owner.uid = uid;
  record.owner.mode = S_IFLNK | 0777;
  return record;
}

struct Dir {
  tests::Scratch scratch;

  void open(LinkStore& store) const {
    auto fd = posix::open_at(AT_FDCWD, scratch.path().c_str(), O_RDONLY | O_DIRECTORY);
    REQUIRE(fd);
    REQUIRE(store.open(std::move(*fd)));
  }
  [[nodiscard]] std::set<std::string> names() const {
    std::set<std::string> all;
    for (const auto& entry : boost::filesystem::directory_iterator(scratch.path()))
      all.insert(entry.path().filename().string());
    return all;
  }
  [[nodiscard]] std::size_t inodes() const {
    std::set<ino_t> all;
    for (const std::string& name : names()) {
      struct stat st {};
      REQUIRE(::lstat((scratch / name).c_str(), &st) == 0);
      CHECK(st.st_size == 0);
      all.insert(st.st_ino);
    }
    return all.size();
  }
};

TEST_CASE("a thousand records of symlinks take one inode and no block") {
  const Dir dir;
  LinkStore store;
  dir.open(store);
  for (std::uint64_t i = 1; i <= 1000; ++i)
    REQUIRE(store.put({i, 5}, owned_by(static_cast<std::uint32_t>(i))));
  CHECK(dir.names().size() == 1000);
  CHECK(dir.inodes() == 1);
  // A change, and what the first was linked from going away, make no other.
  REQUIRE(store.put({7, 5}, owned_by(70)));
  store.erase({1, 5});
  store.erase({1000, 5});
  REQUIRE(store.put({2000, 5}, owned_by(2)));
  CHECK(dir.names().size() == 999);
  CHECK(dir.inodes() == 1);
  LinkStore again;
  dir.open(again);
  CHECK(again.get({7, 5})->owner.uid == 70);
  CHECK(again.get({2000, 5})->owner.uid == 2);
  CHECK_FALSE(again.get({1, 5}));
}

TEST_CASE("all parts of a record come back") {
  const Dir dir;
  LinkRecord record = owned_by(4000000000U);
  record.project = parse_project("42 P");
  REQUIRE(record.project);
  record.origin = UINT64_MAX;
  {
    LinkStore store;
    dir.open(store);
    REQUIRE(store.put({UINT64_MAX, INT64_MAX}, record));
  }
  LinkStore store;
  dir.open(store);
  const auto read = store.get({UINT64_MAX, INT64_MAX});
  REQUIRE(read);
  CHECK(encode_link(*read) == encode_link(record));
}

TEST_CASE("a file of an earlier version is read, and goes when its record changes or ends") {
  const Dir dir;
  std::ofstream(dir.scratch / "1f-2a") << encode_link(owned_by(9));
  std::ofstream(dir.scratch / "20-2a") << encode_link(owned_by(10));
  LinkStore store;
  dir.open(store);
  CHECK(store.get({0x1f, 0x2a})->owner.uid == 9);
  REQUIRE(store.put({0x1f, 0x2a}, owned_by(11)));
  store.erase({0x20, 0x2a});
  CHECK(dir.names().size() == 1);
  CHECK(dir.names().begin()->rfind("1f-2a,", 0) == 0);
  // A kill between the two left both: the name is the newer one.
  std::ofstream(dir.scratch / "1f-2a") << encode_link(owned_by(9));
  LinkStore again;
  dir.open(again);
  CHECK(again.get({0x1f, 0x2a})->owner.uid == 11);
  again.tidy();
  CHECK(dir.names().size() == 1);
}

TEST_CASE("names that are no records are removed") {
  const Dir dir;
  for (const char* name :
       {"1-2,", "1-2,rubbish", "1-2,stat=0:0:777", "x-y,origin=1,", "01-2,origin=1,"})
    std::ofstream(dir.scratch / name) << "";
  LinkStore store;
  dir.open(store);
  CHECK(dir.names() == std::set<std::string>{"1-2,"});
}

}  // namespace
}  // namespace troot::fusefs
