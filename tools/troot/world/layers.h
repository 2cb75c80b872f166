// The read-only layers of a store, which its worlds share:
//
//   STORE/layers/ID/tree/       a directory tree in the upper's format (docs/FORMAT.md)
//                   layer.json  what is known of it
//                   charges links/ index/
//                               of a sealed layer, one that was a world's upper: what it is
//                               charged, and what its work directory kept of its objects
//                lock           flock: shared while layers are taken in and a world is made of
//                               them, exclusive to remove any
//                .incoming-*    one that is being unpacked, or was when its process was killed
//                .sealing-*     where an upper is sealed; a world says that it is at that
//
// Which worlds refer to a layer is told by their world.json files alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fusefs/config.h"
#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/layer_id.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// layer.json.
struct LayerRecord {
  /// Of the tar it came from: "rootfs", or "layer" of an image; "snapshot": it was an upper, has
  /// no digests, and its sizes are what it is charged.
  std::string kind = "rootfs";
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

  [[nodiscard]] bool is_sealed() const { return kind == "snapshot"; }
  [[nodiscard]] bool operator==(const LayerRecord&) const = default;
};

/// One layer's place in the store. A value, nothing open.
class Layer {
 public:
  Layer(std::string id, std::string path) : id_(std::move(id)), path_(std::move(path)) {}
  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string tree() const { return path_ + "/tree"; }
  [[nodiscard]] std::string charges() const { return path_ + "/charges"; }

  [[nodiscard]] Outcome<LayerRecord> load() const;
  /// Writes layer.json; of a layer that is still unpacked beside.
  [[nodiscard]] Done save(const LayerRecord& record) const;
  [[nodiscard]] bool exists() const;
  /// By what lies there: it was a world's upper.
  [[nodiscard]] bool is_sealed() const;
  /// Its directory and its files are the caller's own (tools/troot/sandbox/ownership.h).
  [[nodiscard]] Done check_own() const;

 private:
  std::string id_;
  std::string path_;
};

/// The server of a world of this caller's: how it keeps owners and marks.
[[nodiscard]] fusefs::Ownership ownership_here();
[[nodiscard]] fusefs::XattrSpace xattr_space_here();

class Layers {
 public:
  static constexpr std::string_view kIncoming = ".incoming-";

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
  /// A fresh directory, empty, to seal an upper in; the caller holds the layers.
  [[nodiscard]] Outcome<Layer> begin_sealing() const;
  /// One of those, by its name.
  [[nodiscard]] Layer sealing(const std::string& name) const { return {"", path_ + "/" + name}; }
  /// `made`, whole, gets its name. It is synced as far as the names in it go.
  [[nodiscard]] Outcome<Layer> publish_sealed(const Layer& made, const std::string& id,
                                              const LayerRecord& record) const;
  /// `made`, whole, gets its name. One of the same name that was there stays in its place. Syncs.
  [[nodiscard]] Outcome<Layer> publish(const Layer& made, const LayerRecord& record) const;
  /// Takes a layer away that nobody refers to; the caller has taken them alone.
  [[nodiscard]] Done remove(const Layer& layer) const;
  /// What killed runs left, by who has taken them alone: names that begin with `prefix`, but not
  /// those that are `kept`.
  void remove_left(std::string_view prefix, const std::set<std::string>& kept) const;

 private:
  std::string path_;
};

/// What each layer is a part of: names of worlds by id. A problem where a world cannot be read.
[[nodiscard]] Outcome<std::map<std::string, std::vector<std::string>>> referring_worlds(
    const Store& store);

/// Removes what killed runs left, and at once the sealed layers that no world lists any more:
/// nobody could make a world of them. Nothing where somebody holds the layers; of what was an upper
/// nothing where a world cannot be read.
void sweep_layers(const Store& store);

/// Each layer of a world is there, and made for a server of this caller's.
[[nodiscard]] Done check_layers(const Store& store, const World& world, const Settings& settings);

}  // namespace troot::cli
