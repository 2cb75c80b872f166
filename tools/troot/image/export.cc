// Packing an upper, or all that a union shows, or both as an image.
#include "tools/troot/image/export.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "fusefs/base/posix.h"
#include "fusefs/disk/link_store.h"
#include "fusefs/disk/object.h"
#include "fusefs/overlay.h"
#include "tools/archive/oci/layout_writer.h"
#include "tools/archive/tree/pack.h"
#include "tools/troot/image/beside.h"
#include "tools/troot/image/changes.h"
#include "tools/troot/image/frames.h"
#include "tools/troot/image/merged.h"
#include "tools/troot/image/output.h"
#include "tools/troot/image/world_image.h"
#include "tools/troot/text/progress.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/stopped.h"

namespace troot::cli {
namespace {

/// The world's /tmp and /dev/shm lie there (sandbox/sandbox.cc).
constexpr const char* kPrivate = ".troot";
/// What a world mounts over: of the host's tree these would be the host's.
const std::vector<std::string> kMounted{"dev", "proc", "run", "sys", "tmp"};

/// The union of a stopped world, closed when it is left.
Outcome<std::unique_ptr<fusefs::Overlay>> open_union(const fusefs::Config& config) {
  auto overlay = fusefs::Overlay::open(config);
  if (!overlay) return failure(overlay.error().message);
  return std::move(*overlay);
}

/// What was an upper, or is one, and the records of its symlinks.
struct Changes {
  std::string tree, links;
};

/// Of a stopped world its upper; of a snapshot what that made read-only.
Outcome<Changes> changes_of(const Store& store, const Stopped& stopped) {
  if (stopped.config.upper.empty()) {
    const Layer top = Layers(store).at(stopped.settings.layers.front());
    return Changes{top.tree(), top.path() + "/links"};
  }
  // What a killed server left half is ended first, as the next start would.
  TAKE(overlay, open_union(stopped.config));
  if (const auto closed = overlay->close(); !closed)
    return failure_errno(stopped.config.upper, closed.error().value());
  return Changes{stopped.config.upper, stopped.config.work + "/troot/links"};
}

Outcome<archive::Packed> pack_layer(const Store& store, const Stopped& stopped, archive::Sink& sink,
                                    const archive::Progress& progress) {
  TAKE(changes, changes_of(store, stopped));
  auto links = std::make_shared<fusefs::LinkStore>();
  Fd records(::open(changes.links.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (records.valid()) {
    if (const auto opened = links->open(std::move(records)); !opened)
      return failure_errno(changes.links, opened.error().value());
  }
  archive::PackOptions options;
  options.kind = archive::TarKind::kLayer;
  options.ownership = stopped.config.ownership;
  options.space = stopped.config.xattr_space;
  options.without = kPrivate;
  options.progress = progress;
  if (stopped.config.upper_owner) options.plain_owner = *stopped.config.upper_owner;
  options.symlink_owner = [links](const struct statx& sx) -> std::optional<fusefs::Override> {
    const auto record = links->get(fusefs::key_of(sx));
    return record && record->has_owner ? std::optional(record->owner) : std::nullopt;
  };
  const Fd root(::open(changes.tree.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!root.valid()) return failure_errno(changes.tree);
  return archive::pack(root.get(), sink, options);
}

/// Works on the union of a world, which is closed then.
Outcome<archive::Packed> with_union(
    const Stopped& stopped, const std::function<Outcome<archive::Packed>(fusefs::Overlay&)>& work) {
  fusefs::Config config = stopped.config;
  // Owners as they are kept, not as far as the user namespace of a mount has them.
  config.squash_to_root = false;
  config.id_count = 0;
  TAKE(overlay, open_union(config));
  auto packed = work(*overlay);
  const auto closed = overlay->close();
  if (!packed) return packed;
  if (!closed) return failure_errno(config.upper, closed.error().value());
  return packed;
}

Outcome<archive::Packed> pack_tree(const Stopped& stopped, archive::Sink& sink, MeantAs meant,
                                   const archive::Progress& progress) {
  MergedOptions options{kPrivate, {}, meant, progress};
  if (!stopped.settings.base.empty()) options.hollow = kMounted;
  return with_union(stopped,
                    [&](fusefs::Overlay& overlay) { return pack_merged(overlay, sink, options); });
}

/// Calls `pack` with what shows progress; its problems name the world.
Outcome<archive::Packed> packed_with(
    const ExportPlan& plan,
    const std::function<Outcome<archive::Packed>(const archive::Progress&)>& pack) {
  ProgressLine line("export of " + plan.world);
  auto packed = pack(
      [&line](std::uint64_t done, std::optional<std::uint64_t> total) { line.show(done, total); });
  if (!packed) return failure("world '" + plan.world + "': " + packed.error().text);
  return packed;
}

/// What a program is started with where nobody says otherwise.
archive::ImageConfig plain_config() {
  archive::ImageConfig config;
  config.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  config.cmd = {"/bin/sh"};
  return config;
}

/// References of images have no capital letters, and no @.
std::string tag_of(std::string name) {
  std::replace(name.begin(), name.end(), '@', '-');
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

/// An image in the making.
struct ImageParts {
  archive::ImageConfig config;
  std::vector<archive::ImageLayer> layers;  ///< from the lowest up
  std::vector<std::string> own;  ///< trees below the upper that are the world's, topmost first
  archive::Packed packed;
};

/// Adds a layer that `pack` writes.
Done add_packed(archive::LayoutWriter& layout, const archive::SinkOptions& writing,
                ImageParts& parts,
                const std::function<Outcome<archive::Packed>(archive::Sink&)>& pack) {
  TAKE(layer, layout.add_layer(writing, [&](archive::Sink& sink) -> Done {
    TAKE(done, pack(sink));
    parts.packed = done;
    return {};
  }));
  // One without entries says nothing.
  if (parts.packed.entries != 0) parts.layers.push_back(std::move(layer));
  return {};
}

/// One line for a layer more; a history that does not tell of each layer is no one's.
void tell_history(archive::ImageConfig& config, const char* what) {
  config.history.push_back({"", what, "", false});
}

/// All as one layer.
Done add_squashed(archive::LayoutWriter& layout, const Stopped& stopped, const ExportPlan& plan,
                  const archive::SinkOptions& writing, ImageParts& parts) {
  parts.layers.clear();
  parts.config.history.clear();
  tell_history(parts.config, "troot export --squash");
  return add_packed(layout, writing, parts, [&](archive::Sink& sink) {
    return packed_with(plan, [&](const archive::Progress& progress) {
      return pack_tree(stopped, sink, MeantAs::kLayer, progress);
    });
  });
}

Done add_changes(archive::LayoutWriter& layout, const Stopped& stopped, const ExportPlan& plan,
                 const archive::SinkOptions& writing, ImageParts& parts) {
  ChangesOptions options;
  // A snapshot has no upper any more.
  if (!stopped.config.upper.empty()) options.changed = {stopped.config.upper};
  options.changed.insert(options.changed.end(), parts.own.begin(), parts.own.end());
  options.ownership = stopped.config.ownership;
  options.space = stopped.config.xattr_space;
  options.without = kPrivate;
  const std::size_t before = parts.layers.size();
  NEED(add_packed(layout, writing, parts, [&](archive::Sink& sink) {
    return packed_with(plan, [&](const archive::Progress& progress) {
      options.progress = progress;
      return with_union(
          stopped, [&](fusefs::Overlay& overlay) { return pack_changes(overlay, sink, options); });
    });
  }));
  if (parts.layers.size() > before) tell_history(parts.config, "troot export");
  return {};
}

/// The layers as they came. A problem: one of them cannot be made again.
Done add_base_layers(archive::LayoutWriter& layout, const Store& store, const BaseLayers& base,
                     const archive::SinkOptions& writing, ImageParts& parts) {
  std::map<std::string, archive::ImageLayer> added;
  for (const std::string& id : base.ids) {
    if (!added.contains(id)) {
      const Layer place = Layers(store).at(id);
      ProgressLine line("layer " + std::to_string(parts.layers.size() + 1) + " of " +
                        std::to_string(base.ids.size()));
      TAKE(layer, layout.add_layer(
                      writing, [&](archive::Sink& sink) { return write_layer_tar(place, sink); }));
      if (layer.diff_id != "sha256:" + id)
        return failure("its layer " + id + " was changed in the store");
      added[id] = std::move(layer);
    }
    parts.layers.push_back(added[id]);
  }
  return {};
}

Outcome<ImageParts> image_parts(archive::LayoutWriter& layout, const Store& store,
                                const Stopped& stopped, const ExportPlan& plan,
                                const archive::SinkOptions& writing) {
  ImageParts parts;
  TAKE(image, load_image(stopped.world));
  parts.config = image ? image->config : plain_config();
  TAKE(base, base_layers(store, stopped.settings, image));
  for (const std::string& id : base.own) parts.own.push_back(Layers(store).at(id).tree());
  if (plan.squash || base.ids.empty()) {
    NEED(add_squashed(layout, stopped, plan, writing, parts));
    return parts;
  }
  if (!base.is_image) parts.config.history.assign(base.ids.size(), {"", "troot import", "", false});
  if (const auto added = add_base_layers(layout, store, base, writing, parts); !added) {
    std::fprintf(stderr, "troot: world '%s' is exported as one layer: %s\n", plan.world.c_str(),
                 added.error().text.c_str());
    NEED(add_squashed(layout, stopped, plan, writing, parts));
    return parts;
  }
  NEED(add_changes(layout, stopped, plan, writing, parts));
  return parts;
}

/// A layout is made beside, where the next command sweeps what a killed one leaves.
Outcome<archive::Packed> pack_image(const Store& store, const Stopped& stopped,
                                    const ExportPlan& plan, const archive::SinkOptions& writing,
                                    const Output& output) {
  const Layers layers(store);
  TAKE(held, layers.hold());
  TAKE(place, layers.begin());
  const Beside beside(place);
  const Fd dir(::open(place.tree().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!dir.valid()) return failure_errno(place.tree());
  TAKE(layout, archive::LayoutWriter::open(dir.get(), output.name()));
  TAKE(parts, image_parts(layout, store, stopped, plan, writing));
  if (const auto added = layout.add_image(parts.config, parts.layers, tag_of(plan.world)); !added)
    return tl::unexpected<Problem>(added.error());
  archive::SinkOptions outer;
  outer.compression = archive::Compression::kNone;
  TAKE(sink, archive::Sink::make(output.fd(), output.name(), outer));
  NEED(archive::pack_layout(dir.get(), output.name(), sink));
  if (const auto finished = sink.finish(); !finished)
    return tl::unexpected<Problem>(finished.error());
  return parts.packed;
}

}  // namespace

Done export_world(const Store& store, const ExportPlan& plan) {
  std::optional<Fd> held;
  if (plan.world.find('@') != std::string::npos) {
    // Its snapshot may be given up meanwhile, and its layers stay as long.
    TAKE(kept, Layers(store).hold());
    held = std::move(kept);
  }
  TAKE(stopped, take_stopped(store, plan.world));
  TAKE(output, Output::open(plan.output));
  archive::SinkOptions writing;
  writing.compression = plan.compression;
  writing.threads = std::max(1U, std::thread::hardware_concurrency());
  archive::Packed packed;
  if (plan.format == ExportFormat::kOci) {
    TAKE(done, pack_image(store, stopped, plan, writing, output));
    packed = done;
  } else {
    TAKE(sink, archive::Sink::make(output.fd(), output.name(), writing));
    TAKE(done, packed_with(plan, [&](const archive::Progress& progress) {
           return plan.format == ExportFormat::kLayer
                      ? pack_layer(store, stopped, sink, progress)
                      : pack_tree(stopped, sink, MeantAs::kTree, progress);
         }));
    packed = done;
    if (const auto finished = sink.finish(); !finished)
      return tl::unexpected<Problem>(finished.error());
  }
  NEED(output.publish());
  if (packed.sockets != 0)
    std::fprintf(stderr, "troot: %llu sockets were left out, which no tar has\n",
                 static_cast<unsigned long long>(packed.sockets));
  return {};
}

}  // namespace troot::cli
