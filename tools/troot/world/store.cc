// The files and locks of the store.
#include "tools/troot/world/store.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>

#include <boost/filesystem.hpp>

#include "fusefs/disk/format.h"
#include "quota/base/sync_directory.h"
#include "tools/troot/sandbox/ownership.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/name.h"
#include "tools/troot/world/removal.h"
#include "tools/troot/world/sealing.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

namespace fs = boost::filesystem;

constexpr const char* kTemporary = "/temporary";

Outcome<std::string> home() {
  if (const char* value = std::getenv("HOME"); value != nullptr && *value == '/')
    return std::string(value);
  if (const passwd* entry = ::getpwuid(::getuid()); entry != nullptr)
    return std::string(entry->pw_dir);
  return failure("HOME is not set, so there is no place for a store (set HOME or XDG_DATA_HOME)");
}

/// The topmost layer that says something of its root: most of an image say nothing, and unpacking
/// leaves times of 0 there.
std::string tree_of_root(const Store& store, const std::vector<std::string>& layers) {
  for (const std::string& id : layers) {
    const std::string tree = Layers(store).at(id).tree();
    struct stat st {};
    if (::stat(tree.c_str(), &st) == 0 && (st.st_mtim.tv_sec != 0 || st.st_mtim.tv_nsec != 0))
      return tree;
  }
  return Layers(store).at(layers.front()).tree();
}

/// What a world is a copy of.
enum class Lies { kBelow, kInLayers };

/// Makes the upper, whose root's attributes are those that the world's root directory shows: they
/// are those of the base, or of the topmost layer.
Done make_upper(const std::string& upper, const std::string& base, Lies lies) {
  const bool layered = lies == Lies::kInLayers;
  if (::mkdir(upper.c_str(), 0700) != 0) return failure_errno(upper);
  struct stat st {};
  const bool known = ::stat(base.c_str(), &st) == 0;
  if (layered) {
    if (!known) return failure_errno(base);
    if (ownership_here() == fusefs::Ownership::kNative &&
        ::chown(upper.c_str(), st.st_uid, st.st_gid) != 0)
      return failure_errno(upper);
    char said[128];
    const ssize_t n = ::getxattr(base.c_str(), fusefs::kOverrideStat, said, sizeof said);
    if (n > 0 &&
        ::setxattr(upper.c_str(), fusefs::kOverrideStat, said, static_cast<std::size_t>(n), 0) != 0)
      return failure_errno(upper);
  }
  const mode_t bits = layered ? 07777 : 0777;
  const mode_t mode = known ? st.st_mode & bits : 0755;
  if (::chmod(upper.c_str(), mode | 0700) != 0) return failure_errno(upper);
  const timespec times[2]{{0, UTIME_OMIT}, st.st_mtim};
  if (layered && ::utimensat(AT_FDCWD, upper.c_str(), times, 0) != 0) return failure_errno(upper);
  return {};
}

Done make_upper_of(const Store& store, const std::string& upper, const Settings& settings) {
  if (settings.layers.empty()) return make_upper(upper, settings.base, Lies::kBelow);
  if (settings.sealed == 0)
    return make_upper(upper, tree_of_root(store, settings.layers), Lies::kInLayers);
  if (::mkdir(upper.c_str(), 0700) != 0) return failure_errno(upper);
  return dress_upper(Layers(store).at(settings.layers.front()).tree(), upper, "");
}

/// Where the ledger of the first start finds them.
Done keep_limits(const World& made, const std::string& limits) {
  const std::string troot = made.work() + "/troot";
  for (const std::string& directory : {troot, troot + "/ledger"}) {
    if (::mkdir(directory.c_str(), 0700) != 0) return failure_errno(directory);
  }
  return replace_text(troot + "/ledger/limits.txt", limits, Keep::kOverPowerCut);
}

tl::unexpected<Problem> unknown(const std::string& name) {
  return failure("no world named '" + name + "' (troot list shows them)");
}

tl::unexpected<Problem> taken(const std::string& name) {
  return failure("a world named '" + name + "' is there already (troot rm " + name +
                 " removes it)");
}

tl::unexpected<Problem> damaged(const std::string& path, const std::string& name) {
  return failure(
      path +
      "/world.json is damaged, or was edited (to take it as it is, make its \"version\" 1 "
      "and remove its \"sum\"; troot rm --force " +
      name + " removes the world)");
}

}  // namespace

