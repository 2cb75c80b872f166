// A union whose upper is sealed now and then, and that is mounted again with what was.
#pragma once

#include "fusefs/base/posix.h"
#include "unit/overlay/union_fixture.h"

namespace troot::tests {

struct SealFixture : Fixture {
  int layers = 0;

  SealFixture() = default;
  explicit SealFixture(const std::string& path) : Fixture(path) {}
  ~SealFixture() { posix::set_hook({}); }
  SealFixture(const SealFixture&) = delete;
  SealFixture& operator=(const SealFixture&) = delete;
  std::string next_layer() { return dir.make("layer" + std::to_string(++layers)); }
  /// What the next open is told.
  void add_layer(const std::string& layer) {
    config.lowers.insert(config.lowers.begin(), layer + "/tree");
    ++config.sealed;
    config.charges.push_back(layer + "/charges");
  }
  std::string seal() {
    const std::string layer = next_layer();
    const auto sealed = overlay->snapshot(layer);
    if (!sealed) FAIL(sealed.error().message);
    add_layer(layer);
    return layer;
  }
  NodeId file(const std::string& name, const std::string& text) {
    const NodeId node = create(kRootId, name);
    REQUIRE(write(node, 0, text));
    return node;
  }
  void truncate(NodeId node, off_t size) {
    SetAttr set;
    set.size = size;
    REQUIRE(overlay->setattr(caller, node, set));
  }
};

}  // namespace troot::tests
