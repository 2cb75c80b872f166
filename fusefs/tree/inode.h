// The inodes that the kernel knows, 64 bytes each, and the table that finds them by
// node id.
//
// An inode lives while the kernel holds lookups on it or something here pins it (a child, an
// operation). It holds no descriptor: fusefs/tree/resolve finds its object again by (parent's
// descriptor, name).
//
// Locks, see docs/LOCKING.md: DirData::lock guards a directory's names; Inode::copy_up is held by
// the one who copies it up; Inode::loc guards where it is (parent, name, layer, parked): shared to
// use, alone to change.
#pragma once

#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fusefs/base/posix.h"
#include "fusefs/base/small_lock.h"
#include "fusefs/disk/format.h"
#include "fusefs/tree/name_table.h"
#include "fusefs/types.h"
#include "quota/base/mutex.h"
#include "quota/journal.h"
#include "quota/types.h"

namespace troot::fusefs {

/// The layer index of the upper; lowers follow from 1, topmost first.
inline constexpr std::uint16_t kUpper = 0;

/// What an upper object is charged, and to whom. `loaded` is false until somebody needed it.
struct Account {
  quota::ProjId project = quota::kDefaultProject;
  bool inherit = false;
  bool loaded = false;
  quota::Epoch said = 0;         ///< the journal names it up to this epoch (fusefs/upper/intent.h)
  std::int64_t data_bytes = 0;   ///< pages of data, or of a directory's names
  std::int64_t xattr_bytes = 0;  ///< the charge of the user's xattrs
  quota::InodeKey key;
  [[nodiscard]] std::int64_t bytes() const { return data_bytes + xattr_bytes; }
  [[nodiscard]] quota::InodeRecord record() const { return {project, bytes()}; }
};

/// Where something lies in a lower layer: a path from the layer's root, without a leading slash.
struct LowerPlace {
  std::uint16_t layer = 0;
  std::string path;
};

/// Where the data of a file is whose own object has none (metacopy of overlayfs.rst).
struct DataBelow {
  LowerPlace place;
  /// Where the layers below the upper, merged, show it: what a redirect says.
  std::string merged;
  bool redirected = false;  ///< the upper object says so on disk
  std::int64_t blocks = 0;  ///< st_blocks
  bool foreign = false;     ///< it lies in a mount below its layer's root
};

/// What a lower object, or an upper one, is known by among those with several names.
struct LinkKey {
  dev_t dev = 0;
  std::uint64_t ino = 0;
  friend bool operator==(const LinkKey&, const LinkKey&) = default;
};

struct LinkKeyHash {
  std::size_t operator()(const LinkKey& key) const noexcept {
    return std::hash<std::uint64_t>()(key.ino ^ (std::uint64_t{key.dev} << 40));
  }
};

/// Of an object of the upper, or of a sealed layer, that stands for a lower one with several names
/// (fusefs/upper/index.h).
struct IndexEntry {
  std::string name;        ///< in work/troot/index, or in a sealed layer's index
  std::int64_t nlink = 0;  ///< names in the union
};

/// What a file needs beyond Inode once it is in the upper and in use.
struct FileData {
  SmallMutex io;  ///< guards the rest: one writer at a time changes size and charge
  std::atomic<std::uint32_t> ahead{0};  ///< fusefs/tree/writeback_ahead.h
  Account account;
  off_t size = 0;  ///< of the upper file; valid when account.loaded
  std::unique_ptr<std::vector<PageRange>> preallocated;  ///< null: none
  std::unique_ptr<IndexEntry> index;  ///< guarded by the inode's loc; there while kIndexed
  std::vector<LinkKey> links;        ///< guarded by LinkedInodes::mutex: the keys it is found under
  std::unique_ptr<DataBelow> below;  ///< guarded by the inode's loc; there while kMetacopy
  std::shared_ptr<const Fd> kept;    ///< likewise; with kGone: of the data, if it was in use
  std::atomic<int> ahead_error{0};   ///< of write-back: the next fsync says it
};

/// The layers in which a directory lies, topmost first. Few nearly always.
class LayerList {
 public:
  [[nodiscard]] std::uint16_t size() const { return count_; }
  [[nodiscard]] std::uint16_t operator[](std::size_t i) const {
    return i < kInline ? near_[i] : (*far_)[i - kInline];
  }
  [[nodiscard]] std::uint16_t top() const { return near_[0]; }
  void push_back(std::uint16_t layer);
  void push_front(std::uint16_t layer);
  /// One more layer lies on top: every number moves.
  void shift();
  [[nodiscard]] bool pure_upper() const { return count_ == 1 && near_[0] == kUpper; }

