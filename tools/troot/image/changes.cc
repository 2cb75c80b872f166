// Walks the upper directories and the union side by side.
#include "tools/troot/image/changes.h"

#include <fcntl.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "fusefs/base/posix.h"
#include "tools/archive/tree/dir_chain.h"
#include "tools/archive/tree/entry_path.h"
#include "tools/archive/tree/tree_reader.h"

namespace troot::cli {
namespace {

namespace posix = fusefs::posix;
using archive::TreeReader;

/// One of the upper directories.
struct Upper {
  Fd root;
  std::unique_ptr<archive::DirChain> chain;
};

/// What is said of a directory's content.
enum class Reach {
  kChanges,  ///< what the uppers have of it
  kAll       ///< all that the union shows: nothing of what lies below shows through
};

struct ChangedDir {
  UnionNode node;
  std::string path;  ///< with a slash at its end; empty: the root
  Reach reach = Reach::kAll;
  std::vector<std::size_t> uppers;  ///< kChanges: those that have the directory, topmost first
  std::vector<std::pair<std::string, bool>> names;  ///< in order; true: it is to be hidden
  std::size_t next = 0;
};

class Changes {
 public:
  Changes(fusefs::Overlay& overlay, archive::Sink& sink, const ChangesOptions& options)
      : overlay_(overlay),
        options_(options),
        pack_options_(pack_options(options)),
        reader_(pack_options_),
        writer_(overlay, sink, MeantAs::kLayer, options.progress) {}

  [[nodiscard]] Outcome<archive::Packed> run();

 private:
  /// What the uppers have under a name.
  struct Found {
    bool changed = false;
    Reach reach = Reach::kChanges;
    std::vector<std::size_t> uppers;  ///< those that have a directory there
  };
  static archive::PackOptions pack_options(const ChangesOptions& options) {
    archive::PackOptions pack;
    pack.ownership = options.ownership;
    pack.space = options.space;
    return pack;
  }
  [[nodiscard]] Done open_uppers();
  [[nodiscard]] Done walk();
  [[nodiscard]] Done step(ChangedDir& level);
  [[nodiscard]] Done enter(UnionNode node, std::string path, const Found& found);
  /// Names in an upper that hide what lies below.
  [[nodiscard]] Done add_whiteouts(std::size_t upper, std::map<std::string, bool>& names);
  [[nodiscard]] Found look(const ChangedDir& level, const std::string& name, bool is_directory);
  [[nodiscard]] bool hides_all_below(int dir, const char* name) const;
  [[nodiscard]] TreeReader::Whiteouts whiteouts_in(int dir, const char* name) const {
    return reader_.opaque(dir, name) != 0 ? TreeReader::Whiteouts::kXattrsToo
                                          : TreeReader::Whiteouts::kDevices;
  }
  /// The directory that way_ leads to.
  [[nodiscard]] archive::DirChain::Reached here(std::size_t upper) {
    return uppers_[upper].chain->walk({way_.begin(), way_.end()});
  }
  /// The root's entry comes first, and only where there are others.
  [[nodiscard]] Done begin();
  [[nodiscard]] Done put_directory(const UnionNode& node, const std::string& path);
  /// Names of changed files where no upper has the directory.
  [[nodiscard]] Done put_other_names();
  [[nodiscard]] Done put_if_missing(const std::vector<ChangedDir>& levels, const UnionNode& node,
                                    const std::string& path);

  fusefs::Overlay& overlay_;
  const ChangesOptions& options_;
  const archive::PackOptions pack_options_;
  TreeReader reader_;
  UnionWriter writer_;
  std::vector<Upper> uppers_;
  std::vector<std::string> way_;
  std::vector<ChangedDir> levels_;
  std::set<std::string> directories_;  ///< that were written
  bool begun_ = false;
};

Done Changes::open_uppers() {
  for (const std::string& path : options_.changed) {
    Upper upper{Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)), nullptr};
    if (!upper.root.valid()) return failure_errno(path);
    upper.chain = std::make_unique<archive::DirChain>(upper.root.get());
    uppers_.push_back(std::move(upper));
  }
  return {};
}

Outcome<archive::Packed> Changes::run() {
  NEED(open_uppers());
  TAKE(root, UnionNode::root(overlay_));
  Found all;
  for (std::size_t i = 0; i < uppers_.size(); ++i) all.uppers.push_back(i);
  NEED(enter(std::move(root), "", all));
  NEED(walk());
  NEED(put_other_names());
  return writer_.finish();
}

Done Changes::walk() {
  while (!levels_.empty()) {
    ChangedDir& level = levels_.back();
    if (level.next == level.names.size()) {
      levels_.pop_back();
      if (!way_.empty()) way_.pop_back();
    } else {
      NEED(step(level));
    }
  }
  return {};
}

Done Changes::enter(UnionNode node, std::string path, const Found& found) {
  std::map<std::string, bool> names;
  if (found.reach == Reach::kChanges) {
    for (const std::size_t upper : found.uppers) NEED(add_whiteouts(upper, names));
  }
  TAKE(shown, node.names(path));
  for (std::string& name : shown) names[std::move(name)] = false;
  levels_.push_back(
      {std::move(node), std::move(path), found.reach, found.uppers, {names.begin(), names.end()}});
  return {};
}

