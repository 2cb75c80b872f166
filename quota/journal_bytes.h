// The bytes of the journal's file (docs/FORMAT.md, "The journal"): its head, its entries, and their
// checksums. Shared by the files of the journal; nobody else includes it.
//
// Byte order and layout are the machine's own: no other machine reads the file. All of this is
// pure; the words of the head are atomics.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "quota/journal.h"

namespace troot::quota::journal_bytes {

inline constexpr std::uint32_t kJournalVersion = 2;
inline constexpr char kJournalMagic[8] = {'t', 'r', 'o', 'o', 't', 'j', 'n', 'l'};
inline constexpr std::size_t kHead_bytes = 4096;
inline constexpr std::size_t kEpoch_bytes = std::size_t{Journal::kUnit_bytes} * Journal::kUnits;
inline constexpr std::size_t kFile_bytes = kHead_bytes + 2 * kEpoch_bytes;
/// Anything missed in an epoch that is not retired makes the journal incomplete; this one never is.
inline constexpr Epoch kForever = UINT32_MAX;

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
inline constexpr std::size_t kSeal_bytes = 8;
inline constexpr std::size_t kFixed_bytes = offsetof(Body, name);

/// A count of bytes, rounded up to whole words of eight.
[[nodiscard]] constexpr std::size_t padded(std::size_t bytes) { return (bytes + 7) / 8 * 8; }
/// The units that an entry with `body_bytes` bytes behind its seal takes.
[[nodiscard]] constexpr std::uint32_t units_of(std::size_t body_bytes) {
  return static_cast<std::uint32_t>((kSeal_bytes + body_bytes - 1) / Journal::kUnit_bytes + 1);
}

/// The journal's checksum of `bytes` bytes at `data`.
[[nodiscard]] std::uint64_t mix(std::uint64_t seed, const void* data, std::size_t bytes);
/// What stands before an entry, last written: epoch above, checksum below. Never 0, since no epoch
/// is.
[[nodiscard]] std::uint64_t seal_of(std::uint64_t salt, Epoch epoch, const Body& body,
                                    std::size_t bytes);

/// What changes in the head.
enum Word : std::uint8_t {
  kRetired,
  kMissed,  ///< the last epoch in which an intent is missing
  kBegun,
  kDone,
  kWords
};

}  // namespace troot::quota::journal_bytes

namespace troot::quota {

struct Journal::Head {
  char magic[8];
  std::uint32_t version;
  std::uint32_t units;
  std::uint64_t owner;  ///< checksum of the upper's name
  std::uint64_t boot;   ///< likewise of the boot id
  std::uint64_t salt;   ///< of the entries' checksums: nobody makes one up in a file name
  std::uint64_t sum;    ///< of all above
  // These change while the rest stands: each is stored at once, with its own checksum.
  std::array<std::atomic<std::uint64_t>, journal_bytes::kWords> words;

  [[nodiscard]] std::uint64_t checksum() const {
    return journal_bytes::mix(0, this, offsetof(Head, sum));
  }
  [[nodiscard]] std::uint64_t sealed(journal_bytes::Word which, std::uint32_t value) const {
    return std::uint64_t{value} << 32 |
           (journal_bytes::mix(salt + which, &value, sizeof value) & 0xffffffff);
  }
  [[nodiscard]] std::uint32_t get(journal_bytes::Word which) const noexcept {
    return static_cast<std::uint32_t>(words[which].load(std::memory_order_relaxed) >> 32);
  }
  void set(journal_bytes::Word which, std::uint32_t value) noexcept {
    words[which].store(sealed(which, value));
  }
  [[nodiscard]] bool words_fit() const {
    for (const auto which : {journal_bytes::kRetired, journal_bytes::kMissed, journal_bytes::kBegun,
                             journal_bytes::kDone}) {
      // Loaded once: a test opens the file beside the one who writes it.
      const std::uint64_t word = words[which].load();
      if (word != sealed(which, static_cast<std::uint32_t>(word >> 32))) return false;
    }
    return true;
  }
};

}  // namespace troot::quota
