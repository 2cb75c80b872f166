// The read-only layers of a store, which its worlds share:
//
//   STORE/layers/ID/tree/       a directory tree in the upper's format (docs/FORMAT.md)
//                   layer.json  what is known of it
//                lock           flock: shared while layers are taken in and a world is made of
//                               them, exclusive to remove any
//                .incoming-*    one that is being unpacked, or was when its process was killed
//
// Which worlds refer to a layer is told by their world.json files alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fusefs/config.h"
#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// layer.json.
struct LayerRecord {
  std::string kind = "rootfs";        ///< of the tar it came from: "rootfs", or "layer" of an image
  std::string digest;                 ///< of the archive as it came: "sha256:HEX"
  std::string diff_id;                ///< of the tar in it
  std::uint64_t blob_bytes = 0;       ///< of the archive as it came
  std::uint64_t size_bytes = 0;       ///< of the data in it
  std::uint64_t inodes = 0;           ///< entries of the tar, about the objects of the tree
  std::optional<std::string> parent;  ///< the layer it was made on; none: on nothing, or on any
  std::int64_t created_s = 0;         ///< when it was taken in, seconds since the epoch
  bool charged = false;               ///< to the world that wrote it; false: it was imported
  bool opaque_root = false;           ///< nothing of the layers below it shows
  /// How the tree says owners, and under which prefix its marks are: a world's server must do
  /// alike.
  fusefs::Ownership ownership = fusefs::Ownership::kPresented;
  fusefs::XattrSpace space = fusefs::XattrSpace::kUser;

  [[nodiscard]] bool operator==(const LayerRecord&) const = default;
};

/// One layer's place in the store. A value, nothing open.
class Layer {
 public:
  Layer(std::string id, std::string path) : id_(std::move(id)), path_(std::move(path)) {}
  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string tree() const { return path_ + "/tree"; }

  [[nodiscard]] Outcome<LayerRecord> load() const;
  /// Writes layer.json; of a layer that is still unpacked beside.
  [[nodiscard]] Done save(const LayerRecord& record) const;
  [[nodiscard]] bool exists() const;
  /// Its directory and its files are the caller's own (tools/troot/sandbox/ownership.h).
  [[nodiscard]] Done check_own() const;

 private:
  std::string id_;
  std::string path_;
};

/// 64 hexadecimal digits in lower case: what a directory of a layer may be called.
[[nodiscard]] bool is_layer_id(const std::string& text);
/// The server of a world of this caller's: how it keeps owners and marks.
[[nodiscard]] fusefs::Ownership ownership_here();
[[nodiscard]] fusefs::XattrSpace xattr_space_here();

class Layers {
 public:
  explicit Layers(const Store& store) : path_(store.path() + "/layers") {}

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] Layer at(const std::string& id) const { return {id, path_ + "/" + id}; }
  /// A layer that must exist, and be the caller's own.
  [[nodiscard]] Outcome<Layer> find(const std::string& id) const;
  /// Sorted; those that cannot be read too.
  [[nodiscard]] std::vector<Layer> all() const;
  /// Makes the place where there is none, and keeps layers from being removed for as long as the
  /// descriptor is open.
  [[nodiscard]] Outcome<Fd> hold() const;
  /// The same for who removes some: nothing where somebody holds them.
  [[nodiscard]] std::optional<Fd> take_alone() const;
  /// A fresh directory to unpack to, with an empty tree; the caller holds the layers.
  [[nodiscard]] Outcome<Layer> begin() const;
  /// `made`, whole, gets its name. One of the same name that was there stays in its place. Syncs.
  [[nodiscard]] Outcome<Layer> publish(const Layer& made, const LayerRecord& record) const;
  /// Takes a layer away that nobody refers to; the caller has taken them alone.
  [[nodiscard]] Done remove(const Layer& layer) const;
  /// What killed runs left.
  void sweep() const;
  /// The same by who has taken them alone.
  void remove_incoming() const;

 private:
  std::string path_;
};

/// What each layer is a part of: names of worlds by id. A problem where a world cannot be read.
[[nodiscard]] Outcome<std::map<std::string, std::vector<std::string>>> referring_worlds(
    const Store& store);

/// Each layer of a world is there, and made for a server of this caller's.
[[nodiscard]] Done check_layers(const Store& store, const World& world, const Settings& settings);

}  // namespace troot::cli
