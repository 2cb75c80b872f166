// The file of quota/journal.h: its bytes, its epochs, and who waits for room.
#include "quota/journal.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "quota/journal_guard.h"

namespace troot::quota {
namespace {

constexpr std::uint32_t kJournalVersion = 2;
constexpr char kJournalMagic[8] = {'t', 'r', 'o', 'o', 't', 'j', 'n', 'l'};
constexpr std::size_t kHead_bytes = 4096;
constexpr std::size_t kEpoch_bytes = std::size_t{Journal::kUnit_bytes} * Journal::kUnits;
constexpr std::size_t kFile_bytes = kHead_bytes + 2 * kEpoch_bytes;
/// Anything missed in an epoch that is not retired makes the journal incomplete; this one never is.
constexpr Epoch kForever = UINT32_MAX;
/// How long say() waits for a settle. Whom it waits for may wait for a lock of its caller.
constexpr std::chrono::milliseconds kPatience{200};
constexpr std::chrono::milliseconds kTick{5};
/// How long a settle waits for operations to leave before it goes on without retiring an epoch.
constexpr std::chrono::microseconds kLinger{1000};

/// What follows the seal of an entry. All of it is covered by the checksum.
struct Body {
  std::uint64_t key_ino;
  std::int64_t key_birth;
  std::uint64_t dir_ino;
  std::int64_t dir_birth;
  std::uint8_t kind;
  std::uint8_t name_length;
  char name[256];  // longer than any name; only what is used is written
};
constexpr std::size_t kSeal_bytes = 8;
constexpr std::size_t kFixed_bytes = offsetof(Body, name);

std::size_t padded(std::size_t bytes) { return (bytes + 7) / 8 * 8; }

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

/// Epoch above, checksum below. Never 0, since no epoch is.
std::uint64_t seal_of(std::uint64_t salt, Epoch epoch, const Body& body, std::size_t bytes) {
  return std::uint64_t{epoch} << 32 | (mix(salt ^ epoch, &body, bytes) & 0xffffffff);
}

unsigned shard_of_thread() {
  static std::atomic<unsigned> next{0};
  thread_local const unsigned shard = next.fetch_add(1, std::memory_order_relaxed);
  return shard;
}

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

/// What changes in the head.
enum Word : std::uint8_t {
  kRetired,
  kMissed,  ///< the last epoch in which an intent is missing
  kBegun,
  kDone,
  kWords
};

}  // namespace

struct Journal::Head {
  char magic[8];
  std::uint32_t version;
  std::uint32_t units;
  std::uint64_t owner;  ///< checksum of the upper's name
  std::uint64_t boot;   ///< likewise of the boot id
  std::uint64_t salt;   ///< of the entries' checksums: nobody makes one up in a file name
  std::uint64_t sum;    ///< of all above
  // These change while the rest stands: each is stored at once, with its own checksum.
  std::array<std::atomic<std::uint64_t>, kWords> words;

