// A directory of the store in which something is made, and that goes unless it was published.
#pragma once

#include "tools/troot/world/layers.h"
#include "tools/troot/world/removal.h"

namespace troot::cli {

/// Takes what Layers::begin() made away again. Not thread-safe.
class Beside {
 public:
  explicit Beside(Layer layer) : layer_(std::move(layer)) {}
  ~Beside() {
    // Best effort: the next command sweeps it.
    if (!published_) static_cast<void>(remove_directory(layer_.path()));
  }
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;
  [[nodiscard]] const Layer& layer() const { return layer_; }
  void keep() { published_ = true; }

 private:
  Layer layer_;
  bool published_ = false;
};

}  // namespace troot::cli
