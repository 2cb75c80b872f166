// What owns it: what the parts of the union share: the layers, the inodes, the caches, and the
// functions through which one concern uses another. Private to fusefs; the outside sees
// fusefs/overlay.h.
//
// Words in the comments: "holds loc" means that the caller has Inode::loc, shared or alone;
// "pinned" that it has a lookup or a pin, so that the inode cannot go away. docs/LOCKING.md has the
// order.
#pragma once

#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "fusefs/complaints.h"
#include "fusefs/fd_ager.h"
#include "fusefs/fd_cache.h"
#include "fusefs/ids.h"
#include "fusefs/inode.h"
#include "fusefs/link_store.h"
#include "fusefs/numbers.h"
#include "fusefs/overlay.h"
#include "fusefs/own_reader.h"
#include "fusefs/posix.h"
#include "fusefs/space.h"
#include "fusefs/streams.h"
#include "fusefs/writeback_ahead.h"
#include "quota/mutex.h"
#include "quota/unit.h"

namespace troot::fusefs {

using Core = Overlay::Core;

struct Layer {
  std::string path;
  FdHandle root;  ///< O_PATH; null for the upper of a read-only mount
  dev_t dev = 0;
  std::uint64_t mount = 0;  ///< of its root (STATX_MNT_ID); 0: the kernel does not say
  /// Not 0: it shows objects that a layer above it may show too, at another place.
  std::uint64_t apart = 0;
  /// Its root says that it has whiteouts in the form of xattrs, though nothing lies below it.
  bool xattr_whiteouts = false;
  bool overridden = false;  ///< its objects are shown as their override_stat says
};

/// What a whiteout is that the union makes.
enum class WhiteoutForm {
  kDevice,  ///< a character device 0/0
  kXattr    ///< an empty file with an xattr, where the other may not be made
};

/// An object as a directory descriptor and one name in it ("." for a directory itself).
struct Where {
  FdHandle dir;
  CName name;
  [[nodiscard]] int fd() const { return dir->get(); }
  [[nodiscard]] const char* text() const { return name.get(); }
};

/// Objects that are never shown: layers of our own and mounts that must not be entered.
struct Hidden {
  dev_t dev;  ///< of the object, or of the directory that has the name
  std::uint64_t ino;
  std::string name;  ///< empty: dev and ino are the object's own
};

struct Overlay::Core {
  Config config;
  XattrNames x;
  Ids ids;
  uid_t disk_uid = 0;  ///< owner of what the server makes
  gid_t disk_gid = 0;
  std::vector<Layer> layers;  ///< [0] is the upper
  Fd stage, parked, index;    ///< work/troot/stage, work/troot/parked, work/troot/index
  Fd lock_upper, lock_work;   ///< hold the flocks
  LinkStore links;
  Complaints complaints;
  InodeTable inodes;
  std::unique_ptr<Numbers> numbers;  ///< st_ino; there once the layers are open
  FdCache dirs, files;
  FdAger ager{dirs, files};
  OwnReader own;
  Streams streams;
  WritebackAhead ahead;
  std::unique_ptr<quota::Quota> quota;
  std::vector<Hidden> hidden;
  std::atomic<dev_t> hidden_device{0};
  Inode* root = nullptr;
  bool read_only = false;
  SpaceKind space = SpaceKind::kAsked;  ///< what the upper's file system says of allocation
  /// Directories of the upper's file system keep blocks that their names do not fill: their size
  /// says what they hold, and is charged.
  bool sized_dirs = false;
  WhiteoutForm whiteouts = WhiteoutForm::kDevice;
  bool closed = false;
  std::atomic<bool> checks_cancelled{false};
  std::uint64_t recovered = 0, counted = 0;  ///< objects, when the mount was made
  std::function<void(NodeId)> stale;         ///< Overlay::on_stale

  /// Shared by every operation that changes names; alone by one that moves a directory or works on
  /// two directories.
  std::shared_mutex rename;
  std::atomic<std::uint64_t> stage_counter{0};
  std::atomic<bool> cannot_clone{false};  ///< the upper's file system has no reflinks
  std::atomic<std::uint64_t> parked_count{0}, copied_up{0}, name_count{0};

  /// Held while what is left of an object with several names goes, and it is settled whether it
  /// was the last.
  SmallMutex discard_linked;
  Mutex linked_mutex;
  /// Objects with several names that the kernel knows.
  std::unordered_map<LinkKey, Inode*, LinkKeyHash> linked GUARDED_BY(linked_mutex);
  /// How many of them left that lay in the upper. Who looked at a disk where one of them may have
  /// been at work meanwhile looks again.
  std::atomic<std::uint64_t> linked_departures{0};  ///< written under linked_mutex

