// The charge of the names that an upper directory has on disk (quota/unit.h): whiteouts and hard
// links count like any other. Whoever adds or removes a name there holds one of these around it.
//
// Growth is charged before the name is made and taken back where it is not kept, so that two who
// add names to one directory side by side never pass the limit together. A removal frees what it
// frees once it is done, and never fails for quota (rule 5).
//
// ext4 never takes blocks from a directory, and XFS only whole ones: who makes many names, removes
// them and begins in the next directory would keep the disk for one page each. There a directory is
// charged its size where that is more, which is asked after each change.
//
// A directory that was changed is named in the journal, so that after a kill its names are counted
// again.
#pragma once

#include "fusefs/tree/state.h"
#include "fusefs/upper/intent.h"

namespace troot::fusefs {

class NameCharge {
 public:
  explicit NameCharge(State& state) : state_(state) {}
  ~NameCharge();
  NameCharge(const NameCharge&) = delete;
  NameCharge& operator=(const NameCharge&) = delete;

  /// The bytes of the unit that a name of this text counts.
  [[nodiscard]] static std::int64_t of(std::string_view name) {
    return static_cast<std::int64_t>(name.size()) + quota::kNameBytes;
  }
  /// What the end of a shown name changes: it goes, or a whiteout takes its place.
  [[nodiscard]] static std::int64_t of_removal(const Name* name);

  /// `bytes` more, or fewer, of names in `dir`, which lies in the upper. Takes loc of `dir`,
  /// shared, and DirData::charge. EDQUOT as `ask` has it. Once for each object of this class.
  [[nodiscard]] Status hold(Intent& intent, Inode* dir, std::int64_t bytes, quota::Ask ask);
  /// The same for a caller that holds loc of `dir`.
  [[nodiscard]] Status hold_held(Intent& intent, Inode* dir, std::int64_t bytes, quota::Ask ask,
                                 const LocHeld& loc);
  /// The names were changed on disk.
  void keep() noexcept;

 private:
  [[nodiscard]] Status apply(std::int64_t bytes, quota::Ask ask);

  State& state_;
  FdHandle fd_;  ///< of the directory, where its size is charged; else null
  Inode* dir_ = nullptr;
  std::int64_t bytes_ = 0;
  bool kept_ = true;
};

}  // namespace troot::fusefs