std::string read_text(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

Done replace_text(const std::string& path, const std::string& text, Keep keep) {
  const std::string beside = path + ".new";
  Fd fd(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return failure_errno("write " + beside);
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      (keep == Keep::kOverPowerCut && ::fdatasync(fd.get()) != 0)) {
    const int error = errno;
    ::unlink(beside.c_str());
    return failure_errno("write " + beside, error);
  }
  fd.reset();
  if (::rename(beside.c_str(), path.c_str()) != 0) return failure_errno("rename " + beside);
  return {};
}

Outcome<Settings> World::load() const {
  auto settings = parse_settings(read_text(path_ + "/world.json"), path_ + "/world.json",
                                 "troot rm --force " + name_ + " removes the world)");
  if (settings) return std::move(*settings);
  return exists() ? damaged(path_, name_) : unknown(name_);
}

Done World::save(const Settings& settings) const {
  const auto text = render_settings(settings, name_);
  // JSON is UTF-8, and a path may be anything.
  if (!text)
    return failure(settings.base +
                   ": its name is not UTF-8, which a world cannot remember; give "
                   "the directory another name, or bind-mount it to one");
  return replace_text(path_ + "/world.json", *text,
                      is_temporary() ? Keep::kWhileRunning : Keep::kOverPowerCut);
}

Outcome<Fd> World::lock() const {
  const std::string path = path_ + "/lock";
  Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return errno == ENOENT ? unknown(name_) : failure_errno(path);
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return failure_errno(path);
  }
  // Who waited while the world was removed holds the lock of a file that is no more.
  struct stat held {};
  struct stat named {};
  if (::fstat(fd.get(), &held) != 0 || ::stat(path.c_str(), &named) != 0 ||
      held.st_ino != named.st_ino) {
    return unknown(name_);
  }
  return fd;
}

bool World::is_temporary() const { return ::access((path_ + kTemporary).c_str(), F_OK) == 0; }

bool World::exists() const {
  // One that may not be looked at is there, and is refused by check_own().
  return ::access((path_ + "/world.json").c_str(), F_OK) == 0 || errno == EACCES;
}

Done World::remove() const {
  // First out of sight, so that a removal that is cut short leaves no half world under the name;
  // sweep() ends it.
  const std::string doomed = fs::path(path_).parent_path().string() + "/.removed." + name_ + "." +
                             std::to_string(::getpid());
  if (::rename(path_.c_str(), doomed.c_str()) != 0) return failure_errno("remove " + path_);
  return remove_directory(doomed);
}

Done World::check_own() const {
  NEED(cli::check_own(path_, Kind::kDirectory));
  NEED(cli::check_own(path_ + "/run", Kind::kDirectory));
  // The mode of the upper, and real root's owner of it, are those of the world's root directory.
  for (const std::string& directory : {upper(), work(), run("root")})
    NEED(check_directory(directory));
  NEED(cli::check_own(path_ + "/world.json", Kind::kFile));
  return cli::check_own(path_ + "/lock", Kind::kFile);
}

Outcome<std::string> Store::path_of_user() {
  std::string path;
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data == '/') {
    path = std::string(data) + "/troot";
  } else if (::geteuid() == 0) {
    path = "/var/lib/troot";
  } else {
    TAKE(directory, home());
    path = directory + "/.local/share/troot";
  }
  return path;
}

Outcome<Store> Store::of_user() {
  TAKE(path, path_of_user());
  // What sudo -E and su without - leave in the environment is another user's.
  const bool named = std::getenv("XDG_DATA_HOME") != nullptr;
  TAKE(place, own_place(path, named ? " (unset XDG_DATA_HOME, or run troot as its owner: sudo "
                                      "without -E, su with -)"
                                    : " (set HOME or XDG_DATA_HOME to a directory of yours)"));
  TAKE(worlds, own_place(place + "/worlds", " (chown -R it)"));
  return Store(place);
}

Outcome<World> Store::find(const std::string& name) const {
  NEED(check_name(name));
  World world(name, path_ + "/worlds/" + name);
  if (!world.exists()) return unknown(name);
  NEED(world.check_own());
  return world;
}

