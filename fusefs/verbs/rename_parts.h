// One rename under way; for the two files of Rename alone. rename_prepare.cc finds both ends,
// brings them into the upper and says whether it may be; rename.cc does it, on disk and in memory.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "fusefs/tree/birth.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/name_charge.h"
#include "fusefs/upper/release.h"
#include "fusefs/upper/whiteout.h"

namespace troot::fusefs {

/// One end of a rename: a directory and a name in it.
struct End {
  Inode* dir = nullptr;
  std::string_view text;
  Name* name = nullptr;    ///< in the table; null: no such name (not even a whiteout)
  Inode* inode = nullptr;  ///< pinned by a lookup; null: nothing is shown there
  FdHandle fd;
  /// Something of a lower layer lies beneath.
  [[nodiscard]] bool below() const { return name != nullptr && name->covers(); }
  [[nodiscard]] bool whiteout() const { return name != nullptr && name->whiteout(); }
};

/// Both ends' loc, alone. Renames within two directories run side by side, and hard links may make
/// them meet at the same two inodes: the order is that of the slots.
class LocPair {
 public:
  /// `b`: null, or another one.
  LocPair(Inode* a, Inode* b)
      : first_(b != nullptr && b->slot < a->slot ? b : a),
        second_(b != nullptr && b->slot < a->slot ? a : b) {}
  /// The one of `inode`, which is of the pair.
  [[nodiscard]] const LocAlone& of(const Inode* inode) const {
    return first_.is_of(inode) ? first_ : second_;
  }

 private:
  LocAlone first_, second_;
};

class Rename {
 public:
  Rename(State& state, const Caller& caller, unsigned flags)
      : state_(state),
        caller_(caller),
        exchange_(flags & RENAME_EXCHANGE),
        noreplace_(flags & RENAME_NOREPLACE) {}
  ~Rename() {
    drop_lookups();
    if (old_parent_ != nullptr) unref(state_, old_parent_, Inode::kPin);
    if (old_parent2_ != nullptr) unref(state_, old_parent2_, Inode::kPin);
  }
  Rename(const Rename&) = delete;
  Rename& operator=(const Rename&) = delete;

  Status run(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name);

 private:
  Status prepare();
  Status commit(bool alone);
  [[nodiscard]] bool moves_dir() const {
    return (from_.inode != nullptr && from_.inode->is_dir()) ||
           (to_.inode != nullptr && to_.inode->is_dir());
  }
  Status look(End& end);
  Status fit_links(End& end);
  Status fit_data(const End& end);
  Status check();
  Status check_project(const End& into, Inode* moved);
  Status check_victim();
  Status move();
  Status swap();
  Result<std::string> redirect_for(const std::string& path, Inode* parent);
  Status swap_places();
  Status fit_dir(Inode* dir, const End& at);
  Status clear_victim();
  Status charge_names(Intent& intent, NameCharge& gains, NameCharge& loses);
  Result<bool> move_on_disk(const LocPair& locs);
  [[nodiscard]] Target target() const;
  void move_in_memory(bool whiteout_left);
  void drop_lookups() {
    for (End* end : {&from_, &to_}) {
      if (end->inode != nullptr) unref(state_, end->inode, 1);
      end->inode = nullptr;
    }
  }

  State& state_;
  const Caller& caller_;
  const bool exchange_, noreplace_;
  End from_, to_;
  Inode* old_parent_ = nullptr;  ///< lost a child: unpinned when no lock is held any more
  Inode* old_parent2_ = nullptr;
};

}  // namespace troot::fusefs
