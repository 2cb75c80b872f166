// An object under construction in work/troot/stage. It is removed unless it is
// published by a rename.
#pragma once

#include <cstdio>

#include "fusefs/base/remove_tree.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

class Staged {
 public:
  explicit Staged(State& state) : state_(state) {
    std::snprintf(name_, sizeof name_, "%llx",
                  static_cast<unsigned long long>(
                      state.work.stage_counter.fetch_add(1, std::memory_order_relaxed)));
  }
  Staged(const Staged&) = delete;
  Staged& operator=(const Staged&) = delete;
  ~Staged() {
    if (!made_) return;
    if (record_) state_.links.erase(*record_);
    remove_tree(state_.work.stage.get(), name_);
  }
  [[nodiscard]] int dirfd() const { return state_.work.stage.get(); }
  [[nodiscard]] const char* name() const { return name_; }
  /// It exists now: the destructor has something to remove.
  void made() { made_ = true; }
  /// It went elsewhere by another way: there is nothing to remove.
  void published() { made_ = false; }
  /// It is a symlink that may get a record in the store of links: that goes with it.
  void has_record(const quota::InodeKey& key) { record_ = key; }
  /// Moves it to its place. With RENAME_EXCHANGE, what was there is staged now, and removed with
  /// this.
  [[nodiscard]] Status publish(int dirfd, const char* name, unsigned flags) {
    CHECK_OK(posix::rename(state_.work.stage.get(), name_, dirfd, name, flags));
    if ((flags & RENAME_EXCHANGE) == 0) made_ = false;
    return {};
  }

 private:
  State& state_;
  char name_[20];
  bool made_ = false;
  std::optional<quota::InodeKey> record_;
};

}  // namespace troot::fusefs
