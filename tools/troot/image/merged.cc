// Walks a union without a mount, a directory after the other.
#include "tools/troot/image/merged.h"

#include <algorithm>

namespace troot::cli {
namespace {

struct Level {
  UnionNode node;
  std::string path;  ///< with a slash at its end; empty: the root
  std::vector<std::string> names;
  std::size_t next = 0;
};

class Merging {
 public:
  Merging(fusefs::Overlay& overlay, archive::Sink& sink, const MergedOptions& options)
      : overlay_(overlay),
        options_(options),
        writer_(overlay, sink, options.meant, options.progress) {}

  [[nodiscard]] Outcome<archive::Packed> run();

 private:
  [[nodiscard]] Done step();
  [[nodiscard]] Done enter(UnionNode node, std::string path);
  [[nodiscard]] bool is_hollow(const std::string& path) const {
    return std::find(options_.hollow.begin(), options_.hollow.end(), path) != options_.hollow.end();
  }

  fusefs::Overlay& overlay_;
  const MergedOptions& options_;
  UnionWriter writer_;
  std::vector<Level> levels_;
};

Outcome<archive::Packed> Merging::run() {
  TAKE(root, UnionNode::root(overlay_));
  NEED(writer_.put_root(root));
  NEED(enter(std::move(root), ""));
  while (!levels_.empty()) {
    if (levels_.back().next == levels_.back().names.size()) {
      levels_.pop_back();
    } else {
      NEED(step());
    }
  }
  return writer_.finish();
}

Done Merging::enter(UnionNode node, std::string path) {
  TAKE(names, node.names(path));
  levels_.push_back({std::move(node), std::move(path), std::move(names)});
  return {};
}

Done Merging::step() {
  Level& level = levels_.back();
  const std::string name = level.names[level.next++];
  const std::string path = level.path + name;
  if (path == options_.without) return {};
  TAKE(node, UnionNode::find(overlay_, level.node, name, path));
  TAKE(kind, writer_.put(node, path));
  if (kind != archive::Kind::kDirectory || is_hollow(path)) return {};
  return enter(std::move(node), path + "/");
}

}  // namespace

Outcome<archive::Packed> pack_merged(fusefs::Overlay& overlay, archive::Sink& sink,
                                     const MergedOptions& options) {
  return Merging(overlay, sink, options).run();
}

}  // namespace troot::cli
