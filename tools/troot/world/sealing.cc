// The engine behind world/sealing.h, and what lies on disk after it.
#include "tools/troot/world/sealing.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "fusefs/base/escape.h"
#include "fusefs/control/server.h"
#include "fusefs/disk/format.h"
#include "fusefs/mount/seal.h"
#include "fusefs/overlay.h"
#include "quota/charges.h"
#include "tools/troot/world/removal.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

/// What a server waits for those who are at work inside, and more.
constexpr std::chrono::milliseconds kSealPatience{120'000};
constexpr int kSealStep_ms = 5;
constexpr int kMostSeal_ms = 60'000;

bool lies_there(const std::string& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0;
}

bool is_whole(const Layer& place) { return lies_there(place.tree()) && place.is_sealed(); }

std::string uuid_name() { return fusefs::XattrNames(xattr_space_here()).uuid; }

tl::unexpected<Problem> unexplained(const Layer& place) {
  return failure(place.path() +
                 " is neither a whole layer nor empty, and nothing says why; look at it before you "
                 "remove it (mv it away, and try again)");
}

/// While it lives, of what the union notes in this process only errors are shown: a count after a
/// rollback, a recovery after a kill are no news for who asked for a snapshot.
class Quiet {
 public:
  Quiet() { spdlog::set_level(spdlog::level::err); }
  ~Quiet() { spdlog::set_level(before_); }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  const spdlog::level::level_enum before_ = spdlog::get_level();
};

/// True: it was empty and is gone, or was gone. A server that is asked to use it later cannot.
bool is_gone(const Layer& place) { return ::rmdir(place.path().c_str()) == 0 || errno == ENOENT; }

}  // namespace

Outcome<std::uint64_t> seal_stopped(const fusefs::Config& config, const Layer& place) {
  const Quiet quiet;
  auto overlay = fusefs::Overlay::open(config);
  if (!overlay) return failure(overlay.error().message);
  const auto sealed = (*overlay)->snapshot(place.path());
  const auto closed = (*overlay)->close();
  if (!sealed) return failure(sealed.error().message);
  if (!closed) return failure_errno(config.upper, closed.error().value());
  return sealed->paused_us;
}

Outcome<std::uint64_t> seal_running(const World& world, const Layer& place) {
  const auto reply = fusefs::control_request(world.run("control"),
                                             "snapshot dir=" + fusefs::escape_value(place.path()),
                                             {.patience = kSealPatience});
  const std::string server = "the server of world '" + world.name() + "'";
  if (!reply && reply.error() == ETIMEDOUT)
    return failure(hung_text(world, "server", stopped_server(world)));
  if (!reply) return failure_errno(server, reply.error().value());
  if (reply->error != 0) return failure(server + ": " + reply->text);
  return std::strtoull(reply->value("paused_us").c_str(), nullptr, 10);
}

Outcome<Seal> settle_stopped(const World& world, const Layer& place) {
  const auto settled = fusefs::settle_seal(world.upper(), world.work());
  if (!settled)
    return failure_errno("world '" + world.name() + "': ending its snapshot in " + place.path(),
                         settled.error().value());
  if (settled->outcome == fusefs::SealOutcome::kNotTaken) {
    if (lies_there(place.path())) NEED(remove_directory(place.path()));
    return Seal::kNotTaken;
  }
  if (is_whole(place)) return Seal::kWhole;
  // Nothing was begun, or it was taken back: then there is nothing in it.
  if (is_gone(place)) return Seal::kNotTaken;
  return unexplained(place);
}

Outcome<Seal> settle_running(const World& world, const Layer& place) {
  for (int waited_ms = 0; waited_ms < kMostSeal_ms; waited_ms += kSealStep_ms) {
    if (is_gone(place)) return Seal::kNotTaken;
    // Its record is the first thing that the server writes and the last that it removes.
    if (!lies_there(world.work() + "/troot/sealing") && is_whole(place)) return Seal::kWhole;
    if (server_of(world) == 0)
      return failure("the server of world '" + world.name() +
                     "' ended in the midst of a snapshot; try again");
    ::usleep(kSealStep_ms * 1000);
  }
  return unexplained(place);
}

Outcome<LayerCharge> charge_of(const Layer& layer) {
  const auto charges = quota::read_charges(layer.charges());
  if (!charges) return failure_errno(layer.charges(), charges.error().value());
  if (!*charges) return failure(layer.charges() + " is damaged or gone");
  LayerCharge sum;
  for (const auto& [project, usage] : **charges) {
    sum.bytes += static_cast<std::uint64_t>(std::max<std::int64_t>(usage.bytes, 0));
    sum.inodes += static_cast<std::uint64_t>(std::max<std::int64_t>(usage.inodes, 0));
  }
  return sum;
}

Done dress_upper(const std::string& tree, const std::string& upper, const std::string& uuid) {
  if (const auto dressed = fusefs::dress_root(tree, upper); !dressed)
    return failure_errno(upper, dressed.error().value());
  const std::string name = uuid_name();
  // What it was is another upper's name.
  if (uuid.empty()) {
    if (::removexattr(upper.c_str(), name.c_str()) != 0 && errno != ENODATA)
      return failure_errno(upper);
    return {};
  }
  if (::setxattr(upper.c_str(), name.c_str(), uuid.data(), uuid.size(), 0) != 0)
    return failure_errno(upper);
  return {};
}

std::string uuid_of(const std::string& upper) {
  char text[128];
  const ssize_t n = ::getxattr(upper.c_str(), uuid_name().c_str(), text, sizeof text);
  return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string();
}

}  // namespace troot::cli
