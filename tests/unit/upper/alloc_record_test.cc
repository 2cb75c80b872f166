// Which ranges of the record of a file are obeyed where st_blocks is exact: after
// each way in which a server may have died, and where somebody else changed the file.
#include "fusefs/upper/alloc_record.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/vfs.h>

#include "unit/catch.h"
#include "unit/scratch.h"

namespace troot::fusefs {
namespace {

constexpr off_t kPage = quota::kPageSize;

/// A file of tmpfs with pages 2 and 3 written, and 5 to 8 allocated.
class OnTmpfs {
 public:
  OnTmpfs() {
    struct statfs fs {};
    fd_ = Fd(::open((scratch_ / "f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    tmpfs_ = fd_.valid() && ::fstatfs(fd_.get(), &fs) == 0 && fs.f_type == 0x01021994;
    const std::string data(2 * kPage, 'x');
    REQUIRE(::pwrite(fd_.get(), data.data(), data.size(), 2 * kPage) == 2 * kPage);
    REQUIRE(::fallocate(fd_.get(), 0, 5 * kPage, 4 * kPage) == 0);
  }
  [[nodiscard]] bool fits() const { return tmpfs_; }
  [[nodiscard]] std::vector<PageRange> obeyed(const AllocRecord& record) const {
    const auto ranges = obeyed_ranges({fd_.get(), SpaceKind::kExact, 9 * kPage, nullptr}, record);
    REQUIRE(ranges);
    return *ranges;
  }
  void punch(std::int64_t first, std::int64_t count) const {
    REQUIRE(::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, first * kPage,
                        count * kPage) == 0);
  }

 private:
  tests::Scratch scratch_;
  Fd fd_;
  bool tmpfs_ = false;
};

using Ranges = std::vector<PageRange>;

}  // namespace

TEST_CASE("alloc record: what was under way counts where st_blocks says that it was done") {
  const OnTmpfs file;
  if (!file.fits()) return;
  CHECK(file.obeyed({{{5, 4}}, {}}) == Ranges{{5, 4}});
  // An allocation of pages 7 and 8 was under way, and done.
  CHECK(file.obeyed({{{5, 2}}, {{7, 2}}}) == Ranges{{5, 4}});
  // One of 20 to 29 was not.
  CHECK(file.obeyed({{{5, 4}}, {{20, 10}}}) == Ranges{{5, 4}});
  // A punch of page 6 was not done; then it is.
  CHECK(file.obeyed({{{5, 1}, {7, 2}}, {{6, 1}}}) == Ranges{{5, 4}});
  file.punch(6, 1);
  CHECK(file.obeyed({{{5, 1}, {7, 2}}, {{6, 1}}}) == Ranges{{5, 1}, {7, 2}});
}

TEST_CASE("alloc record: one that claims more than there is, is not obeyed") {
  const OnTmpfs file;
  if (!file.fits()) return;
  CHECK(file.obeyed({{{5, 5}}, {}}).empty());
  CHECK(file.obeyed({{{5, 5}}, {{20, 10}}}).empty());
  // Too little costs a reservation that goes back.
  CHECK(file.obeyed({{{5, 2}}, {}}) == Ranges{{5, 2}});
}

}  // namespace troot::fusefs