 private:
  static constexpr std::size_t kInline = 3;
  std::uint16_t count_ = 0;
  std::array<std::uint16_t, kInline> near_{};
  std::unique_ptr<std::vector<std::uint16_t>> far_;
};

/// A directory whose lower parts do not lie beside its name: it, or an older version of it in a
/// lower layer, was renamed.
struct Moved {
  /// Where the layers below the upper, merged, show the lower parts; empty: under its own name.
  std::string path;
  std::vector<LowerPlace>
      places;  ///< of the layers where it is not its parent's place and its name
};

struct DirData {
  SmallRwLock lock;      ///< guards names, loaded
  bool loaded = false;   ///< names holds every name of every layer
  bool foreign = false;  ///< a lower part lies in a mount below its layer's root
  NameTable names;
  LayerList layers;              ///< guarded by the inode's loc
  std::unique_ptr<Moved> moved;  ///< likewise; null nearly always
  /// Likewise: the layers whose part has an opaque xattr, where whiteouts may be xattrs.
  std::unique_ptr<std::vector<std::uint16_t>> marked;
  SmallMutex charge;  ///< guards account, name_bytes, disk_bytes; a leaf, taken with loc held
  Account account;
  /// What the names on disk in the upper count (quota/unit.h); valid when account.loaded.
  std::int64_t name_bytes = 0;
  std::int64_t disk_bytes = 0;        ///< what its size there counts (Layout::sized_dirs); likewise
  std::atomic<quota::Epoch> said{0};  ///< the journal has its place, and its ancestors', up to here
  std::unique_ptr<struct stat> last;  ///< of a removed directory
};

struct Inode {
  enum Flag : std::uint32_t {
    kDetached = 1 << 0,     ///< unlinked: `name` belongs to the inode, no table has it
    kParked = 1 << 1,       ///< its object is work/troot/parked/SLOT
    kDead = 1 << 2,         ///< a removed directory
    kOverride = 1 << 3,     ///< the object has an override_stat
    kUserXattrs = 1 << 4,   ///< the object may have xattrs that are shown
    kXattrsKnown = 1 << 5,  ///< kUserXattrs says the truth
    kSparse = 1 << 6,       ///< the upper file has the alloc xattr
    kPrivileged = 1 << 7,   ///< the presented mode has suid or sgid
    kCaps = 1 << 8,         ///< it may have security.capability
    kUnreadable = 1 << 9,   ///< a lower object, or a part of a directory, that we may not read
    kLinked = 1 << 10,      ///< an object with several names: in the table of links
    kMetacopy = 1 << 11,    ///< the topmost object has no data of its own: FileData::below
    kAccessAcl = 1 << 12,   ///< an upper object whose mode an ACL says that we keep
    kDefaultAcl = 1 << 13,  ///< a directory of the upper with a default ACL
    kIndexed = 1 << 14,     ///< an object found in an index of ours: FileData::index
    kGone = 1 << 15,        ///< its lower object left the layers: FileData::kept is what remains
    kPassed = 1 << 16,      ///< the kernel may have written to it by itself: its size is on disk
    kMapped = 1 << 17,      ///< it may be mapped past the kernel's eyes: its times are on disk
    kProgram = 1 << 18,     ///< unreadable, and somebody may execute it: never shown as empty
    kClosed = 1 << 19,      ///< a lower part of a directory is the server's user's, without search
    kForeign = 1 << 20,     ///< it, or a part of it, lies in a mount below its layer's root
    kUnseen = 1 << 21,      ///< the root of such a mount, not asked for its attributes yet
    // What a list of xattrs said, used while an inode is made; never kept.
    kSeenIndex = 1 << 25,
    kSeenMetacopy = 1 << 26,
    kSeenRedirect = 1 << 27,
    kSeenOrigin = 1 << 28,
    kSeenWhiteout = 1 << 29,
    kSeenProject = 1 << 30,
    kSeenMask = 63U << 25
  };

