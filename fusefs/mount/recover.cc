// The order of recovery: what is to be removed is looked at first, the ledger is told
// in one batch, and only then does it go. So a mount that is killed while it recovers is recovered
// from by the next one.
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstring>
#include <map>

#include "fusefs/base/remove_tree.h"
#include "fusefs/disk/object.h"
#include "fusefs/mount/recovery.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/intent.h"

namespace troot::fusefs {
namespace {

using Progress = std::function<void(std::uint64_t)>;

Result<std::vector<std::string>> names_in(int dirfd) {
  std::vector<std::string> names;
  TRY(fd, posix::open_at(dirfd, ".", O_RDONLY | O_DIRECTORY));
  CHECK_OK(posix::list(fd.get(), [&](const DirName& d) {
    names.emplace_back(d.name);
    return true;
  }));
  return names;
}

/// What belongs to a symlink that is about to go.
void drop_record(State& state, const struct statx& sx) {
  if (S_ISLNK(sx.stx_mode) && sx.stx_nlink == 1) state.links.erase(key_of(sx));
}

Status empty_dir(State& state, int dirfd) {
  TRY(names, names_in(dirfd));
  for (const std::string& name : names) {
    if (const auto sx = posix::stat_at(dirfd, name.c_str())) drop_record(state, *sx);
    remove_tree(dirfd, name.c_str());
  }
  return {};
}

Status remove_parked(State& state, int dirfd, const char* name) {
  TRY(sx, posix::stat_at(dirfd, name));
  TRY(e, examine(state, dirfd, name, sx));
  drop_record(state, sx);
  Intent intent(state);
  if (sx.stx_nlink == 1) intent.discard(e.account);
  CHECK_OK(posix::unlink(dirfd, name));
  if (sx.stx_nlink > 1 || !state.quota) return {};
  state.quota->release(e.account.project, {e.account.bytes(), 1});
  state.quota->erase(e.account.key);
  return {};
}

const char* reason(quota::Recount r) {
  switch (r) {
    case quota::Recount::kNewLedger:
      return "there was no ledger yet";
    case quota::Recount::kUnclean:
      return "the last server ended without closing the ledger, and its journal does not say all";
    case quota::Recount::kBypassed:
      return "the upper was mounted without quota or by the kernel's overlayfs since, or is a new "
             "one";
    case quota::Recount::kOlder:
      return "an earlier version of troot, which charged less, kept the ledger";
    case quota::Recount::kForeign:
      return "the ledger belonged to another upper";
    case quota::Recount::kStale:
      return "the ledger had lost what was written to it last";
    case quota::Recount::kCorrupt:
      return "the ledger was damaged; it was set aside";
    case quota::Recount::kNotNeeded:
      break;
  }
  return "";
}

class Stopwatch {
 public:
  [[nodiscard]] long ms() const {
    using std::chrono::duration_cast, std::chrono::milliseconds;
    return duration_cast<milliseconds>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Settles what lies in the stage and the parking place, and what the journal names. False: the
/// upper must be counted.
Result<bool> amend(State& state) {
  const Stopwatch watch;
  const bool killed = state.quota->recount() == quota::Recount::kUnclean;
  const auto intents = state.quota->intents();
  if (killed && !intents) return false;
  TRY(left, look_at_leftovers(state));
  if (!killed && !left.any) return true;
  std::vector<quota::Amendment> amendments;
  if (const auto known =
          replay(state, intents.value_or(std::vector<quota::Intent>()), left, amendments);
      !known) {
    spdlog::warn("{}: {}, looked at for the journal", state.layout.config.upper,
                 std::strerror(known.error().value()));
    return false;
  } else if (!*known) {
    return false;
  }
  if (const Status amended = state.quota->amend(amendments); !amended) {
    // A record that cannot be read comes to light here only; a count begins with an empty ledger.
    if (amended.error() != EIO) return fail(amended.error());
    spdlog::warn("the ledger of {} cannot be read", state.layout.config.upper);
    return false;
  }
  if (killed) {
    state.counts.recovered = amendments.size();
    spdlog::warn("recovered {} objects in {} ms", amendments.size(), watch.ms());
  }
  return true;
}

Status count(State& state, const Progress& progress) {
  const Stopwatch watch;
  const bool fresh = state.quota->recount() == quota::Recount::kNewLedger;
  const char* const why = reason(state.quota->recount());
  const Progress tell = [&](std::uint64_t objects) {
    spdlog::warn("counting {}: {} objects so far ({})", state.layout.config.upper, objects, why);
    if (progress) progress(objects);
  };
  TRY(objects, recount(state, tell));
  state.counts.counted = objects;
  // Nothing to speak of where all is new.
  const auto level = fresh && objects == 1 ? spdlog::level::debug : spdlog::level::warn;
  spdlog::log(level, "counted {} objects of {} in {} ms: {}", objects, state.layout.config.upper,
              watch.ms(), why);
  return {};
}

}  // namespace

Result<Leftovers> look_at_leftovers(State& state) {
  struct Found {
    std::uint32_t links;  ///< in all
    std::uint32_t here;   ///< of these, here
    std::optional<quota::InodeRecord> record;
  };
  std::map<quota::InodeKey, Found> all;
  for (const int dirfd : {state.work.stage.get(), state.work.parked.get()}) {
    TRY(names, names_in(dirfd));
    for (const std::string& name : names) {
      TRY(sx, posix::stat_at(dirfd, name.c_str()));
      // What all whiteouts are names of is charged to nobody.
      if (is_whiteout(sx) ||
          posix::get_xattr(dirfd, name.c_str(), state.layout.xattr.whiteout.c_str()))
        continue;
      const std::uint32_t links = S_ISDIR(sx.stx_mode) ? 1 : sx.stx_nlink;
      auto [it, first] = all.try_emplace(key_of(sx), Found{links, 0, std::nullopt});
      ++it->second.here;
      if (!first || links == 1) continue;
      TRY(e, examine(state, dirfd, name.c_str(), sx));
      it->second.record = e.account.record();
    }
  }
  Leftovers left;
  left.any = !all.empty();
  for (const auto& [key, found] : all) {
    const bool stays = found.here < found.links;
    left.amendments.push_back({key, stays ? found.record : std::nullopt});
  }
  // What is in the index may have no place in the upper that the journal could name.
  TRY(names, names_in(state.work.index.get()));
  for (const std::string& name : names) {
    TRY(sx, posix::stat_at(state.work.index.get(), name.c_str()));
    TRY(e, examine(state, state.work.index.get(), name.c_str(), sx));
    left.amendments.push_back({e.account.key, e.account.record()});
  }
  return left;
}

Status remove_leftovers(State& state) {
  CHECK_OK(empty_dir(state, state.work.stage.get()));
  return empty_dir(state, state.work.parked.get());
}

Status recover(State& state, const Progress& progress) {
  if (!state.quota) return remove_leftovers(state);
  const auto before = state.quota->recount();
  const bool amendable = before == quota::Recount::kNotNeeded || before == quota::Recount::kUnclean;
  TRY(known, amendable ? amend(state) : Result<bool>(false));
  // Until the leftovers are gone the journal of the server before counts: it is not yet restarted.
  CHECK_OK(remove_leftovers(state));
  if (!known) return count(state, progress);
  return before == quota::Recount::kUnclean ? state.quota->end_recovery() : Status{};
}

Status clean_parked(State& state) {
  CHECK_OK(empty_dir(state, state.work.stage.get()));
  TRY(names, names_in(state.work.parked.get()));
  Status first;
  for (const std::string& name : names) {
    auto status = remove_parked(state, state.work.parked.get(), name.c_str());
    if (!status && first) first = status;
  }
  return first;
}

}  // namespace troot::fusefs
