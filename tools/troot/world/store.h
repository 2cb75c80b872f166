// The store, the directory that keeps a user's worlds, and what is remembered of
// each:
//
//   STORE/worlds/NAME/world.json   what `create` and `quota` settled
//                     image.json   what the image says that it was made of (image/world_image.h)
//                     upper/ work/ the world's own objects (docs/FORMAT.md)
//                     lock         flock: start, stop, remove and change exclude each other
//                     temporary    only of `run --rm`: flock held by the run that will remove it
//                     run/         init.sock control server.lock server.log last.json root/ (the
//                     mount point)
//
//   STORE/layers/                what worlds made of images share (world/layers.h)
//
// The store is its owner's alone (0700) and can be removed with plain `rm -rf` while no world runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/settings.h"

namespace troot::cli {

/// One world's place in the store. A value: paths and the name, nothing open.
class World {
 public:
  World(std::string name, std::string path) : name_(std::move(name)), path_(std::move(path)) {}
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string upper() const { return path_ + "/upper"; }
  [[nodiscard]] std::string work() const { return path_ + "/work"; }
  [[nodiscard]] std::string run(const char* file) const { return path_ + "/run/" + file; }

  [[nodiscard]] Outcome<Settings> load() const;
  /// Replaces world.json whole; the caller holds the lock.
  [[nodiscard]] Done save(const Settings& settings) const;
  /// Waits for the world's lock. ENOENT's line when the world went away meanwhile.
  [[nodiscard]] Outcome<Fd> lock() const;
  /// Removes it from the disk; the caller holds the lock and knows that it does not run.
  [[nodiscard]] Done remove() const;
  [[nodiscard]] bool exists() const;
  /// Its directory, where it runs and its files are the caller's own
  /// (tools/troot/sandbox/ownership.h).
  [[nodiscard]] Done check_own() const;
  /// It goes with the process that made it: nothing in it need outlive that.
  [[nodiscard]] bool is_temporary() const;

 private:
  std::string name_;
  std::string path_;
};

enum class Lifetime {
  kKept,
  kTemporary,  ///< goes with the process that made it, however that ends
  kInPlace     ///< kept, and in the place of the one of this name: the caller has it stopped
};
struct Created {
  World world;
  Fd alive;  ///< of a temporary world: when it is closed, anyone's next command may remove
             ///< the world
};

/// What a world brings along from what it is made of.
struct Carried {
  std::string limits;      ///< of projects: a limits.txt without a name of an upper
  std::string image_json;  ///< the text of that file; empty: it is made of no image
};

class Store {
 public:
  /// $XDG_DATA_HOME/troot, ~/.local/share/troot, or /var/lib/troot for root. An error where it is
  /// not the caller's own, or others could put another one there.
  [[nodiscard]] static Outcome<Store> of_user();
  /// Where that is, unlooked at.
  [[nodiscard]] static Outcome<std::string> path_of_user();
  explicit Store(std::string path) : path_(std::move(path)) {}

  [[nodiscard]] const std::string& path() const { return path_; }
  /// A world that must exist, and be the caller's own.
  [[nodiscard]] Outcome<World> find(const std::string& name) const;
  /// Sorted by name; those that are not the caller's own too.
  [[nodiscard]] std::vector<World> worlds() const;
  /// The name can be a new world's, as it looks now.
  [[nodiscard]] Done check_free(const std::string& name) const;
  /// Makes a new one. `settings.base` must be an existing directory, and the caller holds the
  /// layers if there are any.
  [[nodiscard]] Outcome<Created> create(const std::string& name, const Settings& settings,
                                        Lifetime lifetime, const Carried& carried = {}) const;
  /// Removes what runs with --rm left behind that were killed before they could, and what was
  /// unpacked half.
  void sweep() const;

 private:
  std::string path_;
};

/// The whole of a small file; empty when it cannot be read.
[[nodiscard]] std::string read_text(const std::string& path);
/// What a file must outlive.
enum class Keep { kOverPowerCut, kWhileRunning };
/// What was made, renamed or removed in a directory is on disk.
[[nodiscard]] Done sync_names(const std::string& directory);
/// Writes `text` to a file beside and renames it over `path`.
[[nodiscard]] Done replace_text(const std::string& path, const std::string& text, Keep keep);

}  // namespace troot::cli
