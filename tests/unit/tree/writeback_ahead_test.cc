// Writeback ahead of fsync: in the order of the writes, for new files synced one after the other
// and for nothing else, within its bounds; and no error of it is lost.
#include "fusefs/tree/writeback_ahead.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "unit/overlay/union_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

constexpr std::size_t kAheadWindow = WritebackAhead::kWindow;

/// Inodes without a union around them, and what the list says to begin.
struct ListedFiles {
  WritebackAhead ahead;
  std::vector<std::unique_ptr<Inode>> inodes;
  std::vector<std::unique_ptr<FileData>> data;

  explicit ListedFiles(std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      inodes.push_back(std::make_unique<Inode>());
      data.push_back(std::make_unique<FileData>());
      inodes[i]->file = data[i].get();
      inodes[i]->type = S_IFREG >> 12;
      inodes[i]->refs = 1;
      write(i);
    }
  }
  void write(std::size_t i) { ahead.wrote(inodes[i].get(), *data[i]); }
  /// Which files are begun when this one is synced.
  std::vector<std::size_t> sync(std::size_t i, off_t bytes = 4096) {
    std::vector<std::size_t> begun;
    if (!ahead.syncing(inodes[i].get(), *data[i]).sequence) return begun;
    for (auto next = ahead.next(); next.inode != nullptr; next = ahead.next()) {
      CHECK(next.inode->refs == 1 + Inode::kPin);
      const auto same = [&](const auto& inode) { return inode.get() == next.inode; };
      begun.push_back(static_cast<std::size_t>(std::find_if(inodes.begin(), inodes.end(), same) -
                                               inodes.begin()));
      ahead.keep(next.place, std::make_shared<const Fd>(), bytes);
      ahead.started(next.place, 0);
      next.inode->refs = 1;
      if (next.passed_over.inode == nullptr) continue;
      CHECK(next.passed_over.inode->refs == 1 + Inode::kPin);
      next.passed_over.inode->refs = 1;
    }
    return begun;
  }
};

std::vector<std::size_t> from_to(std::size_t from, std::size_t to) {
  std::vector<std::size_t> all;
  for (std::size_t i = from; i < to; ++i) all.push_back(i);
  return all;
}

/// Counts sync_file_range, and makes the call of one number fail.
class WriteBackCalls {
 public:
  explicit WriteBackCalls(int failing = 0, const char* which = "sync_file_range") {
    posix::set_hook([this, failing, which](const char* call) {
      if (std::strncmp(call, "sync_file_range", 15) == 0) ++count_;
      return std::strcmp(call, which) == 0 && ++which_ == failing ? EIO : 0;
    });
  }
  ~WriteBackCalls() { posix::set_hook({}); }
  WriteBackCalls(const WriteBackCalls&) = delete;
  WriteBackCalls& operator=(const WriteBackCalls&) = delete;
  [[nodiscard]] int count() const { return count_; }

 private:
  int count_ = 0, which_ = 0;
};

struct UnsyncedFiles : Fixture {
  std::vector<NodeId> files;
  explicit UnsyncedFiles(int n) {
    open();
    for (int i = 0; i < n; ++i) {
      files.push_back(create(kRootId, "f" + std::to_string(i)));
      REQUIRE(write(files.back(), 0, "text"));
    }
  }
  int sync(std::size_t i) {
    const auto status = overlay->fsync(files[i], false);
    return status ? 0 : status.error().value();
  }
};

}  // namespace

TEST_CASE("the third new file in a row begins those that were written next, a window of them") {
  ListedFiles f(200);
  CHECK(f.sync(0).empty());
  CHECK(f.sync(1).empty());
  CHECK(f.sync(2) == from_to(3, 3 + kAheadWindow));
  // The next batch comes when half of it was synced.
  std::size_t i = 3;
  for (; i < 2 + kAheadWindow / 2; ++i) CHECK(f.sync(i).empty());
  CHECK(f.sync(i) == from_to(3 + kAheadWindow, i + 1 + kAheadWindow));
}

TEST_CASE("every file of a long sequence is begun once") {
  constexpr std::size_t kFiles = 1000;
  ListedFiles f(kFiles);
  std::vector<std::size_t> begun;
  for (std::size_t i = 0; i < kFiles; ++i) {
    for (const std::size_t one : f.sync(i)) begun.push_back(one);
  }
  CHECK(begun == from_to(3, kFiles));
}

