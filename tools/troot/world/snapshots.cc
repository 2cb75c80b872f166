// The steps of a snapshot before world.json says that it is pending; those after that, which the
// next command takes too, are in pending.cc.
#include "tools/troot/world/snapshots.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <random>
#include <set>

#include <boost/filesystem/path.hpp>

#include "tools/troot/sandbox/process.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/name.h"
#include "tools/troot/world/pending.h"
#include "tools/troot/world/removal.h"
#include "tools/troot/world/sealing.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

/// One word of a program's command line may have 128K; the rest of the options needs some.
constexpr std::size_t kMostWords_bytes = 120'000;
constexpr unsigned kMostSync_s = 30;

std::string random_id() {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::random_device random;
  std::string id;
  for (int i = 0; i < 64; ++i) id += kDigits[random() % kDigits.size()];
  return id;
}

/// That the world can be mounted with one more.
Done check_room(const Store& store, const World& world, const Settings& settings) {
  if (world.is_temporary())
    return failure("world '" + world.name() +
                   "' goes with its command (run --rm) and keeps no ledger: no snapshot can be "
                   "taken (troot run without --rm keeps it)");
  const std::size_t path_bytes = Layers(store).path().size() + sizeof "/" + 64 + sizeof "/charges:";
  const std::size_t most = std::min(kMostLayers, kMostWords_bytes / path_bytes);
  const std::size_t lowest = settings.base.empty() ? 0 : 1;
  if (settings.layers.size() + lowest >= most)
    return failure("world '" + world.name() + "' consists of " +
                   std::to_string(settings.layers.size()) +
                   " layers, and a mount takes no more (go back to an earlier one with troot "
                   "rollback, or make one of them: troot export " +
                   world.name() + " -o FILE, then troot create NAME --from FILE)");
  if (settings.charged.size() < most) return {};
  return failure("world '" + world.name() + "' keeps " + std::to_string(settings.charged.size()) +
                 " layers of snapshots, and can keep no more (troot snapshot rm " + world.name() +
                 " TAG removes one)");
}

/// Of s1, s2 and so on, as far as nobody counts past them; 0: it is another tag.
std::uint64_t number_of(const std::string& tag) {
  constexpr std::size_t kMostDigits = 9;
  const std::string digits = tag.substr(1);
  const bool counted = tag.front() == 's' && !digits.empty() && digits.size() <= kMostDigits &&
                       digits.find_first_not_of("0123456789") == std::string::npos;
  return counted ? std::stoull(digits) : 0;
}

Outcome<std::string> free_tag(const World& world, const Settings& settings,
                              const std::string& wanted) {
  std::set<std::string> tags;
  for (const Snapshot& one : settings.snapshots) tags.insert(one.tag);
  if (wanted.empty()) {
    std::uint64_t highest = 0;
    for (const std::string& tag : tags) highest = std::max(highest, number_of(tag));
    return "s" + std::to_string(highest + 1);
  }
  if (tags.count(wanted) == 0) return wanted;
  return failure("world '" + world.name() + "' has a snapshot '" + wanted +
                 "' already (troot snapshot rm " + world.name() + " " + wanted + " removes it)");
}

/// What programs inside have written and the kernel has not yet handed on, so that the snapshot
/// has it. Best effort, in a process of its own: it enters the world.
void sync_inside(const Session& session) {
  const pid_t child = ::fork();
  if (child < 0) return;
  if (child == 0) {
    ::prctl(PR_SET_DUMPABLE, 0);
    ::alarm(kMostSync_s);
    for (const Fd& fd : session.namespaces) {
      if (::setns(fd.get(), 0) != 0) ::_exit(1);
    }
    const Fd root(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ::_exit(root.valid() && ::syncfs(root.get()) == 0 ? 0 : 1);
  }
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Outcome<std::uint64_t> ask_engine(const Store& store, const Held& held, const Layer& place) {
  if (!held.is_stopped()) return seal_running(held.world, place);
  TAKE(config, config_of_world(store, held.world, held.settings));
  return seal_stopped(config, place);
}

Done settle(const Store& store, Held& held) {
  if (held.is_stopped()) return settle_stopped_world(store, held.world, held.settings);
  Done done = settle_running_world(store, held.world, held.settings);
  if (done || server_of(held.world) != 0) return done;
  // Its server has ended in the midst of it, and so the world does.
  held.session.reset();
  TAKE(stopped, hold_stopped(store, held.world, std::move(held.lock)));
  held = std::move(stopped);
  return {};
}

}  // namespace

Outcome<Taken> seal(const Store& store, Held& held, const std::string& tag) {
  NEED(check_room(store, held.world, held.settings));
  const Layers layers(store);
  TAKE(kept, layers.hold());
  TAKE(place, layers.begin_sealing());
  Pending pending;
  pending.layer = random_id();
  pending.incoming = boost::filesystem::path(place.path()).filename().string();
  pending.tag = tag;
  pending.created_s = std::time(nullptr);
  held.settings.pending = pending;
  if (const Done said = held.world.save(held.settings); !said) {
    held.settings.pending.reset();
    static_cast<void>(remove_directory(place.path()));
    return tl::unexpected<Problem>(said.error());
  }
  Taken taken{tag, pending.layer, 0, !held.is_stopped()};
  if (held.session) sync_inside(*held.session);
  const auto sealed = ask_engine(store, held, place);
  if (sealed) taken.paused_us = *sealed;
  // Whatever was answered: it is so or not by what lies on disk.
  NEED(settle(store, held));
  const auto& now = held.settings.layers;
  if (!now.empty() && now.front() == pending.layer) return taken;
  if (!sealed) return tl::unexpected<Problem>(sealed.error());
  return failure("world '" + held.world.name() + "': the snapshot was not taken");
}

Outcome<Taken> take_snapshot(const Store& store, const World& world, const std::string& tag) {
  if (!tag.empty()) NEED(check_tag(tag));
  TAKE(held, hold_world(store, world));
  auto taken = free_tag(world, held.settings, tag).and_then([&](const std::string& free) {
    return seal(store, held, free);
  });
  release(std::move(held));
  return taken;
}

Done remove_snapshots(const Store& store, const World& world,
                      const std::vector<std::string>& refs) {
  TAKE(held, hold_world(store, world));
  Settings& settings = held.settings;
  std::set<std::string> doomed;
  for (const std::string& ref : refs) {
    const auto one = find_snapshot(settings, world.name(), ref);
    if (!one) {
      release(std::move(held));
      return tl::unexpected<Problem>(one.error());
    }
    doomed.insert(one->tag);
  }
  const Settings before = settings;
  std::erase_if(settings.snapshots,
                [&doomed](const Snapshot& one) { return doomed.count(one.tag) != 0; });
  settings.forget_unlisted();
  NEED(world.save(settings));
  if (held.is_stopped()) forget_charges(world, before, settings);
  sweep_layers(store);
  release(std::move(held));
  return {};
}

}  // namespace troot::cli
