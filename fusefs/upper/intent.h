// What an operation says to the ledger's journal before it changes the upper, so that
// the next mount knows where to look after a kill (quota/journal.h).
//
// An Intent is made before the first change and lives until the charge is recorded. It never fails:
// what cannot be said makes the journal incomplete, and then a kill costs a recount.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

class Intent {
 public:
  explicit Intent(State& state)
      : state_(state), change_(state.quota ? state.quota->journal() : nullptr) {}
  /// The charge of an upper object is about to change. The caller holds account_lock, too.
  Intent(State& state, Inode* inode, Account& account, const LocHeld& loc) : Intent(state) {
    touch(inode, account, loc);
  }

  void touch(Inode* inode, Account& account, const LocHeld& loc) {
    if (change_.journal() == nullptr || account.said >= change_.epoch()) return;
    say_touch(inode, account, loc);
  }
  /// An object is about to come to lie at a name of `dir`, which is in the upper. Returns the epoch
  /// for the account of what is made there. The caller holds no loc of `dir` alone.
  quota::Epoch appear(Inode* dir, std::string_view name);
  /// The object `moved`, of the upper, is about to get a new place. Its loc is not held.
  void move(Inode* moved, Inode* dir, std::string_view name);
  /// The directory with this account is about to go from its place.
  void bury(const Account& account, Inode* dir, std::string_view name);
  /// A parked object is about to go.
  void discard(const Account& account);
  /// Another epoch has begun since the last word. What moves or goes is said once more then, so
  /// that nobody is left who said its old place only.
  [[nodiscard]] bool outdated() const {
    return change_.journal() != nullptr && change_.journal()->current() != said_;
  }

 private:
  void say_touch(Inode* inode, Account& account, const LocHeld& loc);
  /// Says where `dir` and its ancestors lie. Returns its key; ino 0: it could not be had.
  quota::InodeKey chain(Inode* dir);
  /// ino 0: it could not be had, and the journal says so.
  quota::InodeKey key_of_dir(Inode* dir, const LocHeld& loc);
  quota::Epoch say(int kind, const quota::InodeKey& key, const quota::InodeKey& dir,
                   std::string_view name);

  State& state_;
  const quota::Change change_;
  quota::Epoch said_ = 0;
};

}  // namespace troot::fusefs
