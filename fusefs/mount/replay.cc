// Recovery from the journal of a server that was killed: looks again at the objects
// that it named, and at nothing else.
//
// What stands in the journal are hints where to look: what the upper shows is what counts. A
// changed object that is at none of the places that were named, and that nobody was about to
// remove, cannot be found this way (it may have other links): then nothing is decided here.
#include <map>
#include <set>

#include "fusefs/disk/object.h"
#include "fusefs/mount/recovery.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/whiteout.h"

namespace troot::fusefs {
namespace {

using quota::InodeKey;

/// A directory further down is not looked for by what the journal says: each step on the way to it
/// takes a piece of the stack.
constexpr std::size_t kDeepestReplayed = 250;

struct Spot {
  InodeKey dir;
  std::string name;
  friend auto operator<=>(const Spot&, const Spot&) = default;
};

class Replay {
 public:
  Replay(State& state, const std::vector<quota::Intent>& intents) : state_(state) {
    for (const quota::Intent& intent : intents) {
      const bool placed = intent.dir.ino != 0;
      if ((intent.kind & quota::Intent::kDirectory) && placed)
        spots_of_dirs_[intent.key].insert({intent.dir, intent.name});
      if (intent.kind & quota::Intent::kGone) gone_.insert(intent.key);
      if ((intent.kind & quota::Intent::kLook) == 0) continue;
      if (placed) looks_[intent.dir].insert(intent.name);
      if (intent.key.ino != 0) touched_.insert(intent.key);
    }
  }

  /// Adds what is to be amended. False: it cannot be decided.
  Result<bool> run(const Leftovers& left, std::vector<quota::Amendment>& amendments) {
    const int upper = state_.layout.layers[kUpper].root->get();
    TRY(root, posix::stat_at(upper, "."));
    root_ = key_of(root);
    if (touched_.contains(root_)) CHECK_OK(look(upper, "."));
    for (const auto& [dir, names] : looks_) {
      TRY(fd, open_dir(dir));
      if (too_deep_) return false;
      if (!fd) {
        if (gone_.contains(dir)) continue;
        return false;
      }
      for (const std::string& name : names) CHECK_OK(look(fd->get(), name.c_str()));
    }
    for (const quota::Amendment& a : left.amendments) found_[a.key] = a.record;
    touched_.insert(gone_.begin(), gone_.end());
    for (const InodeKey& key : touched_) {
      if (found_.contains(key)) continue;
      if (!gone_.contains(key)) return false;
      found_[key] = std::nullopt;
    }
    for (const auto& [key, record] : found_) amendments.push_back({key, record});
    return true;
  }

 private:
  Status look(int dirfd, const char* name) {
    const auto sx = posix::stat_at(dirfd, name);
    if (!sx) return sx.error() == ENOENT ? Status{} : fail(sx.error());
    if (is_whiteout(*sx)) return {};
    TRY(e, examine(state_, dirfd, name, *sx));
    if (is_upper_whiteout(state_, dirfd, name, *sx, e.flags)) return {};
    found_[e.account.key] = e.account.record();
    return {};
  }

  /// A directory by its key; absent: it is at none of the places that were named.
  Result<std::optional<Fd>> open_dir(const InodeKey& key) {
    if (key == root_) {
      TRY(fd, posix::open_at(state_.layout.layers[kUpper].root->get(), ".", O_PATH | O_DIRECTORY));
      return std::optional<Fd>(std::move(fd));
    }
    const auto spots = spots_of_dirs_.find(key);
    if (way_.size() == kDeepestReplayed) too_deep_ = true;
    if (too_deep_) return std::optional<Fd>();
    // Places of two moves may make a ring; then one of them is old.
    if (spots == spots_of_dirs_.end() || !way_.insert(key).second) return std::optional<Fd>();
    std::optional<Fd> found;
    for (auto spot = spots->second.begin(); spot != spots->second.end() && !found;) {
      TRY(parent, open_dir(spot->dir));
      TRY(fd, parent ? open_child(*parent, spot->name, key) : std::optional<Fd>());
      found = std::move(fd);
      // An old place is not looked at a second time.
      spot = found || way_.size() > 1 ? std::next(spot) : spots->second.erase(spot);
    }
    way_.erase(key);
    return found;
  }

  static Result<std::optional<Fd>> open_child(const Fd& parent, const std::string& name,
                                              const InodeKey& key) {
    auto fd = posix::open_at(parent.get(), name.c_str(), O_PATH | O_DIRECTORY);
    if (!fd) {
      const bool other = fd.error() == ENOENT || fd.error() == ENOTDIR || fd.error() == ELOOP;
      if (other) return std::optional<Fd>();
      return fail(fd.error());
    }
    TRY(sx, posix::stat_fd(fd->get()));
    if (key_of(sx) != key) return std::optional<Fd>();
    return std::optional<Fd>(std::move(*fd));
  }

  State& state_;
  InodeKey root_;
  std::map<InodeKey, std::set<Spot>> spots_of_dirs_;
  std::map<InodeKey, std::set<std::string>> looks_;
  std::set<InodeKey> touched_, gone_;
  std::set<InodeKey> way_;  ///< directories being opened
  bool too_deep_ = false;
  std::map<InodeKey, std::optional<quota::InodeRecord>> found_;
};

}  // namespace

Result<bool> replay(State& state, const std::vector<quota::Intent>& intents, const Leftovers& left,
                    std::vector<quota::Amendment>& amendments) {
  return Replay(state, intents).run(left, amendments);
}

}  // namespace troot::fusefs
