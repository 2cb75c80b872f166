// The operations that the crash tests cut short and the fault tests make fail, one
// scenario a case of the code: a tree to begin with, what is done to it, and the one operation.
#pragma once

#include <linux/falloc.h>

#include <functional>

#include "model/rig.h"

namespace troot::tests {

/// Speaks in paths to the union of a rig. Every lookup is given back at the end.
class Hand {
 public:
  /// `holds`: whether it looks up, as the kernel always has, what it removes, so that the removed
  /// object is given back only with the hand.
  explicit Hand(Rig& rig, bool holds = true) : rig_(rig), overlay_(*rig.overlay), holds_(holds) {}
  ~Hand() {
    for (const NodeId id : held_) overlay_.forget(id, 1);
  }
  Hand(const Hand&) = delete;
  Hand& operator=(const Hand&) = delete;

  NodeId id(const std::string& path) {
    NodeId at = kRootId;
    std::istringstream parts(path);
    for (std::string part; std::getline(parts, part, '/');) {
      const auto e = overlay_.lookup(at, part);
      if (!e) return 0;
      held_.push_back(at = e->id);
    }
    return at;
  }
  Status keep(Result<Entry> made) {
    if (!made) return fail(made.error());
    held_.push_back(made->id);
    return {};
  }
  Status create(const std::string& path, mode_t mode = S_IFREG | 0644, uid_t uid = ~0U) {
    Caller by = rig_.caller;
    if (uid != ~0U) by.uid = by.gid = uid;
    return keep(overlay_.mknod(by, dir(path), base(path), mode, 0));
  }
  Status mkdir(const std::string& path, uid_t uid = ~0U) {
    Caller by = rig_.caller;
    if (uid != ~0U) by.uid = by.gid = uid;
    return keep(overlay_.mkdir(by, dir(path), base(path), 0755));
  }
  Status symlink(const std::string& path, uid_t uid = ~0U) {
    Caller by = rig_.caller;
    if (uid != ~0U) by.uid = by.gid = uid;
    return keep(overlay_.symlink(by, dir(path), base(path), "some/target"));
  }
  Status link(const std::string& from, const std::string& to) {
    return keep(overlay_.link(Caller{}, id(from), dir(to), base(to)));
  }
  Status unlink(const std::string& path) {
    if (holds_) (void)id(path);
    return overlay_.unlink(dir(path), base(path));
  }
  Status rmdir(const std::string& path) {
    if (holds_) (void)id(path);
    return overlay_.rmdir(dir(path), base(path));
  }
  Status rename(const std::string& from, const std::string& to, unsigned flags = 0) {
    if (holds_) (void)id(to);
    return overlay_.rename(Caller{}, dir(from), base(from), dir(to), base(to), flags);
  }
  Status write(const std::string& path, off_t at, const std::string& text) {
    const auto w = overlay_.write(rig_.caller, id(path), at, std::as_bytes(std::span(text)), {});
    return w ? Status{} : fail(w.error());
  }
  Status set(const std::string& path, const SetAttr& attr) {
    const auto st = overlay_.setattr(rig_.caller, id(path), attr);
    return st ? Status{} : fail(st.error());
  }
  Status allocate(const std::string& path, int mode, off_t at, off_t length) {
    return overlay_.fallocate(rig_.caller, id(path), mode, at, length);
  }
  Status set_xattr(const std::string& path, const std::string& name, const std::string& value) {
    return overlay_.setxattr(rig_.caller, id(path), name, value, 0);
  }
  Status remove_xattr(const std::string& path, const std::string& name) {
    return overlay_.removexattr(rig_.caller, id(path), name);
  }
  Status project(const std::string& path, std::uint32_t project, bool inherit) {
    return overlay_.set_project(rig_.caller, id(path), {quota::ProjId{project}, inherit});
  }

 private:
  static std::string base(const std::string& path) {
    return path.substr(path.rfind('/') == std::string::npos ? 0 : path.rfind('/') + 1);
  }
  NodeId dir(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? kRootId : id(path.substr(0, slash));
  }
  Rig& rig_;
  Overlay& overlay_;
  bool holds_;
  std::vector<NodeId> held_;
};

struct Scenario {
  const char* name;
  std::function<void(Hand&)> before;  ///< through the union; empty: the lower alone
  std::function<Status(Hand&)> act;
  bool blocks = true;  ///< the charge is part of "wholly there or not at all"
};

/// The lower that all scenarios begin with.
void fill_lower(const std::string& lower);
const std::vector<Scenario>& scenarios();

}  // namespace troot::tests
