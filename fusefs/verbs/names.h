// A name as an operation takes it: whether it may be one, and one that is to be.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// ENOENT for an empty name, ENAMETOOLONG for one over NAME_MAX.
[[nodiscard]] Status check_name(std::string_view name);

/// A name that is to be: in the table from the start, out of it again unless it is kept. The names
/// of the directory are locked alone while it lives.
class NewName {
 public:
  NewName(State& state, Inode* dir) : state_(state), dir_(dir) {}
  ~NewName();
  NewName(const NewName&) = delete;
  NewName& operator=(const NewName&) = delete;
  /// EEXIST: something is shown there.
  [[nodiscard]] Status open(std::string_view text);
  [[nodiscard]] Name* get() const { return name_; }
  /// What it adds to the names on disk: nothing in the place of a whiteout.
  [[nodiscard]] std::int64_t growth() const;
  /// An object of the upper with this type has the name from now on.
  void keep(mode_t mode);

 private:
  State& state_;
  Inode* dir_;
  Name* name_ = nullptr;
  Name* fresh_ = nullptr;
};

}  // namespace troot::fusefs
