// The state of one union: the layers, the work directory, the inodes, the caches and the counters.
// Everything below the facade is a function over it.
#pragma once

#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "fusefs/base/complaints.h"
#include "fusefs/base/gate.h"
#include "fusefs/base/posix.h"
#include "fusefs/config.h"
#include "fusefs/disk/ids.h"
#include "fusefs/disk/link_store.h"
#include "fusefs/disk/numbers.h"
#include "fusefs/disk/space.h"
#include "fusefs/tree/fd_ager.h"
#include "fusefs/tree/fd_cache.h"
#include "fusefs/tree/inode.h"
#include "fusefs/tree/loc.h"
#include "fusefs/tree/own_reader.h"
#include "fusefs/tree/streams.h"
#include "fusefs/tree/writeback_ahead.h"
#include "fusefs/types.h"
#include "quota/base/mutex.h"
#include "quota/unit.h"

namespace troot::fusefs {

struct Layer {
  std::string path;
  FdHandle root;  ///< O_PATH; null for the upper of a read-only mount
  dev_t dev = 0;
  uid_t owner = 0;          ///< of its root
  std::uint64_t mount = 0;  ///< of its root (STATX_MNT_ID); 0: the kernel does not say
  /// Not 0: it shows objects that a layer above it may show too, at another place.
  std::uint64_t apart = 0;
  /// Its root says that it has whiteouts in the form of xattrs, though nothing lies below it.
  bool xattr_whiteouts = false;
  bool overridden = false;  ///< its objects are shown as their override_stat says
  /// An upper of ours that a snapshot has sealed: what is read in an upper is read in it.
  bool sealed = false;
  Fd index;                          ///< of a sealed one: its index of hard links
  std::unique_ptr<LinkStore> links;  ///< likewise: its records of symlinks
};

/// Whether a layer is ours: the upper, or one that was an upper and is sealed.
[[nodiscard]] inline bool is_own(const std::vector<Layer>& layers, std::uint16_t layer) {
  return layer == kUpper || layers[layer].sealed;
}

/// What a whiteout is that the union makes.
enum class WhiteoutForm {
  kDevice,  ///< a character device 0/0
  kXattr    ///< an empty file with an xattr, where the other may not be made
};

/// Objects that are never shown: layers of our own and mounts that must not be entered.
struct Hidden {
  dev_t dev;  ///< of the object, or of the directory that has the name
  std::uint64_t ino;
  std::string name;  ///< empty: dev and ino are the object's own
};

/// What a mount is made of. Constant after open.
struct Layout {
  explicit Layout(Config c) : config(std::move(c)), xattr(config.xattr_space), ids(config) {}

  Config config;
  XattrNames xattr;
  Ids ids;
  uid_t disk_uid = 0;  ///< owner of what the server makes
  gid_t disk_gid = 0;
  std::vector<Layer> layers;  ///< [0] is the upper
  std::vector<Hidden> hidden;
  bool read_only = false;
  SpaceKind space = SpaceKind::kAsked;  ///< what the upper's file system says of allocation
  /// Directories of the upper's file system keep blocks that their names do not fill: their size
  /// says what they hold, and is charged.
  bool sized_dirs = false;
  WhiteoutForm whiteouts = WhiteoutForm::kDevice;
};

/// The work directory, and the flocks that say whose it is.
struct WorkDir {
  Fd stage, parked, index;   ///< work/troot/stage, work/troot/parked, work/troot/index
  Fd lock_upper, lock_work;  ///< hold the flocks
  std::atomic<std::uint64_t> stage_counter{0};
};

/// Descriptors that are kept open, and what closes those that nobody used of late.
struct Descriptors {
  explicit Descriptors(const Config& config)
      : dirs(config.cached_dirs), files(config.cached_files) {}

  FdCache dirs, files;
  FdAger ager{dirs, files};
};

/// Objects with several names that the kernel knows (fusefs/tree/hard_links.h).
struct LinkedInodes {
  Mutex mutex;
  std::unordered_map<LinkKey, Inode*, LinkKeyHash> table GUARDED_BY(mutex);
  /// How many of them left that lay in the upper. Who looked at a disk where one of them may have
  /// been at work meanwhile looks again. Written under the mutex.
  std::atomic<std::uint64_t> departures{0};
  /// Held while what is left of an object with several names goes, and it is settled whether it
  /// was the last.
  SmallMutex discard;
};

/// What Overlay::stats tells. Each counts by itself.
struct Counts {
  std::atomic<std::uint64_t> parked{0}, copied_up{0}, names{0};
  std::uint64_t recovered = 0, counted = 0;  ///< objects, when the mount was made; constant after
};

struct State {
  explicit State(Config config) : layout(std::move(config)), fds(layout.config) {}

  Layout layout;
  WorkDir work;
  Descriptors fds;
  LinkedInodes linked;
  Counts counts;

  // Each of these locks for itself.
  LinkStore links;
  Complaints complaints;
  InodeTable inodes;
  OwnReader own;
  Streams streams;
  WritebackAhead ahead;

  // There once the layers are open; constant after.
  std::unique_ptr<Numbers> numbers;  ///< st_ino
  std::unique_ptr<quota::Quota> quota;
  Inode* root = nullptr;
  std::function<void(NodeId)> stale;  ///< Overlay::on_stale
  bool closed = false;                ///< by the one who opened

  std::atomic<dev_t> hidden_device{0};  ///< Overlay::hide_device
  std::atomic<bool> checks_cancelled{false};
  std::atomic<bool> cannot_clone{false};  ///< the upper's file system has no reflinks

  /// Every operation of the facade is inside it; shut while a snapshot moves everything.
  Gate gate;
  std::mutex sealing;  ///< one snapshot at a time; before the gate

  /// Shared by every operation that changes names; alone by one that moves a directory or works on
  /// two directories.
  std::shared_mutex rename;
};

/// How long a redirect may be. The kernel could not merge sealed layers, so what lies above them
/// need not keep to its limit.
[[nodiscard]] inline std::size_t longest_redirect(const State& state) {
  return state.layout.config.sealed == 0 ? kMaxRedirect : kLongRedirect;
}

/// The index of hard links of a layer of ours.
[[nodiscard]] inline const Fd& index_of(const State& state, std::uint16_t layer) {
  return layer == kUpper ? state.work.index : state.layout.layers[layer].index;
}

}  // namespace troot::fusefs
