// One thread's own directory: random operations with an exact model of the answers,
// while the other threads work beside it in the same union.
#pragma once

#include "model/tree_user.h"

namespace troot::tests {

class PrivateTree : public TreeUser {
 public:
  /// `root`: what lies in the lowers as the directory `name` of the union's root. `projects`: the
  /// first of four ids that nobody else uses.
  PrivateTree(std::uint64_t seed, Progress& progress, std::string name, NodePtr root,
              std::uint32_t projects)
      : TreeUser(seed, progress, std::move(root), Powers::kOwner, projects),
        name_(std::move(name)) {}

  /// After the union was opened: knows the root alone.
  void open(Overlay& overlay) {
    overlay_ = &overlay;
    known_.clear();
    for_each(*root_, [](Node& n) { n.lookups = 0; });
    const auto e = overlay_->lookup(kRootId, name_);
    must(e.has_value(), "the thread's own directory is not there");
    learn(root_, *e);
  }
  /// Compares everything, then gives every lookup back.
  void close() {
    compare();
    for (const NodePtr& node : std::vector<NodePtr>(known_)) give_back(node, node->lookups);
  }

 private:
  const std::string name_;
};

}  // namespace troot::tests