TEST_CASE("files that were synced before begin nothing and are not begun") {
  ListedFiles f(10);
  for (std::size_t i = 0; i < 10; ++i) (void)f.sync(i);
  for (int round = 0; round < 100; ++round) {
    for (std::size_t i = 0; i < 10; ++i) f.write(i);
    for (std::size_t i = 0; i < 10; ++i) CHECK(f.sync(i).empty());
  }
  SECTION("nor after an fsync that had nothing to do") {
    for (std::size_t i = 0; i < 10; ++i) CHECK(f.sync(i).empty());
  }
}

TEST_CASE("a file that is synced again ends the sequence") {
  ListedFiles f(100);
  std::size_t i = 1;
  (void)f.sync(0);
  // As a database with a new journal for each transaction.
  for (; i < 50; ++i) {
    CHECK(f.sync(i).empty());
    f.write(0);
    CHECK(f.sync(0).empty());
  }
}

TEST_CASE("files that are synced in another order, or far from each other, begin nothing") {
  ListedFiles f(400);
  SECTION("backwards") {
    for (std::size_t i = 400; i-- > 0;) CHECK(f.sync(i).empty());
  }
  SECTION("far apart") {
    for (std::size_t i = 0; i < 400; i += 33) CHECK(f.sync(i).empty());
  }
}

TEST_CASE("so many bytes are under way at most") {
  ListedFiles f(200);
  (void)f.sync(0);
  (void)f.sync(1);
  constexpr auto kBytes = WritebackAhead::kFileBytes;
  const auto fit = static_cast<std::size_t>(WritebackAhead::kWindowBytes / kBytes);
  CHECK(f.sync(2, kBytes) == from_to(3, 3 + fit));
  // One goes, one comes.
  CHECK(f.sync(3, kBytes) == from_to(3 + fit, 4 + fit));
}

TEST_CASE("an inode that goes is not begun, and what is kept of it is dropped") {
  ListedFiles f(100);
  (void)f.sync(0);
  (void)f.sync(1);
  f.ahead.forget(f.inodes[5].get());
  f.inodes[6]->refs = 0;  // on its way there
  f.inodes[7]->set(Inode::kDetached);
  auto want = from_to(3, 3 + kAheadWindow);
  want.erase(want.begin() + 2, want.begin() + 5);
  CHECK(f.sync(2) == want);
  // Half of the window later the next are begun.
  for (std::size_t i = 8; i < 2 + kAheadWindow / 2; ++i) (void)f.sync(i);
  REQUIRE(f.ahead.syncing(f.inodes[2 + kAheadWindow / 2].get(), *f.data[2 + kAheadWindow / 2])
              .sequence);
  const auto next = f.ahead.next();
  REQUIRE(next.inode != nullptr);
  auto kept = std::make_shared<const Fd>();
  const std::weak_ptr<const Fd> seen = kept;
  f.ahead.keep(next.place, std::move(kept), 4096);
  CHECK_FALSE(seen.expired());
  f.ahead.forget(next.inode);
  CHECK(seen.expired());
  f.ahead.started(next.place, EIO);  // nobody is left to be told
}

TEST_CASE("an fsync waits for who just begins its file, and says the error that this met") {
  ListedFiles f(10);
  (void)f.sync(0);
  (void)f.sync(1);
  REQUIRE(f.ahead.syncing(f.inodes[2].get(), *f.data[2]).sequence);
  const auto next = f.ahead.next();
  REQUIRE(next.inode == f.inodes[3].get());
  std::atomic<bool> begun{false};
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    f.ahead.keep(next.place, std::make_shared<const Fd>(), 4096);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    begun = true;
    f.ahead.started(next.place, EIO);
  });
  CHECK(f.ahead.syncing(f.inodes[3].get(), *f.data[3]).fd != nullptr);
  CHECK(begun);
  other.join();
  CHECK(WritebackAhead::take_error(*f.data[3]) == EIO);
  CHECK(WritebackAhead::take_error(*f.data[3]) == 0);
}

