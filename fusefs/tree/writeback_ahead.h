// Writeback ahead of fsync. A package manager writes thousands of files and then asks
// for each of them, one after the other, to be on the disk. Between the two it has the disk begin
// (sync_file_range(2)), but the kernel does not tell a FUSE server, so each fsync would find its
// data unwritten and commit the journal of the file system below for itself alone. So it is
// remembered here in what order files were written; when new files are synced in that order, the
// write-back of those that come next is begun, and one commit serves many.
//
// A file that was synced before, as a database does again and again, takes no part.
//
// Nothing is promised by it but this: an error of write-back that it begins is told at that file's
// own fsync, like one of write-back that the kernel begins. What the call that begins it says is
// kept here. What the disk says later the kernel keeps with the file below, until somebody asks by
// a descriptor that was open then, or opened since. It could forget that together with a file that
// nobody has open, so the descriptor stays open here until the fsync, and where none comes, it is
// asked before it is closed. The kernel's own memory of errors ends when it forgets the inode; so
// does this.
//
// Thread-safe. No I/O under its lock but the close of a descriptor.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "fusefs/tree/inode.h"
#include "quota/base/mutex.h"

namespace troot::fusefs {

class WritebackAhead {
 public:
  /// How many files are begun ahead of the one that is synced, and of how many bytes.
  static constexpr std::uint32_t kWindow = 64;
  static constexpr off_t kWindowBytes = off_t{32} << 20;
  /// Of a bigger file only so much is begun: write-back may wait for a disk that is busy.
  static constexpr off_t kFileBytes = off_t{4} << 20;
  /// New files synced one after the other before it is taken for a sequence.
  static constexpr std::uint32_t kSequence = 3;

  WritebackAhead();

  /// Data of the file was written. Costs a load, but for the first time since its last fsync. The
  /// caller holds FileData::io and has the inode pinned.
  void wrote(Inode* inode, FileData& data) noexcept {
    if ((data.ahead.load(std::memory_order_relaxed) & kPlace) == 0) list(inode, data);
  }
  /// What an fsync that begins learns.
  struct Sync {
    std::shared_ptr<const Fd> fd;  ///< of the file, if its write-back was begun; else null
    bool sequence = false;         ///< next() may have something
  };
  /// The file is about to be synced: what is written from here on is new. Waits while its
  /// write-back is just being begun, since that may meet the error that the fsync then would not.
  /// The caller has the inode pinned and holds no lock.
  [[nodiscard]] Sync syncing(Inode* inode, FileData& data);
  /// A file that was begun.
  struct Begun {
    Inode* inode = nullptr;
    std::shared_ptr<const Fd> fd;
    off_t bytes = 0;
    bool starting = false;  ///< from next() to started(): its place is not given to another
  };
  /// A file to begin.
  struct Next {
    Inode* inode = nullptr;  ///< with a pin more; null: none now
    std::size_t place = 0;   ///< what keep() and started() want
    /// What had to leave for it, since the sequence passed it over: with a pin more, to be asked
    /// for errors. No inode: nothing had to.
    Begun passed_over;
  };
  /// Every Next with an inode is ended by started(). The caller holds no lock.
  [[nodiscard]] Next next() noexcept;
  /// Has the descriptor kept that is used to begin, and counts the bytes. While pinned.
  void keep(std::size_t place, std::shared_ptr<const Fd> fd, off_t bytes) noexcept;
  /// The call that begins was made, or not, without keep(). With an error, not 0, the next fsync of
  /// the file says so.
  void started(std::size_t place, int error) noexcept;
  /// The error to be told by the fsync that ends, told once; 0: none.
  [[nodiscard]] static int take_error(FileData& data) noexcept {
    return data.ahead_error.exchange(0, std::memory_order_acq_rel);
  }
  /// The inode goes: nobody may have a pointer to it or a descriptor of it from here any more.
  void forget(Inode* inode) noexcept;
  void clear() noexcept;

 private:
  // FileData::ahead: the place in ring_, from 1 (0: in none), and whether it takes no part in
  // sequences: it was synced before, or fell off the list.
  static constexpr std::uint32_t kSlots = 1U << 16;
  static constexpr std::uint32_t kKnown = 1U << 31, kPlace = kKnown - 1;
  /// How much further on in the list the next of a sequence may be.
  static constexpr std::uint64_t kNear = 32;
  /// More than the window, so that only those are pushed out that were passed over.
  static constexpr std::size_t kBegun = 2 * kWindow;
  struct Free {
    void operator()(Inode** p) const { std::free(p); }
  };

  void list(Inode* inode, FileData& data) noexcept;
  [[nodiscard]] Begun* find(const Inode* inode) REQUIRES(mutex_);
  [[nodiscard]] std::shared_ptr<const Fd> take(Begun& file) REQUIRES(mutex_);

  Mutex mutex_;
  CondVar started_;  ///< one of begun_ is no longer starting
  /// Files with data that was not synced, in the order of their first write. From calloc: what was
  /// never used costs nothing.
  std::unique_ptr<Inode*[], Free> ring_ GUARDED_BY(mutex_);
  // Positions count on for ever; the place in ring_ is the remainder.
  std::uint64_t head_ GUARDED_BY(mutex_) = 0;      ///< of the next file that is listed
  std::uint64_t last_ GUARDED_BY(mutex_) = 0;      ///< of the last new file that was synced
  std::uint64_t begun_to_ GUARDED_BY(mutex_) = 0;  ///< those before it were looked at
  std::uint64_t begin_to_ GUARDED_BY(mutex_) = 0;  ///< and those before this may be
  std::uint32_t in_sequence_ GUARDED_BY(mutex_) = 0;
  std::array<Begun, kBegun> begun_ GUARDED_BY(mutex_);  ///< without an inode: a free place
  std::size_t oldest_ GUARDED_BY(mutex_) = 0;           ///< the place that is used next
  off_t begun_bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace troot::fusefs