  [[nodiscard]] std::uint64_t checksum() const { return mix(0, this, offsetof(Head, sum)); }
  [[nodiscard]] std::uint64_t sealed(Word which, std::uint32_t value) const {
    return std::uint64_t{value} << 32 | (mix(salt + which, &value, sizeof value) & 0xffffffff);
  }
  [[nodiscard]] std::uint32_t get(Word which) const noexcept {
    return static_cast<std::uint32_t>(words[which].load(std::memory_order_relaxed) >> 32);
  }
  void set(Word which, std::uint32_t value) noexcept { words[which].store(sealed(which, value)); }
  [[nodiscard]] bool words_fit() const {
    for (const Word which : {kRetired, kMissed, kBegun, kDone}) {
      if (words[which].load() != sealed(which, get(which))) return false;
    }
    return true;
  }
};

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
    const auto units = static_cast<std::uint32_t>((kSeal_bytes + bytes - 1) / kUnit_bytes + 1);
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

void Journal::restart() noexcept {
  // Beyond whatever the file holds: epochs after the two that may stand in it.
  const Epoch next = current_.load() + 2;
  tail_[0].store(0);
  tail_[1].store(0);
  retired_.store(next - 1);
  current_.store(next);
  head().set(kRetired, next - 1);
  head().set(kMissed, 0);
  armed_.store(true);
}

void Journal::invalidate() noexcept {
  armed_.store(false);
  head().set(kMissed, kForever);
}

// ---- operations ----

Epoch Journal::enter() noexcept {
  Inside& inside = inside_[shard_of_thread() % kShards];
  for (;;) {
    const Epoch epoch = current_.load();
    inside.count[epoch & 1].fetch_add(1);
    // Else it ended in between, and whoever waits for it may have looked already.
    if (current_.load() == epoch) return epoch;
    inside.count[epoch & 1].fetch_sub(1);
  }
}

void Journal::leave(Epoch epoch) noexcept {
  inside_[shard_of_thread() % kShards].count[epoch & 1].fetch_sub(1);
}

void Journal::miss() noexcept {
  const Epoch now = current_.load();
  std::atomic<std::uint64_t>& word = head().words[kMissed];
  std::uint64_t missed = word.load();
  while (missed >> 32 < now && !word.compare_exchange_weak(missed, head().sealed(kMissed, now))) {
  }
}

Epoch Journal::say(Epoch own, std::uint8_t kind, const InodeKey& key, const InodeKey& dir,
                   std::string_view name) noexcept {
  if (name.size() > UINT8_MAX) {
    miss();
    return 0;
  }
  Body body;
  const std::size_t bytes = padded(kFixed_bytes + name.size());
  std::memset(reinterpret_cast<char*>(&body) + bytes - 8, 0, 8);  // what pads it is summed up too
  body.key_ino = key.ino;
  body.key_birth = key.birth_ns;
  body.dir_ino = dir.ino;
  body.dir_birth = dir.birth_ns;
  body.kind = kind;
  body.name_length = static_cast<std::uint8_t>(name.size());
  (void)name.copy(body.name, name.size());
  const auto units = static_cast<std::uint32_t>((kSeal_bytes + bytes - 1) / kUnit_bytes + 1);
  const auto put = [&](Epoch epoch) {
    const std::uint32_t index = tail_[epoch & 1].fetch_add(units);
    if (index > kUnits - units) {
      tail_[epoch & 1].store(kUnits);  // lest those who come later make it wrap round
      return false;
    }
    unsigned char* at = unit(epoch, index);
    std::memcpy(at + kSeal_bytes, &body, bytes);
    const std::uint64_t seal = seal_of(head().salt, epoch, body, bytes);
    std::atomic_ref(*reinterpret_cast<std::uint64_t*>(at)).store(seal, std::memory_order_release);
    if (index < kUnits / 2 && index + units >= kUnits / 2 && wake_) wake_();
    return true;
  };
  for (;;) {
    const Epoch epoch = current_.load();
    if (head().get(kMissed) >= epoch) return 0;
    if (put(epoch)) return epoch;
    // A new epoch begins only when the one before has ended; if that is this operation's own, it
    // would wait for itself.
    const bool blocks = own < epoch;
    if (blocks && put(own)) return own;
    if (blocks || !wait_for_room(epoch)) {
      miss();
      return 0;
    }
  }
}

bool Journal::wait_for_room(Epoch full) noexcept {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    if (wake_) wake_();
    MutexLock lock(room_);
    if (current_.load() != full) return true;
    const auto now = std::chrono::steady_clock::now();
    if (now >= end) return false;
    (void)freed_.wait_until(room_, now + kTick);
  }
}

// ---- settling ----

bool Journal::crowded() const noexcept {
  const Epoch now = current_.load();
  if (retired_.load() + 1 == now) return tail_[now & 1].load() >= kUnits / 2;
  return tail_[now & 1].load() >= kUnits / 2 && all_left(now - 1);
}

bool Journal::all_left(Epoch epoch) const noexcept {
  for (const Inside& inside : inside_) {
    if (inside.count[epoch & 1].load() != 0) return false;
  }
  return true;
}

bool Journal::close_epoch() noexcept {
  if (!armed_.load()) return false;
  const Epoch now = current_.load();
  const Epoch oldest = retired_.load() + 1;
  if (oldest == now) {
    const bool nothing_said = tail_[now & 1].load() == 0 && head().get(kMissed) < now;
    if (nothing_said) return false;
    tail_[(now + 1) & 1].store(0);
    MutexLock lock(room_);
    current_.store(now + 1);
    freed_.notify_all();
  }
  const auto end = std::chrono::steady_clock::now() + kLinger;
  while (!all_left(oldest)) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::yield();
  }
  return true;
}

void Journal::retire() noexcept {
  const Epoch oldest = retired_.load() + 1;
  head().set(kRetired, oldest);
  retired_.store(oldest);
}

}  // namespace troot::quota
