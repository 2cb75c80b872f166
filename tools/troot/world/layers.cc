// Files, names and locks of layers.
#include "tools/troot/world/layers.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include <boost/filesystem.hpp>

#include "fusefs/launch/preflight.h"
#include "tools/troot/sandbox/ownership.h"
#include "tools/troot/world/record.h"
#include "tools/troot/world/removal.h"

namespace troot::cli {
namespace {

namespace fs = boost::filesystem;

constexpr int kLayerVersion = 1;
/// Of sealed layers: who knows none says that it is too old.
constexpr int kSealedLayerVersion = 2;
constexpr std::string_view kAlgorithm = "sha256:";
constexpr const char* kNative = "native";
constexpr const char* kPresented = "presented";
constexpr const char* kTrusted = "trusted";
constexpr const char* kUser = "user";

bool is_digest(const std::string& text) {
  return text.starts_with(kAlgorithm) && is_layer_id(text.substr(kAlgorithm.size()));
}

tl::unexpected<Problem> damaged_layer(const std::string& path, const std::string& id) {
  if (::access((path + "/charges").c_str(), F_OK) == 0)
    return failure(path +
                   "/layer.json is damaged: the layer of a snapshot cannot be used (troot store df "
                   "tells whose it is)");
  return failure(path +
                 "/layer.json is damaged: the layer cannot be used (troot store df tells "
                 "whose it is; create them again from the archive of sha256:" +
                 id + ")");
}

/// The words of one that has a set of two.
bool take_word(const std::string& word, const char* yes, const char* no, bool& is_yes) {
  is_yes = word == yes;
  return is_yes || word == no;
}

/// What the values of one that fits may be.
bool is_sound(const LayerRecord& record, const std::string& id) {
  if (record.is_sealed()) return !record.parent || is_layer_id(*record.parent);
  const bool kind = record.kind == "rootfs" || record.kind == "layer";
  return kind && is_digest(record.digest) && record.diff_id == std::string(kAlgorithm) + id &&
         (!record.parent || is_layer_id(*record.parent));
}

Done sync_tree(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid() || ::syncfs(fd.get()) != 0) return failure_errno("sync " + path);
  return {};
}

Outcome<Fd> open_lock(const std::string& path) {
  Fd fd(::open((path + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return failure_errno(path + "/lock");
  return fd;
}

}  // namespace

fusefs::Ownership ownership_here() {
  return fusefs::is_real_root() ? fusefs::Ownership::kNative : fusefs::Ownership::kPresented;
}

fusefs::XattrSpace xattr_space_here() {
  return fusefs::is_real_root() ? fusefs::XattrSpace::kTrusted : fusefs::XattrSpace::kUser;
}

Outcome<LayerRecord> Layer::load() const {
  const auto from = Record::parse(read_text(path_ + "/layer.json"), Unsummed::kDamaged);
  if (!from) return damaged_layer(path_, id_);
  std::uint64_t version = 0;
  if (!from->read("version", version) || version == 0) return damaged_layer(path_, id_);
  if (version > kSealedLayerVersion)
    return failure(path_ + "/layer.json is of version " + std::to_string(version) +
                   ": this troot is too old for it (install a newer one)");
  LayerRecord record;
  std::string ownership, space, parent;
  const bool alone = !from->has("parent") || from->is_null("parent");
  bool native = false, trusted = false;
  const bool good =
      from->read("kind", record.kind) && from->read("digest", record.digest) &&
      from->read("diff_id", record.diff_id) && from->read("blob_bytes", record.blob_bytes) &&
      from->read("size_bytes", record.size_bytes) && from->read("inodes", record.inodes) &&
      (alone || from->read("parent", parent)) && from->read("created", record.created_s) &&
      from->read("charged", record.charged) && from->read("opaque_root", record.opaque_root) &&
      from->read("ownership", ownership) && from->read("xattrs", space) &&
      take_word(ownership, kNative, kPresented, native) &&
      take_word(space, kTrusted, kUser, trusted);
  if (!alone) record.parent = parent;
  if (native) record.ownership = fusefs::Ownership::kNative;
  if (trusted) record.space = fusefs::XattrSpace::kTrusted;
  if (!good || !is_sound(record, id_)) return damaged_layer(path_, id_);
  return record;
}

Done Layer::save(const LayerRecord& record) const {
  nlohmann::json keys{
      {"version", record.is_sealed() ? kSealedLayerVersion : kLayerVersion},
      {"kind", record.kind},
      {"digest", record.digest},
      {"diff_id", record.diff_id},
      {"blob_bytes", record.blob_bytes},
      {"size_bytes", record.size_bytes},
      {"inodes", record.inodes},
      {"parent", nullptr},
      {"created", record.created_s},
      {"charged", record.charged},
      {"opaque_root", record.opaque_root},
      {"ownership", record.ownership == fusefs::Ownership::kNative ? kNative : kPresented},
      {"xattrs", record.space == fusefs::XattrSpace::kTrusted ? kTrusted : kUser}};
  if (record.parent) keys["parent"] = *record.parent;
  const auto text = sealed(std::move(keys));
  if (!text) return failure(path_ + ": what is known of the layer is not UTF-8");
  return replace_text(path_ + "/layer.json", *text, Keep::kOverPowerCut);
}

bool Layer::exists() const { return ::access((path_ + "/layer.json").c_str(), F_OK) == 0; }

bool Layer::is_sealed() const { return ::access(charges().c_str(), F_OK) == 0; }

Done Layer::check_own() const {
  NEED(cli::check_own(path_, Kind::kDirectory));
  // Mode and, where they are native, owner of the tree are those of the image's root directory.
  NEED(check_directory(tree()));
  return cli::check_own(path_ + "/layer.json", Kind::kFile);
}

Outcome<Layer> Layers::find(const std::string& id) const {
  const Layer layer = at(id);
  if (!is_layer_id(id) || !layer.exists())
    return failure("the layer " + id + " is not in the store " + path_);
  NEED(layer.check_own());
  return layer;
}

std::vector<Layer> Layers::all() const {
  std::vector<Layer> found;
  boost::system::error_code error;
  for (fs::directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
    const std::string id = it->path().filename().string();
    if (is_layer_id(id)) found.push_back(at(id));
  }
  std::sort(found.begin(), found.end(),
            [](const Layer& a, const Layer& b) { return a.id() < b.id(); });
  return found;
}

Outcome<Fd> Layers::hold() const {
  for (const std::string& place : {fs::path(path_).parent_path().string(), path_}) {
    TAKE(made, make_own_place(place));
    if (made != place) return failure(place + " was replaced by a symlink");
  }
  TAKE(fd, open_lock(path_));
  while (::flock(fd.get(), LOCK_SH) != 0) {
    if (errno != EINTR) return failure_errno(path_ + "/lock");
  }
  return fd;
}

std::optional<Fd> Layers::take_alone() const {
  if (!cli::check_own(path_, Kind::kDirectory)) return std::nullopt;
  auto fd = open_lock(path_);
  if (!fd || ::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) return std::nullopt;
  return std::move(*fd);
}

Outcome<Layer> Layers::begin() const {
  std::string path = path_ + "/" + std::string(kIncoming) + "XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return failure_errno(path);
  const Layer made("", path);
  if (::mkdir(made.tree().c_str(), 0700) != 0) return failure_errno(made.tree());
  return made;
}

Outcome<Layer> Layers::begin_sealing() const {
  std::string path = path_ + "/" + std::string(kSealing) + "XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return failure_errno(path);
  return Layer("", path);
}

Outcome<Layer> Layers::publish_sealed(const Layer& made, const std::string& id,
                                      const LayerRecord& record) const {
  const Layer layer = at(id);
  NEED(made.save(record));
  // Not all of the tree: what was in it is as safe as it was.
  NEED(sync_names(made.path()));
  if (::rename(made.path().c_str(), layer.path().c_str()) != 0) return failure_errno(layer.path());
  NEED(sync_names(path_));
  return layer;
}

Outcome<Layer> Layers::publish(const Layer& made, const LayerRecord& record) const {
  const Layer layer = at(record.diff_id.substr(kAlgorithm.size()));
  NEED(made.save(record));
  NEED(sync_tree(made.path()));
  if (::rename(made.path().c_str(), layer.path().c_str()) == 0) {
    NEED(sync_tree(path_));
    return layer;
  }
  const int error = errno;
  if (error != EEXIST && error != ENOTEMPTY) return failure_errno(layer.path(), error);
  // The same one, by who was faster or earlier.
  NEED(remove_directory(made.path()));
  return find(layer.id());
}

Done Layers::remove(const Layer& layer) const {
  // First out of sight: who is killed leaves what the next command sweeps.
  const std::string doomed = path_ + "/" + std::string(kIncoming) + layer.id();
  if (::rename(layer.path().c_str(), doomed.c_str()) != 0)
    return failure_errno("remove " + layer.path());
  return remove_directory(doomed);
}

void Layers::remove_left(std::string_view prefix, const std::set<std::string>& kept) const {
  boost::system::error_code error;
  for (fs::directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    // Best effort: what cannot be removed now is tried again by the next command.
    if (name.starts_with(prefix) && kept.count(name) == 0)
      static_cast<void>(remove_directory(it->path().string()));
  }
}

Outcome<std::map<std::string, std::vector<std::string>>> referring_worlds(const Store& store) {
  std::map<std::string, std::vector<std::string>> worlds;
  for (const World& world : store.worlds()) {
    NEED(world.check_own());
    TAKE(settings, world.load());
    for (const std::string& id : settings.listed()) worlds[id].push_back(world.name());
  }
  return worlds;
}

void sweep_layers(const Store& store) {
  const Layers layers(store);
  const auto alone = layers.take_alone();
  if (!alone) return;
  layers.remove_left(Layers::kIncoming, {});
  std::set<std::string> listed, sealing;
  for (const World& world : store.worlds()) {
    const auto settings = world.check_own() ? world.load() : failure("");
    if (!settings) return;
    listed.merge(settings->listed());
    if (settings->pending) sealing.insert(settings->pending->incoming);
  }
  layers.remove_left(kSealing, sealing);
  for (const Layer& layer : layers.all()) {
    // Best effort, as above.
    if (listed.count(layer.id()) == 0 && layer.is_sealed()) static_cast<void>(layers.remove(layer));
  }
}

Done check_layers(const Store& store, const World& world, const Settings& settings) {
  const Layers layers(store);
  std::size_t sealed_left = settings.sealed;
  for (const std::string& id : settings.layers) {
    const bool wants_sealed = sealed_left != 0;
    if (wants_sealed) --sealed_left;
    const auto layer = layers.find(id);
    const auto record = layer ? layer->load() : tl::unexpected<Problem>(layer.error());
    if (!record) return failure("world '" + world.name() + "': " + record.error().text);
    if (record->ownership != ownership_here() || record->space != xattr_space_here())
      return failure("world '" + world.name() + "': its layer " + id + " was unpacked by " +
                     (record->ownership == fusefs::Ownership::kNative ? "real root"
                                                                      : "who was not real root") +
                     ", whose owners and marks this caller does not have");
    if (record->is_sealed() != wants_sealed)
      return failure("world '" + world.name() + "': its layer " + id +
                     (wants_sealed ? " is none of a snapshot" : " is of a snapshot") +
                     ", other than its world.json says");
  }
  for (const std::string& id : settings.charged) {
    TAKE(layer, layers.find(id));
    if (!layer.is_sealed())
      return failure(
          "world '" + world.name() + "': " + layer.charges() +
          " is gone, which says what the layer is charged (touch it: the next start counts "
          "the layer anew)");
  }
  return {};
}

}  // namespace troot::cli