  explicit Core(Config c)
      : config(std::move(c)),
        x(config.xattr_space),
        ids(config),
        dirs(config.cached_dirs),
        files(config.cached_files) {}
};

// ---- resolve.cc: from inodes to descriptors
// -------------------------------------------------------
/// The inode of a node id; ESTALE.
[[nodiscard]] Result<Inode*> find(Core& core, NodeId id);
/// A directory's O_PATH descriptor in one of its layers. Takes loc of it and of its ancestors,
/// shared.
[[nodiscard]] Result<FdHandle> dir_fd(Core& core, Inode* dir, std::uint16_t layer);
/// The same for a caller that holds loc of `dir`.
[[nodiscard]] Result<FdHandle> dir_fd_held(Core& core, Inode* dir, std::uint16_t layer);
/// As posix::open_at, or for reading posix::open_noatime, of an object of a lower layer; what the
/// server's user owns is opened whatever its mode says. Of an upper one too, where ownership is
/// native.
[[nodiscard]] Result<Fd> open_own(Core& core, int dirfd, const char* name, int flags);
/// A descriptor of an object by its name in the part of `dir`, `fd`, that a lower layer has, where
/// the server's user may not search it, though it is his. Null: he may; the name does.
[[nodiscard]] Result<FdHandle> behind_closed(Core& core, Inode* dir, std::uint16_t layer,
                                             const FdHandle& fd, const char* name);
/// The same by the directory alone.
[[nodiscard]] Result<FdHandle> closed_object(Core& core, const FdHandle& fd, const char* name);
/// A directory of one lower layer by its path from the layer's root, one component at a time,
/// following no symlink.
[[nodiscard]] Result<FdHandle> walk_layer(Core& core, std::uint16_t layer, const std::string& path);
/// The path from its root at which a lower layer that has `dir` has it. Takes loc of it and its
/// ancestors, shared.
[[nodiscard]] std::string place_in(Core& core, Inode* dir, std::uint16_t layer);
/// The path at which the layers below the upper, merged, show the lower parts of `dir`: what a
/// redirect says. Locks as place_in.
[[nodiscard]] std::string merged_path(Core& core, Inode* dir);
/// Where the topmost object of `inode` is. The caller holds loc.
[[nodiscard]] Result<Where> where(Core& core, Inode* inode);
/// A descriptor for data: O_RDWR of an upper file, O_RDONLY where the data is in a lower layer. The
/// caller holds loc.
[[nodiscard]] Result<FdHandle> file_fd(Core& core, Inode* inode);
/// The layer that has a file's data. The caller holds loc.
[[nodiscard]] std::uint16_t data_layer(Inode* inode);
/// The number a file is parked under.
[[nodiscard]] CName parked_name(const Inode* inode);

// ---- lookup.cc: the merge rule
// ------------------------------------------------------------------
/// Lists every layer of `dir` into its table. The caller holds dir->dir->lock alone.
[[nodiscard]] Status load_names(Core& core, Inode* dir);
/// Locks a directory's names, alone or shared, after making sure that they are loaded. On failure
/// nothing is locked.
[[nodiscard]] Status lock_loaded(Core& core, Inode* dir);
[[nodiscard]] Status lock_loaded_shared(Core& core, Inode* dir);
[[nodiscard]] bool is_hidden(const Core& core, dev_t dev, std::uint64_t ino);
[[nodiscard]] dev_t device_of(const struct statx& sx);

// ---- life.cc
// ------------------------------------------------------------------------------------
/// The inode behind a shown name, made if need be, with one more lookup counted. The caller holds
/// the directory's lock. ENOENT: a whiteout, hidden, or gone below. `sx`, if given, is filled when
/// the object was looked at.
[[nodiscard]] Result<Inode*> instantiate(Core& core, Inode* dir, Name* name,
                                         std::optional<struct statx>* sx);
/// Whether a name was listed in a lower layer that no longer has it: it is not shown, and is not in
/// the way of a new one. The caller holds the directory's lock alone.
[[nodiscard]] bool is_gone_below(Core& core, Inode* dir, const Name* name);
/// An inode for an object just made in the upper; one lookup counted. The caller holds the
/// directory's lock alone.
[[nodiscard]] Inode* adopt(Core& core, Inode* dir, Name* name, mode_t type, const struct statx& sx);
/// What would be made of an object if it were met now: an inode that nobody knows. The caller has
/// the directory's lock, and gives it back to core.inodes.
[[nodiscard]] Result<Inode*> sketch(Core& core, Inode* dir, const Name* name, std::uint16_t layer,
                                    const Where& at, const struct statx& sx);
/// Takes an inode out of the table of links: other names of its object will not find it.
void forget_links(Core& core, Inode* inode);
[[nodiscard]] LinkKey link_key(const struct statx& sx);
/// The object is found under this key too from now on; at most two.
void add_link_key(Core& core, Inode* inode, const LinkKey& key);
void pin(Inode* inode) noexcept;
/// Takes `amount` off the references and ends the inode when none is left. Takes locks of parents.
void unref(Core& core, Inode* inode, std::uint64_t amount) noexcept;
/// st_ino of an object of a layer, found as `name` in `dirfd`.
[[nodiscard]] std::uint64_t presented_ino(Core& core, std::uint16_t layer, const struct statx& sx,
                                          int dirfd, const char* name);
/// Whether an object of a lower layer lies in another mount than the layer's root.
[[nodiscard]] bool is_foreign(const Core& core, std::uint16_t layer, const struct statx& sx);
/// The flags that the xattrs of an object of a layer give its inode.
[[nodiscard]] std::uint32_t xattr_flags(const Core& core, const std::string& list,
                                        std::uint16_t layer);
/// Cuts the name loose from its table: the inode owns it from now on. Leaves a whiteout's name in
/// its place if something lies below. The caller holds the directory's lock and the inode's loc
/// alone.
void detach(Core& core, Inode* dir, Name* name, Inode* inode);

// ---- attr.cc: what stat(2) shows and what a new object gets
// --------------------------------------
[[nodiscard]] Result<struct stat> attr(Core& core, Inode* inode);
/// The same from a statx at hand. The caller holds loc.
[[nodiscard]] Result<struct stat> attr_held(Core& core, Inode* inode, const Where& at,
                                            const struct statx& sx);
/// Owner and mode as kept, before squashing. The caller holds loc.
[[nodiscard]] Result<Override> owner_of(Core& core, Inode* inode, const Where& at,
                                        const struct statx& sx);
/// The override_stat of an object of a layer. ENODATA: it has none.
[[nodiscard]] Result<std::string> get_override(int dirfd, const char* name, std::uint16_t layer);
/// Gives an upper object owner and mode. `had`: it has an override_stat. Returns whether it has one
/// now.
[[nodiscard]] Result<bool> set_owner(Core& core, int dirfd, const char* name,
                                     const struct statx& sx, const Override& want, bool had);
/// Owner and mode after a change of attributes, with the loss of privileges that goes with some.
[[nodiscard]] Override owner_after(Override owner, const SetAttr& set);
[[nodiscard]] quota::InodeKey key_of(const struct statx& sx);
/// Whether a lower file that we may not read passes for an empty one. Not a program: a shell would
/// run it and call that success.
[[nodiscard]] bool is_shown_empty(const Core& core, const Inode* inode);
/// st_blocks of a lower object: its data's pages. Never 0 where there is data, since archivers take
/// that for a hole.
[[nodiscard]] blkcnt_t lower_blocks(const struct statx& sx);

// ---- account.cc: what objects are charged
// --------------------------------------------------------
struct Examined {
  Account account;
  off_t size = 0;
  std::int64_t name_bytes = 0;  ///< of a directory: what its names count
  std::int64_t disk_bytes = 0;  ///< of a directory: what its size counts, where that is charged
  std::vector<PageRange> preallocated;
  std::uint32_t flags = 0;  ///< Inode::Flag bits
};
/// Looks at one upper object: its charge by the unit, its project. What a recount and a first use
/// both ask.
[[nodiscard]] Result<Examined> examine(Core& core, int dirfd, const char* name,
                                       const struct statx& sx);
/// What guards the account of an upper object: FileData::io, DirData::charge.
[[nodiscard]] SmallMutex& account_lock(Inode* inode);
/// The account of an upper object, loaded. The caller holds loc, then account_lock.
[[nodiscard]] Result<Account*> account_held(Core& core, Inode* inode);
/// The FileData of an upper object that is not a directory, made if need be.
[[nodiscard]] FileData& file_data(Inode* inode);
/// The charge of the user's xattrs of an object. `upper`: whether ours are escaped there.
[[nodiscard]] Result<std::int64_t> user_xattr_bytes(Core& core, int dirfd, const char* name,
                                                    const std::string& list);
/// The project that a child of `dir` gets (quota.md rule 1). Takes loc of dir, shared. The
/// directory is in the upper.
[[nodiscard]] Result<ProjectAttr> inherited(Core& core, Inode* dir);
/// Tells the ledger of the account as it is now.
void record(Core& core, const Account& account);
[[nodiscard]] Result<quota::Reservation> reserve(Core& core, quota::ProjId project,
                                                 quota::Usage usage,
                                                 quota::Enforce how = quota::Enforce::kLimits);

// ---- staging.h, copy_up.cc
// ------------------------------------------------------------------------
/// What a copy-up must bring along.
enum class Bring {
  kAll,
  kMetadata  ///< the data may stay below (metacopy)
};
/// A change of owner, mode or times that a copy-up makes before it publishes the object, so that
/// both are seen at once.
struct Along {
  const SetAttr& set;
  bool done = false;  ///< set by a copy-up that made it; else it is still to be made
};
struct CopyUp {
  off_t keep = INT64_MAX;  ///< of the data, bytes from the start; a truncation needs no more
  quota::Enforce enforce = quota::Enforce::kLimits;
  Bring bring = Bring::kAll;
  Along* along = nullptr;
};
inline constexpr CopyUp kMetadataOnly{INT64_MAX, quota::Enforce::kLimits, Bring::kMetadata,
                                      nullptr};
inline constexpr CopyUp kForcedMetadata{INT64_MAX, quota::Enforce::kForce, Bring::kMetadata,
                                        nullptr};
/// Brings the object and its ancestors into the upper. The caller holds no lock; `inode` is pinned.
[[nodiscard]] Status ensure_upper(Core& core, const Caller& caller, Inode* inode,
                                  const CopyUp& how = {});
/// A directory and its ancestors, charged by force: what an unlink needs.
[[nodiscard]] Status ensure_upper_dir(Core& core, Inode* dir, quota::Enforce how);

// ---- xattr.cc
// ------------------------------------------------------------------------------------
/// The name on disk of an xattr that a user names; nullopt: one that may not be.
[[nodiscard]] std::optional<std::string> xattr_to_disk(const Core& core, std::string_view shown);
/// The name shown for one on disk; nullopt: ours, hidden.
[[nodiscard]] std::optional<std::string> xattr_from_disk(const Core& core, std::string_view disk,
                                                         std::uint16_t layer);
/// The names of the xattrs of a lower object, as list_xattr has them; empty if none of them is
/// shown. The caller holds loc.
[[nodiscard]] Result<std::string> lower_xattrs(Core& core, Inode* inode, const Where& at);
/// Copies the shown ones of `list`, of a lower object, to an object in the stage. Returns the bytes
/// they count for.
[[nodiscard]] Result<std::int64_t> copy_xattrs(Core& core, const Where& from,
                                               const std::string& list, std::uint16_t layer,
                                               int to_dirfd, const char* to);

// ---- remove.cc
// -----------------------------------------------------------------------------------
/// Removes the parked object of an inode that nobody references any more, and its charge.
void discard_parked(Core& core, Inode* inode) noexcept;
/// Empties a directory of whiteouts and removes it. Best effort: what is left is cleaned at the
/// next mount.
void remove_tree(int dirfd, const char* name) noexcept;

// ---- file.cc
// -------------------------------------------------------------------------------------
/// Changes the size of an upper file. The caller holds loc shared and FileData::io.
[[nodiscard]] Status truncate_held(Core& core, Inode* inode, FileData& data, off_t size);
/// Marks an upper file as sparse on disk before it becomes so; from then on it is charged what the
/// disk says. The caller holds FileData::io and loc.
[[nodiscard]] Status mark_sparse(Core& core, Inode* inode, FileData& data);
/// Growth of an upper file by writing [offset, offset + length): reserves, trims, runs `put`,
/// settles.
enum class Leaves { kData, kHoles };
struct Growing {
  off_t offset = 0;
  std::size_t length = 0;
  quota::Enforce how = quota::Enforce::kLimits;
  Leaves leaves = Leaves::kData;  ///< kHoles: what is put may have some, so the disk is asked
};
using Put = std::function<Result<std::size_t>(int fd, off_t offset, std::size_t length)>;
[[nodiscard]] Result<std::size_t> grow(Core& core, Inode* inode, const Growing& growing,
                                       const Put& put);

}  // namespace troot::fusefs