TEST_CASE("the list may be longer than its room") {
  ListedFiles many(70000);
  // The first 4464 fell off, and their next fsync is that of a known file.
  for (std::size_t i = 0; i < 100; ++i) CHECK(many.sync(i).empty());
  (void)many.sync(10000);
  (void)many.sync(10001);
  CHECK(many.sync(10002) == from_to(10003, 10003 + kAheadWindow));
}

TEST_CASE("what dpkg does: each new file is begun once and synced once") {
  UnsyncedFiles f(300);
  const WriteBackCalls calls;
  for (std::size_t i = 0; i < 300; ++i) {
    CHECK(f.sync(i) == 0);
    const std::string name = "f" + std::to_string(i);
    REQUIRE(f.overlay->rename(Caller{}, kRootId, name, kRootId, name + ".new", 0));
  }
  CHECK(calls.count() == 300 - WritebackAhead::kSequence);
  f.check_recount();
}

TEST_CASE("what a database does, and who syncs each file as it is written, begin nothing") {
  UnsyncedFiles f(2);
  const WriteBackCalls calls;
  SECTION("a database and its log") {
    for (int i = 0; i < 100; ++i) {
      REQUIRE(f.write(f.files[1], i, "log"));
      CHECK(f.sync(1) == 0);
      REQUIRE(f.write(f.files[0], 0, "page"));
      CHECK(f.sync(0) == 0);
    }
  }
  SECTION("a database with a journal for each transaction") {
    for (int i = 0; i < 100; ++i) {
      const NodeId journal = f.create(kRootId, "journal");
      REQUIRE(f.write(journal, 0, "old page"));
      REQUIRE(f.write(f.files[0], 0, "page"));
      REQUIRE(f.overlay->fsync(journal, false));
      CHECK(f.sync(0) == 0);
      REQUIRE(f.overlay->unlink(kRootId, "journal"));
      f.overlay->forget(journal, 1);
    }
  }
  SECTION("git") {
    for (int i = 0; i < 100; ++i) {
      const NodeId object = f.create(kRootId, "object" + std::to_string(i));
      REQUIRE(f.write(object, 0, "object"));
      REQUIRE(f.overlay->fsync(object, false));
    }
  }
  CHECK(calls.count() == 0);
}

TEST_CASE("a volatile upper begins nothing") {
  Fixture f;
  f.config.volatile_upper = true;
  f.open();
  const WriteBackCalls calls;
  std::vector<NodeId> files;
  for (int i = 0; i < 10; ++i) {
    files.push_back(f.create(kRootId, "f" + std::to_string(i)));
    REQUIRE(f.write(files.back(), 0, "text"));
  }
  for (const NodeId file : files) REQUIRE(f.overlay->fsync(file, false));
  CHECK(calls.count() == 0);
}

TEST_CASE("an error of the call that begins is told once, by the fsync of that file") {
  UnsyncedFiles f(100);
  // The 20th call is that of file 22.
  const WriteBackCalls calls(20);
  for (std::size_t i = 0; i < 100; ++i) {
    INFO(i);
    CHECK(f.sync(i) == (i == 22 ? EIO : 0));
  }
  CHECK(f.sync(22) == 0);
}

TEST_CASE("a file that was begun and passed over is asked before it is let go") {
  constexpr std::size_t kFiles = 600;
  UnsyncedFiles f(kFiles);
  // Files of even numbers alone are synced: those of odd ones are begun too, and pushed out later.
  // The first that is asked is the first that was begun and stayed, number 5.
  const WriteBackCalls calls(1, "sync_file_range wait");
  for (std::size_t i = 0; i < kFiles; i += 2) CHECK(f.sync(i) == 0);
  CHECK(f.sync(5) == EIO);
  for (std::size_t i = 7; i < kFiles; i += 2) CHECK(f.sync(i) == 0);
}

TEST_CASE("files that are unlinked while they are begun give back what they held") {
  UnsyncedFiles f(200);
  const quota::Usage before = f.used();
  for (std::size_t i = 0; i < 10; ++i) CHECK(f.sync(i) == 0);
  for (std::size_t i = 0; i < 200; ++i) {
    REQUIRE(f.overlay->unlink(kRootId, "f" + std::to_string(i)));
    f.overlay->forget(f.files[i], 1);
  }
  CHECK(f.used() == before - quota::Usage{200 * 4096, 200});
  CHECK(f.overlay->stats().inodes == 1);
  f.check_recount();
}
