// The stack, the limits and the settings that a clone begins with.
#include "tools/troot/world/clone.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <vector>

#include <boost/filesystem.hpp>

#include "tools/troot/world/held.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/snapshots.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

/// Whether an xattr of a root says which root it is, and not how it is shown.
bool is_name(std::string_view xattr) {
  constexpr std::string_view kNames[] = {".troot.uuid", ".troot.origin", ".troot.layer",
                                         ".troot.above"};
  return std::any_of(std::begin(kNames), std::end(kNames),
                     [xattr](std::string_view name) { return xattr.ends_with(name); });
}

/// All other xattrs of a root.
std::map<std::string, std::string> marks_of(const std::string& root) {
  std::map<std::string, std::string> marks;
  std::vector<char> names(64 << 10), value(64 << 10);
  const ssize_t size = ::listxattr(root.c_str(), names.data(), names.size());
  const char* const end = names.data() + std::max<ssize_t>(size, 0);
  for (const char* at = names.data(); at < end; at += std::string(at).size() + 1) {
    const std::string_view name(at);
    if (is_name(name)) continue;
    const ssize_t n = ::getxattr(root.c_str(), at, value.data(), value.size());
    marks[at] = std::string(value.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  }
  return marks;
}

bool look_alike(const std::string& a, const std::string& b) {
  struct stat one {
  }, two{};
  return ::stat(a.c_str(), &one) == 0 && ::stat(b.c_str(), &two) == 0 &&
         one.st_mode == two.st_mode && one.st_uid == two.st_uid && one.st_gid == two.st_gid &&
         one.st_mtim.tv_sec == two.st_mtim.tv_sec && one.st_mtim.tv_nsec == two.st_mtim.tv_nsec &&
         marks_of(a) == marks_of(b);
}

/// The upper of a world that is stopped says nothing that its layers do not say.
bool is_untouched(const Store& store, const Held& held) {
  boost::system::error_code error;
  if (!boost::filesystem::is_empty(held.world.upper(), error) || error) return false;
  if (held.settings.sealed == 0) return held.settings.provisioned.empty();
  return look_alike(held.world.upper(), Layers(store).at(held.settings.layers.front()).tree());
}

/// The world's limits of projects, without its name to the ledger.
std::string limits_of(const World& world) {
  std::istringstream in(read_text(world.work() + "/troot/ledger/limits.txt"));
  std::string text;
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("upper ")) text += line + "\n";
  }
  return text;
}

/// Limits as they hold now.
void take_limits(const World& world, Settings& settings) {
  const WorldView now = view(world);
  settings.limit_bytes = static_cast<std::uint64_t>(now.limit_bytes);
  settings.new_limit_bytes = true;
  settings.new_limit_inodes = settings.derive_inodes = false;
  settings.limit_inodes = 0;
  // Without a word it is derived, as long as there is one to derive it from.
  if (!now.inodes_derived && (now.limit_inodes != 0 || now.limit_bytes != 0))
    settings.say_inodes(static_cast<std::uint64_t>(now.limit_inodes), false);
}

void go_back_to(Settings& settings, const Snapshot& snapshot) {
  settings.sealed = settings.sealed_in(snapshot.layers);
  settings.layers = snapshot.layers;
  settings.provisioned = snapshot.provisioned;
}

/// The world as it is, sealed where its upper says something.
Outcome<Settings> settings_now(const Store& store, const World& world) {
  TAKE(held, hold_world(store, world));
  Done sealed;
  if (!held.is_stopped() || !is_untouched(store, held)) {
    if (const auto taken = seal(store, held, ""); !taken)
      sealed = tl::unexpected<Problem>(taken.error());
  }
  Settings settings = held.settings;
  release(std::move(held));
  NEED(sealed);
  return settings;
}

}  // namespace

Outcome<CloneSource> clone_source(const Store& store, const WorldRef& ref) {
  TAKE(world, store.find(ref.name));
  TAKE(kept, Layers(store).hold());
  // A snapshot needs no lock, and so no world that answers.
  TAKE(settings, ref.tag.empty() ? settings_now(store, world) : settings_at(store, ref));
  CloneSource source{std::move(settings),
                     {limits_of(world), read_text(world.path() + "/image.json")},
                     std::move(kept)};
  take_limits(world, source.settings);
  source.settings.pending.reset();
  NEED(check_layers(store, world, source.settings));
  source.settings.charged.clear();
  source.settings.snapshots.clear();
  return source;
}

Outcome<Settings> settings_at(const Store& store, const WorldRef& ref) {
  TAKE(world, store.find(ref.name));
  TAKE(settings, world.load());
  TAKE(snapshot, find_snapshot(settings, ref.name, ref.tag));
  go_back_to(settings, snapshot);
  settings.charged.clear();
  return settings;
}

}  // namespace troot::cli