  Name* name = nullptr;
  Inode* parent = nullptr;
  std::uint64_t ino = 0;               ///< st_ino as presented; of a free slot: the next free one
  std::atomic<std::uint64_t> refs{0};  ///< lookups below kPin, pins above
  union {
    DirData* dir = nullptr;       ///< of a directory, always there
    std::atomic<FileData*> file;  ///< of anything else, when needed
  };
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  std::atomic<std::uint32_t> flags{0};
  SmallRwLock loc;
  SmallMutex copy_up;
  std::atomic<std::uint16_t> layer{0};  ///< the topmost layer that has it
  std::uint16_t type = 0;               ///< S_IFMT >> 12, as presented

  static constexpr std::uint64_t kPin = std::uint64_t{1} << 36;

  Inode() {}
  [[nodiscard]] NodeId id() const { return (std::uint64_t{generation} << 32) | slot; }
  [[nodiscard]] bool is_dir() const { return type == (S_IFDIR >> 12); }
  [[nodiscard]] bool is_file() const { return type == (S_IFREG >> 12); }
  [[nodiscard]] bool is_symlink() const { return type == (S_IFLNK >> 12); }
  [[nodiscard]] bool has(std::uint32_t f) const {
    return flags.load(std::memory_order_acquire) & f;
  }
  void set(std::uint32_t f) { flags.fetch_or(f, std::memory_order_acq_rel); }
  void clear(std::uint32_t f) { flags.fetch_and(~f, std::memory_order_acq_rel); }
  [[nodiscard]] bool in_upper() const { return layer.load(std::memory_order_acquire) == kUpper; }
};

static_assert(sizeof(Inode) == 64, "the memory target is counted in this size");

/// Slots in chunks that never move, so that a node id is found without a lock.
class InodeTable {
 public:
  InodeTable();
  ~InodeTable();
  InodeTable(const InodeTable&) = delete;
  InodeTable& operator=(const InodeTable&) = delete;

  /// A fresh inode without references. Throws std::bad_alloc.
  [[nodiscard]] Inode* allocate();
  /// Gives it back; nobody may use it any more. Frees what hangs on it.
  void free(Inode* inode) noexcept;
  /// Calls `visit` for every inode that is in use. Nobody allocates or frees meanwhile.
  template <typename F>
  void each(F&& visit) const {
    for (std::uint32_t i = 0; i < kMaxChunks; ++i) {
      Chunk* const chunk = chunks_[i].load(std::memory_order_acquire);
      if (chunk == nullptr) return;
      for (Inode& inode : *chunk) {
        if (inode.refs.load(std::memory_order_acquire) != 0) visit(&inode);
      }
    }
  }
  /// Null when the id was never given out or was forgotten.
  [[nodiscard]] Inode* find(NodeId id) const noexcept;
  [[nodiscard]] std::uint64_t live() const noexcept {
    return live_.load(std::memory_order_relaxed);
  }

 private:
  static constexpr std::uint32_t kChunkBits = 10, kChunkSize = 1U << kChunkBits;
  static constexpr std::uint32_t kMaxChunks = 1U << 18;  // 268 million inodes
  using Chunk = std::array<Inode, kChunkSize>;

  struct FreeChunks {
    void operator()(std::atomic<Chunk*>* p) const { std::free(p); }
  };
  std::unique_ptr<std::atomic<Chunk*>[], FreeChunks>
      chunks_;  ///< from calloc: untouched parts cost nothing
  std::atomic<std::uint64_t> live_{0};
  Mutex mutex_;
  /// The slots that were given back, linked by Inode::ino, so that giving one back takes no memory.
  /// 0: none.
  std::uint32_t free_ GUARDED_BY(mutex_) = 0;
  std::uint32_t next_ GUARDED_BY(mutex_) = 1;
  [[nodiscard]] Inode& at(std::uint32_t slot) const noexcept;
};

/// The FileData of an upper object that is not a directory, made if need be.
[[nodiscard]] FileData& file_data(Inode* inode);
/// What guards the account of an upper object: FileData::io, DirData::charge.
[[nodiscard]] SmallMutex& account_lock(Inode* inode);

}  // namespace troot::fusefs
