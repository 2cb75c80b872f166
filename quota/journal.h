// The journal of intents: which charged objects are being changed, where a killed process cannot
// take it along: a file that is mapped shared, written by plain stores to memory (docs/FORMAT.md,
// "The journal").
//
// Before an object's charge or a name is first changed since it was last settled, its intent stands
// here. After a kill the next mount looks at these objects again and at nothing else.
//
// Intents belong to epochs. The one that is written to is current; at most the one before it waits
// to be retired. An operation enters the current epoch before its first change and leaves it after
// it has noted its charges. An epoch is retired when its operations have left and all they noted is
// in the ledger's log; epochs retire in their order, and an intent is written to the current one or
// to that of its operation, so none goes before the changes that it stands for.
//
// A crash of the machine may lose pages of the file. So its head holds the boot, and the intents of
// another boot count for nothing.
//
// The head also says how far the ledger has been written: a ledger that ends before that has lost
// something, on a disk that forgot it or in a log that can be read in part only.
//
// Thread-safety: enter, leave, say and miss from any thread; the rest from one that holds
// Books::settle_, or before there are others.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quota/base/mutex.h"
#include "quota/base/result.h"
#include "quota/types.h"

namespace troot::quota {

/// Counts from 1; 0 is before all.
using Epoch = std::uint32_t;

/// One thing to look at again. The place is a name in a directory, and the directory is named by
/// its key, since an ordinary user cannot open an object by its number.
struct Intent {
  enum Kind : std::uint8_t {
    kLook = 1,       ///< what lies at the place, or has the key, may have changed
    kDirectory = 2,  ///< the directory `key` lies at the place
    kGone = 4        ///< `key` is about to be removed for good
  };
  std::uint8_t kind = 0;
  InodeKey key;  ///< ino 0: not known
  InodeKey dir;  ///< ino 0: no place (the root of the upper, or the parking place)
  std::string name;
};

class Journal {
 public:
  /// What the server before this one left.
  struct Left {
    bool complete = false;  ///< false: something is missing, the upper must be counted
    std::vector<Intent> intents;
  };

  /// Opens or makes the file at `path`, allocates all of it and maps it. `owner` names the upper,
  /// `boot` the boot of the machine. Errors: those of open(2), fallocate(2) and mmap(2); ENOSPC:
  /// there is no room for it, and it is left empty. What is found stays as it is until restart() or
  /// invalidate().
  [[nodiscard]] static Result<std::unique_ptr<Journal>> open(const std::string& path,
                                                             const std::string& owner,
                                                             const std::string& boot);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// Before restart().
  [[nodiscard]] Left left() const;
  /// Nothing that was said before counts any more: the ledger is right.
  void restart() noexcept;
  /// From now until restart() a crash means that the upper is counted.
  void invalidate() noexcept;
  /// Called when an epoch should be settled soon. Set before the first say().
  void on_crowded(std::function<void()> wake) { wake_ = std::move(wake); }

  // ---- operations ----
  // By Change below. Neither waits.
  [[nodiscard]] Epoch enter() noexcept;
  void leave(Epoch epoch) noexcept;
  [[nodiscard]] Epoch current() const noexcept { return current_.load(); }
  /// Writes an intent of an operation that entered `own` and has not left: `kind` of Intent::Kind,
  /// `name` of at most 255 bytes. Returns the epoch it
  /// stands in, or 0: there was no room for too long, and a crash now means that the upper is
  /// counted. Where there is none it waits for a settle, for a fifth of a second at most.
  Epoch say(Epoch own, std::uint8_t kind, const InodeKey& key, const InodeKey& dir,
            std::string_view name) noexcept;
  /// An intent could not even be made.
  void miss() noexcept;

  // ---- what the ledger must hold ----
  /// The numbers of batches of the ledger. One that was begun and is not done may be in it or not.
  struct Batches {
    std::uint32_t begun = 0;
    std::uint32_t done = 0;
  };
  /// Also after another boot; nothing where the head was damaged, foreign or new.
  [[nodiscard]] std::optional<Batches> batches() const;
  /// Before a batch is written, and when the kernel has it.
  void batch_begins(std::uint32_t number) noexcept;
  void batch_is_done(std::uint32_t number) noexcept;

  // ---- settling ----
  /// Whether a settle should not wait for its time.
  [[nodiscard]] bool crowded() const noexcept;
  /// Before the noted charges are taken: begins a new epoch if it can. True: the operations of the
  /// oldest have all left, so what is taken now is the last of them.
  [[nodiscard]] bool close_epoch() noexcept;
  /// After they are in the ledger's log: the oldest epoch is done.
  void retire() noexcept;

  static constexpr std::uint32_t kUnit_bytes = 64;
  static constexpr std::uint32_t kUnits = 16384;  ///< of one epoch: 1 MiB

 private:
  struct Head;
  struct alignas(64) Inside {
    std::array<std::atomic<std::uint32_t>, 2> count{};
  };
  static constexpr std::size_t kShards = 16;

  Journal(int fd, unsigned char* map) : fd_(fd), map_(map) {}
  [[nodiscard]] Head& head() const noexcept;
  [[nodiscard]] unsigned char* unit(Epoch epoch, std::uint32_t index) const noexcept;
  [[nodiscard]] bool head_fits(const std::string& owner, const std::string& boot) const;
  /// As head_fits(), of whatever boot.
  [[nodiscard]] bool is_of(const std::string& owner) const;
  void write_head(const std::string& owner, const std::string& boot, Batches batches);
  [[nodiscard]] bool read_epoch(Epoch epoch, std::vector<Intent>& into) const;
  [[nodiscard]] bool wait_for_room(Epoch full) noexcept;
  [[nodiscard]] bool all_left(Epoch epoch) const noexcept;

  const int fd_;
  unsigned char* const map_;
  std::function<void()> wake_;
  std::atomic<Epoch> current_{1};
  std::atomic<Epoch> retired_{0};
  std::atomic<bool> armed_{false};  ///< since restart(): what stands in the file is this server's
  std::array<std::atomic<std::uint32_t>, 2> tail_{};  ///< units taken, by the parity of the epoch
  std::array<Inside, kShards> inside_;
  Mutex room_;
  CondVar freed_;
};

/// An operation's stay in the epoch in which it began. Without a journal it does nothing.
class Change {
 public:
  explicit Change(Journal* journal) noexcept
      : journal_(journal), epoch_(journal != nullptr ? journal->enter() : 0) {}
  ~Change() {
    if (journal_ != nullptr) journal_->leave(epoch_);
  }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;
  [[nodiscard]] Journal* journal() const noexcept { return journal_; }
  [[nodiscard]] Epoch epoch() const noexcept { return epoch_; }

 private:
  Journal* const journal_;
  const Epoch epoch_;
};

}  // namespace troot::quota