std::vector<World> Store::worlds() const {
  std::vector<World> found;
  boost::system::error_code error;
  for (fs::directory_iterator it(path_ + "/worlds", error), end; !error && it != end;
       it.increment(error)) {
    World world(it->path().filename().string(), it->path().string());
    if (check_name(world.name()) && world.exists()) found.push_back(std::move(world));
  }
  std::sort(found.begin(), found.end(),
            [](const World& a, const World& b) { return a.name() < b.name(); });
  return found;
}

Outcome<Created> Store::create(const std::string& name, const Settings& settings, Lifetime lifetime,
                               const Carried& carried) const {
  NEED(check_new_name(name));
  // Each is what of_user() looked at, or was made since then, by whoever: path_ has no symlinks.
  for (const std::string& place : {path_, path_ + "/worlds"}) {
    TAKE(made, make_own_place(place));
    if (made != place) return failure(place + " was replaced by a symlink");
  }
  const World world(name, path_ + "/worlds/" + name);
  // Everything is made beside and appears under the name whole.
  const World made(name, path_ + "/worlds/.made." + name + "." + std::to_string(::getpid()));
  for (const auto& directory : {made.path(), made.work(), made.path() + "/run", made.run("root")}) {
    if (::mkdir(directory.c_str(), 0700) != 0) return failure_errno(directory);
  }
  NEED(make_upper_of(*this, made.upper(), settings));
  if (!carried.limits.empty() && lifetime == Lifetime::kKept)
    NEED(keep_limits(made, carried.limits));
  const Fd lock(::open((made.path() + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) return failure_errno(made.path() + "/lock");
  Fd alive;
  if (lifetime == Lifetime::kTemporary) {
    alive.reset(::open((made.path() + kTemporary).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!alive.valid() || ::flock(alive.get(), LOCK_EX | LOCK_NB) != 0) {
      return failure_errno(made.path() + kTemporary);
    }
  }
  Settings complete = settings;
  complete.created_s = std::time(nullptr);
  NEED(made.save(complete));
  if (!carried.image_json.empty())
    NEED(replace_text(made.path() + "/image.json", carried.image_json,
                      made.is_temporary() ? Keep::kWhileRunning : Keep::kOverPowerCut));
  if (lifetime == Lifetime::kInPlace) {
    if (::renameat2(AT_FDCWD, made.path().c_str(), AT_FDCWD, world.path().c_str(),
                    RENAME_EXCHANGE) != 0)
      return failure_errno("create " + world.path());
    // Of one that is killed here the rest is swept.
    NEED(remove_directory(made.path()));
    return Created{world, {}};
  }
  // rename(2) refuses a target that is not empty, so of two creates at once one loses.
  if (::rename(made.path().c_str(), world.path().c_str()) != 0) {
    const int error = errno;
    boost::system::error_code ignored;
    fs::remove_all(made.path(), ignored);
    if (error == EEXIST || error == ENOTEMPTY) {
      return taken(name);
    }
    return failure_errno("create " + world.path(), error);
  }
  NEED(world.check_own());
  return Created{world, std::move(alive)};
}

Done Store::check_free(const std::string& name) const {
  NEED(check_new_name(name));
  if (World(name, path_ + "/worlds/" + name).exists()) return taken(name);
  return {};
}

void Store::sweep() const {
  sweep_layers(*this);
  for (const World& world : worlds()) {
    if (!world.check_own()) continue;
    const Fd fd(::open((world.path() + kTemporary).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid() || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;
    const auto lock = world.lock();
    // Best effort: what cannot be removed now is tried again by the next command.
    if (lock && !is_running(world) && server_is_gone(world)) static_cast<void>(world.remove());
  }
  boost::system::error_code error;
  for (fs::directory_iterator it(path_ + "/worlds", error), end; !error && it != end;
       it.increment(error)) {
    const std::string file = it->path().filename().string();
    const auto last_dot = file.rfind('.');
    if (file.rfind(".removed.", 0) != 0 && file.rfind(".made.", 0) != 0) continue;
    // The suffix is the process that was at it; while it lives, it is.
    const pid_t owner = static_cast<pid_t>(std::strtol(file.c_str() + last_dot + 1, nullptr, 10));
    if (owner > 0 && ::kill(owner, 0) != 0 && errno == ESRCH)
      static_cast<void>(remove_directory(it->path().string()));
  }
}

Done sync_names(const std::string& directory) {
  const auto synced = sync_directory(directory);
  return synced ? Done{} : failure_errno("sync " + directory, synced.error().value());
}

}  // namespace troot::cli
