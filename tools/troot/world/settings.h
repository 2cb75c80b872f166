// What world.json remembers of a world (docs/FORMAT.md): its limits, what it consists of, its
// snapshots, and what was begun and is not done. Values; the file's text is made and read here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// A moment of a world that can be gone back to.
struct Snapshot {
  std::string tag;
  std::int64_t created_s = 0;       ///< seconds since the epoch
  std::vector<std::string> layers;  ///< what the world consisted of, topmost first
  std::string provisioned;          ///< as of Settings
};

/// A change of the layers that was begun. Whoever takes the world's lock ends it or takes it back
/// (world/pending.h).
struct Pending {
  std::string layer;           ///< what the sealed upper will be called; empty: it is a rollback
  std::string incoming;        ///< the directory of Layers in which that is made
  std::string tag;             ///< of the snapshot (empty: it gets none), or what is gone back to
  std::int64_t created_s = 0;  ///< of the snapshot
  [[nodiscard]] bool is_rollback() const { return layer.empty(); }
};

/// world.json.
struct Settings {
  /// The directory that lies lowest, absolute; empty where layers of an image do.
  std::string base = "/";
  /// Ids of what lies above the base, topmost first (world/layers.h): sealed ones, which were
  /// uppers of this world or of the one that it was cloned from, then those of an image.
  std::vector<std::string> layers;
  std::size_t sealed = 0;  ///< so many of `layers` are sealed ones
  /// Sealed layers that this world wrote and that it still lists: it is charged for them.
  std::vector<std::string> charged;
  std::vector<Snapshot> snapshots;  ///< oldest first
  std::optional<Pending> pending;
  std::int64_t created_s = 0;      ///< seconds since the epoch
  std::uint64_t limit_bytes = 0;   ///< 0: none
  std::uint64_t limit_inodes = 0;  ///< 0: none
  /// A limit was set while the world did not run, so the next server is told it. It remembers it
  /// itself from then on, with what was changed since through its control socket.
  bool new_limit_bytes = true;
  bool new_limit_inodes = false;  ///< until something is said of inodes, a limit is derived
  bool derive_inodes = false;     ///< what was said is "derived"; limit_inodes is 0
  bool share_tmp = false;
  std::string provisioned;  ///< the id mode it was furnished for; empty: not yet

  /// The next server is told this of inodes.
  void say_inodes(std::uint64_t count, bool derived) {
    limit_inodes = count;
    derive_inodes = derived;
    new_limit_inodes = true;
  }
  /// How many layers of a snapshot's stack are sealed: those of an image are in each.
  [[nodiscard]] std::size_t sealed_in(const std::vector<std::string>& stack) const {
    return stack.size() - (layers.size() - sealed);
  }
  /// Every layer that this world needs.
  [[nodiscard]] std::set<std::string> listed() const;
  /// What it no longer lists it is not charged for.
  void forget_unlisted();
};

/// Reads the text of a world.json. `file` and `cure` are words of what is said of a bad one: its
/// path, and what removes the world. nullopt: no such file can be read, or its checksum is wrong.
[[nodiscard]] std::optional<Outcome<Settings>> parse_settings(const std::string& text,
                                                              const std::string& file,
                                                              const std::string& cure);
/// The text; of the lowest version that can say it. nullopt: a path is not UTF-8.
[[nodiscard]] std::optional<std::string> render_settings(const Settings& settings,
                                                         const std::string& name);

/// What `ref` means among the snapshots of the world `name`: a tag, `-N` for the Nth from the last,
/// or nothing for the last; each also behind an `@`.
[[nodiscard]] Outcome<Snapshot> find_snapshot(const Settings& settings, const std::string& name,
                                              const std::string& ref);

}  // namespace troot::cli
