// A layer's frame and its tree make its tar.
#include "tools/troot/image/frames.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "tools/archive/tree/frame.h"

namespace troot::cli {

std::string frame_path(const Layer& layer) { return layer.path() + "/frame"; }

Done write_layer_tar(const Layer& layer, archive::Sink& sink) {
  const std::string path = frame_path(layer);
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid() && errno == ENOENT)
    return failure("its layer " + layer.id() + " has no frame, by which it would be the same");
  if (!fd.valid()) return failure_errno(path);
  const Fd tree(::open(layer.tree().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!tree.valid()) return failure_errno(layer.tree());
  TAKE(frame, archive::Source::take(std::move(fd), path, {}));
  if (auto done = archive::rebuild_tar(tree.get(), frame, sink); !done)
    return failure("its layer " + layer.id() + ": " + done.error().text);
  return {};
}

namespace {

/// What a world lists that is made of these layers, from the lowest up: as an import stacks them.
/// Empty: one of them is not in the store.
std::vector<std::string> stacked(const Layers& layers, const std::vector<std::string>& ids) {
  std::vector<std::string> stack;
  for (const std::string& id : ids) {
    const auto record = layers.at(id).load();
    if (!record) return {};
    if (record->opaque_root) stack.clear();
    std::erase(stack, id);
    stack.push_back(id);
  }
  return stack;
}

}  // namespace

Outcome<BaseLayers> base_layers(const Store& store, const Settings& settings,
                                const std::optional<WorldImage>& image) {
  const Layers layers(store);
  BaseLayers base;
  for (const std::string& id : settings.layers) {
    TAKE(record, layers.at(id).load());
    (record.is_sealed() ? base.own : base.ids).push_back(id);
  }
  std::reverse(base.ids.begin(), base.ids.end());
  if (!image) return base;
  std::vector<std::string> ids;
  for (const std::string& one : image->diff_ids) ids.push_back(one.substr(one.find(':') + 1));
  base.is_image = !ids.empty() && stacked(layers, ids) == base.ids;
  if (base.is_image) base.ids = std::move(ids);
  return base;
}

}  // namespace troot::cli
