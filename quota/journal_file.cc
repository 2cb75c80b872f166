// The journal's file: making and mapping it, its head and checksums, and reading what the server
// before this one left.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "quota/journal_bytes.h"
#include "quota/journal_guard.h"

namespace troot::quota {

namespace journal_bytes {

std::uint64_t mix(std::uint64_t seed, const void* data, std::size_t bytes) {
  constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;
  const auto* at = static_cast<const unsigned char*>(data);
  std::uint64_t sum = seed;
  for (; bytes >= 8; bytes -= 8, at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    sum = (sum ^ word) * kOdd;
    sum ^= sum >> 29;
  }
  std::uint64_t word = 0;
  std::memcpy(&word, at, bytes);
  sum = (sum ^ word) * kOdd;
  return sum ^ sum >> 32;
}

std::uint64_t seal_of(std::uint64_t salt, Epoch epoch, const Body& body, std::size_t bytes) {
  return std::uint64_t{epoch} << 32 | (mix(salt ^ epoch, &body, bytes) & 0xffffffff);
}

}  // namespace journal_bytes

using namespace journal_bytes;

namespace {

Status allocate(int fd) {
  if (::fallocate(fd, 0, 0, static_cast<off_t>(kFile_bytes)) == 0) return {};
  if (errno != EOPNOTSUPP) return fail_errno();
  // The file system allocates only what is written.
  const std::vector<char> zeros(64 << 10);
  for (std::size_t at = 0; at < kFile_bytes;) {
    const std::size_t want = std::min(zeros.size(), kFile_bytes - at);
    const ssize_t n = ::pwrite(fd, zeros.data(), want, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno();
    at += static_cast<std::size_t>(n);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::open(const std::string& path, const std::string& owner,
                                               const std::string& boot) {
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return fail_errno();
  struct stat st {};
  Status ready = ::fstat(fd, &st) == 0 ? Status{} : fail_errno();
  const bool sized = ready && st.st_size == static_cast<off_t>(kFile_bytes);
  // Of another size it is not ours; it is made anew, and reads as zeros.
  if (ready && !sized && ::ftruncate(fd, 0) != 0) ready = fail_errno();
  // Also where the size is right: a copy of the file may have holes.
  if (ready) ready = allocate(fd);
  void* map = MAP_FAILED;
  if (ready) {
    map = ::mmap(nullptr, kFile_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED && errno == ENODEV) {
      // A file system without shared mappings (9p, say): no file is left, and a kill means a count.
      (void)::unlink(path.c_str());
      map =
          ::mmap(nullptr, kFile_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (map == MAP_FAILED) ready = fail_errno();
  }
  if (!ready) {
    if (!sized) (void)::ftruncate(fd, 0);  // no half-made file on a full disk
    ::close(fd);
    return fail(ready.error());
  }
  std::unique_ptr<Journal> journal(new Journal(fd, static_cast<unsigned char*>(map)));
  (void)guard_mapping(map, kFile_bytes, path.c_str());
  if (journal->head_fits(owner, boot)) {
    journal->retired_.store(journal->head().get(kRetired));
    journal->current_.store(journal->head().get(kRetired) + 1);
  } else {
    // What was written to the ledger does not depend on the boot.
    const std::optional<Batches> batches =
        journal->is_of(owner) ? journal->batches() : std::nullopt;
    // Nothing in the file may look like an entry of a new epoch.
    if (sized) std::memset(journal->map_, 0, kFile_bytes);
    journal->write_head(owner, boot, batches.value_or(Batches{}));
    journal->invalidate();
  }
  return journal;
}

Journal::~Journal() {
  unguard_mapping(map_);
  ::munmap(map_, kFile_bytes);
  ::close(fd_);
}

Journal::Head& Journal::head() const noexcept { return *reinterpret_cast<Head*>(map_); }

unsigned char* Journal::unit(Epoch epoch, std::uint32_t index) const noexcept {
  return map_ + kHead_bytes + (epoch & 1) * kEpoch_bytes + std::size_t{index} * kUnit_bytes;
}

// ---- the head, and what was left ----

bool Journal::is_of(const std::string& owner) const {
  const Head& h = head();
  return std::memcmp(h.magic, kJournalMagic, sizeof kJournalMagic) == 0 &&
         h.version == kJournalVersion && h.units == kUnits && h.sum == h.checksum() &&
         h.owner == mix(1, owner.data(), owner.size()) && h.words_fit();
}

bool Journal::head_fits(const std::string& owner, const std::string& boot) const {
  return is_of(owner) && head().boot == mix(2, boot.data(), boot.size());
}

void Journal::write_head(const std::string& owner, const std::string& boot, Batches batches) {
  Head& h = head();
  std::memcpy(h.magic, kJournalMagic, sizeof kJournalMagic);
  h.version = kJournalVersion;
  h.units = kUnits;
  h.owner = mix(1, owner.data(), owner.size());
  h.boot = mix(2, boot.data(), boot.size());
  if (::getrandom(&h.salt, sizeof h.salt, 0) != static_cast<ssize_t>(sizeof h.salt)) h.salt = 1;
  h.sum = h.checksum();
  h.set(kRetired, 0);
  h.set(kMissed, 0);
  h.set(kBegun, batches.begun);
  h.set(kDone, batches.done);
}

std::optional<Journal::Batches> Journal::batches() const {
  const Batches batches{head().get(kBegun), head().get(kDone)};
  if (batches.begun == 0) return std::nullopt;
  return batches;
}

void Journal::batch_begins(std::uint32_t number) noexcept { head().set(kBegun, number); }
void Journal::batch_is_done(std::uint32_t number) noexcept { head().set(kDone, number); }

Journal::Left Journal::left() const {
  Left left;
  const Epoch retired = head().get(kRetired);
  left.complete = head().get(kMissed) <= retired && read_epoch(retired + 1, left.intents) &&
                  read_epoch(retired + 2, left.intents);
  if (!left.complete) left.intents.clear();
  return left;
}

/// False: an entry of this epoch is damaged. One that was not finished has no seal; what it was for
/// had not begun. Where the seal says another epoch, but its checksum fits this one, it is damaged.
bool Journal::read_epoch(Epoch epoch, std::vector<Intent>& into) const {
  for (std::uint32_t index = 0; index < kUnits;) {
    const unsigned char* at = unit(epoch, index);
    std::uint64_t seal = 0;
    std::memcpy(&seal, at, kSeal_bytes);
    const bool ours = seal >> 32 == epoch;
    if (seal == 0) {
      ++index;
      continue;
    }
    Body body{};
    std::memcpy(&body, at + kSeal_bytes, kFixed_bytes);
    const std::size_t bytes = padded(kFixed_bytes + body.name_length);
    const auto units = units_of(bytes);
    if (units > kUnits - index) {
      if (ours) return false;
      ++index;
      continue;
    }
    std::memcpy(&body, at + kSeal_bytes, bytes);
    const std::uint64_t wanted = seal_of(head().salt, epoch, body, bytes);
    if (!ours && (seal & 0xffffffff) != (wanted & 0xffffffff)) {
      ++index;
      continue;
    }
    if (seal != wanted) return false;
    into.push_back({body.kind,
                    {body.key_ino, body.key_birth},
                    {body.dir_ino, body.dir_birth},
                    std::string(body.name, body.name_length)});
    index += units;
  }
  return true;
}

}  // namespace troot::quota
