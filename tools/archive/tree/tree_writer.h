// Makes the objects of a tree in the upper's format: by descriptors, below one root, over what
// earlier entries made. The last entry of a name wins.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tools/archive/tar/entry.h"
#include "tools/archive/tree/dir_chain.h"
#include "tools/archive/tree/unpack.h"
#include "tools/archive/tree/xattr_names.h"

namespace troot::archive {

/// Not thread-safe. Problems have no name in front: the caller knows the entry's.
class TreeWriter {
 public:
  using Names = std::vector<std::string_view>;
  TreeWriter(int root, const UnpackOptions& options, Unpacked& result);

  /// The directory that `names` but the last lead to, made where there is none. Good until the next
  /// call of any of these.
  [[nodiscard]] cli::Outcome<int> parent_of(const Names& names);
  /// Counts what the tree cannot say of the entry.
  void leave_out(std::uint64_t& count, const Entry& entry, const char* what);
  [[nodiscard]] cli::Done directory(const Names& names, const Entry& entry);
  /// A file to be written to; end it with seal().
  [[nodiscard]] cli::Outcome<Fd> file(int parent, const Names& names);
  [[nodiscard]] cli::Done seal(int parent, const Names& names, const Entry& entry);
  [[nodiscard]] cli::Done symlink(int parent, const Names& names, const Entry& entry);
  [[nodiscard]] cli::Done hard_link(const Names& names, const Names& target);
  /// A fifo or a device.
  [[nodiscard]] cli::Done node(int parent, const Names& names, const Entry& entry);
  /// `name` lies below no more: `names` with this last name in place of the entry's.
  [[nodiscard]] cli::Done whiteout(int parent, const Names& names);
  /// Nothing below the directory shows: the parent of `names`.
  [[nodiscard]] cli::Done opaque(int parent, const Names& names);
  /// Times of directories, which later entries would change.
  [[nodiscard]] cli::Done finish();
  /// Takes away all that was made.
  void undo() noexcept;

 private:
  /// The directory `way`, which is not there, for what lies in it.
  [[nodiscard]] cli::Done make_way(int parent, const Names& way);
  enum class Was { kNothing, kDirectory, kOther };
  /// Takes away what is there under the last name, but a directory where one is to come.
  [[nodiscard]] cli::Outcome<Was> clear(int parent, const Names& names, Kind to_come);
  /// Makes an object by `make_it`, a Status, in the place of what is there. What was there.
  template <typename Make>
  [[nodiscard]] cli::Outcome<Was> make(int parent, const Names& names, Kind kind,
                                       const Make& make_it);
  [[nodiscard]] cli::Done new_directory(int parent, const Names& names);
  [[nodiscard]] cli::Done drop_xattrs(int parent, const char* name);
  [[nodiscard]] cli::Done dress(int parent, const char* name, const Entry& entry);
  [[nodiscard]] cli::Done set_xattrs(int parent, const char* name, const Entry& entry);
  [[nodiscard]] cli::Done set_owner(int parent, const char* name, const Entry& entry);
  [[nodiscard]] cli::Done mark(int parent, const char* name, const char* value);
  [[nodiscard]] bool link_whiteout(int parent, const char* name);
  [[nodiscard]] bool is_whiteout(int parent, const char* name, const struct statx& sx) const;

  int root_;
  const UnpackOptions& options_;
  Unpacked& result_;
  TreeXattrs xattrs_;
  DirChain dirs_, targets_;
  /// A name of the object that all whiteouts are names of.
  std::vector<std::string> whiteout_;
  std::uint64_t whiteout_ino_ = 0;
  std::map<std::string, timespec> times_;  ///< of directories, by path
};

}  // namespace troot::archive