Done Changes::add_whiteouts(std::size_t upper, std::map<std::string, bool>& names) {
  const auto reached = here(upper);
  if (reached.error != 0) return failure_errno(options_.changed[upper], reached.error);
  const TreeReader::Whiteouts kind = whiteouts_in(reached.fd, ".");
  const auto dir = posix::open_noatime(reached.fd, ".", O_RDONLY | O_DIRECTORY);
  if (!dir) return failure_errno(options_.changed[upper], dir.error().value());
  const auto listed = posix::list(dir->get(), [&](const fusefs::DirName& d) {
    const std::string name(d.name);
    const auto sx = posix::stat_at(dir->get(), name.c_str());
    if (sx && reader_.is_whiteout(dir->get(), name.c_str(), *sx, kind)) names[name] = true;
    return true;
  });
  if (!listed) return failure_errno(options_.changed[upper], listed.error().value());
  return {};
}

bool Changes::hides_all_below(int dir, const char* name) const {
  const fusefs::XattrNames names(options_.space);
  return reader_.opaque(dir, name) == 'y' ||
         posix::get_xattr(dir, name, names.redirect.c_str()).has_value();
}

Changes::Found Changes::look(const ChangedDir& level, const std::string& name, bool is_directory) {
  Found found;
  for (const std::size_t upper : level.uppers) {
    const auto reached = here(upper);
    if (reached.error != 0) continue;
    const auto sx = posix::stat_at(reached.fd, name.c_str());
    if (!sx) continue;
    found.changed = true;
    const bool directory = S_ISDIR(sx->stx_mode);
    if (directory && is_directory) found.uppers.push_back(upper);
    // What it lies over, this upper's or one's further down, does not show.
    if (!directory || hides_all_below(reached.fd, name.c_str())) {
      found.reach = Reach::kAll;
      break;
    }
  }
  return found;
}

Done Changes::step(ChangedDir& level) {
  const auto [name, hidden] = level.names[level.next++];
  const std::string path = level.path + name;
  if (path == options_.without) return {};
  if (hidden) {
    NEED(begin());
    return writer_.put_mark(level.path + std::string(archive::kWhiteoutPrefix) + name);
  }
  TAKE(node, UnionNode::find(overlay_, level.node, name, path));
  const bool directory = S_ISDIR(node.attr().st_mode);
  Found found{true, Reach::kAll, {}};
  const bool within = level.reach == Reach::kAll;
  if (!within) found = look(level, name, directory);
  if (!found.changed) return {};
  NEED(begin());
  if (!directory) {
    NEED(writer_.put(node, path));
    return {};
  }
  NEED(put_directory(node, path));
  if (!within && found.reach == Reach::kAll)
    NEED(writer_.put_mark(path + "/" + std::string(archive::kOpaqueName)));
  way_.push_back(name);
  return enter(std::move(node), path + "/", found);
}

Done Changes::begin() {
  if (begun_) return {};
  begun_ = true;
  TAKE(root, UnionNode::root(overlay_));
  return writer_.put_root(root);
}

Done Changes::put_directory(const UnionNode& node, const std::string& path) {
  directories_.insert(path);
  NEED(writer_.put(node, path));
  return {};
}

Done Changes::put_other_names() {
  const auto& links = writer_.links();
  if (std::none_of(links.begin(), links.end(),
                   [](const auto& one) { return one.second.names.size() < one.second.all; }))
    return {};
  std::vector<ChangedDir> levels;
  const auto go_in = [&levels](UnionNode node, std::string path) -> Done {
    TAKE(shown, node.names(path));
    std::vector<std::pair<std::string, bool>> names;
    for (std::string& name : shown) names.emplace_back(std::move(name), false);
    levels.push_back({std::move(node), std::move(path), Reach::kAll, {}, std::move(names)});
    return {};
  };
  TAKE(root, UnionNode::root(overlay_));
  NEED(go_in(std::move(root), ""));
  while (!levels.empty()) {
    ChangedDir& level = levels.back();
    if (level.next == level.names.size()) {
      levels.pop_back();
      continue;
    }
    const std::string name = level.names[level.next++].first, path = level.path + name;
    if (path == options_.without) continue;
    TAKE(node, UnionNode::find(overlay_, level.node, name, path));
    if (S_ISDIR(node.attr().st_mode)) {
      NEED(go_in(std::move(node), path + "/"));
    } else if (node.attr().st_nlink > 1) {
      NEED(put_if_missing(levels, node, path));
    }
  }
  return {};
}

Done Changes::put_if_missing(const std::vector<ChangedDir>& levels, const UnionNode& node,
                             const std::string& path) {
  const auto it = writer_.links().find(node.attr().st_ino);
  if (it == writer_.links().end()) return {};
  const auto& names = it->second.names;
  if (std::find(names.begin(), names.end(), path) != names.end()) return {};
  // A directory that no entry stands for would lose its owner and mode.
  for (const ChangedDir& level : levels) {
    const std::string above = level.path.substr(0, level.path.empty() ? 0 : level.path.size() - 1);
    if (!above.empty() && !directories_.contains(above)) NEED(put_directory(level.node, above));
  }
  NEED(writer_.put(node, path));
  return {};
}

}  // namespace

Outcome<archive::Packed> pack_changes(fusefs::Overlay& overlay, archive::Sink& sink,
                                      const ChangesOptions& options) {
  return Changes(overlay, sink, options).run();
}

}  // namespace troot::cli
