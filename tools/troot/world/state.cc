// Who is asked what about a world, and the JSON forms of the answers.
#include "tools/troot/world/state.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <sstream>

#include <boost/filesystem/path.hpp>
#include <nlohmann/json.hpp>

#include "fusefs/control/server.h"
#include "quota/unit.h"
#include "tools/troot/sandbox/wire.h"
#include "tools/troot/world/layers.h"

namespace troot::cli {
namespace {

using nlohmann::json;
namespace fs = boost::filesystem;

constexpr int kAnswer_ms = 2000;
constexpr int kAnswerStep_ms = 250;
constexpr std::chrono::milliseconds kStatusPatience{2000};
constexpr int kStep_ms = 5;
constexpr int kLeastStep_us = 250;
constexpr int kForgotten_ms = 1000;
constexpr const char* kLastFile = "/last.json";
constexpr const char* kControlFile = "/control";

/// What the control socket's `status` and last.json have in common.
constexpr const char* kKept[] = {"used_bytes",  "used_inodes",  "peak_bytes",          "failcnt",
                                 "limit_bytes", "limit_inodes", "limit_inodes_derived"};

std::int64_t number(const std::string& text) { return std::strtoll(text.c_str(), nullptr, 10); }

/// Resident memory of a process, in bytes.
std::int64_t resident_bytes(pid_t pid) {
  std::istringstream statm(read_text("/proc/" + std::to_string(pid) + "/statm"));
  std::int64_t size_pages = 0;
  std::int64_t resident_pages = 0;
  statm >> size_pages >> resident_pages;
  return resident_pages * ::sysconf(_SC_PAGESIZE);
}

void read_last(WorldView& view, const std::string& path, const Settings& settings) {
  const json j = json::parse(read_text(path), nullptr, false);
  const auto get = [&](const char* key) -> std::int64_t {
    return j.is_object() && j.contains(key) && j[key].is_number_integer()
               ? j[key].get<std::int64_t>()
               : 0;
  };
  view.used_bytes = get("used_bytes");
  view.used_inodes = get("used_inodes");
  view.peak_bytes = get("peak_bytes");
  view.failcnt = get("failcnt");
  // The server's limits, unless they were changed since it ended.
  if (!j.is_object() || !j.contains("limit_bytes") || !j.contains("limit_inodes")) return;
  if (!settings.new_limit_bytes) view.limit_bytes = get("limit_bytes");
  if (settings.new_limit_inodes) return;
  view.limit_inodes = get("limit_inodes");
  view.inodes_derived = get("limit_inodes_derived") != 0;
}

const char* word_of(Presence::State state) {
  switch (state) {
    case Presence::State::kStopped:
      return "stopped";
    case Presence::State::kRunning:
      return "running";
    case Presence::State::kBusy:
      return "busy";
    case Presence::State::kHung:
      return "hung";
    case Presence::State::kForeign:
      return "foreign";
  }
  return "";
}

Layers layers_of(const World& world) {
  return Layers(Store(fs::path(world.path()).parent_path().parent_path().string()));
}

/// The one of our processes that was started with the world's control socket: for when it takes no
/// connection any more that would tell.
pid_t server_by_words(const World& world) {
  const std::string wanted = "control=" + world.run("control") + ",";
  const std::string uid = "\nUid:\t" + std::to_string(::geteuid()) + "\t";
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), &::closedir);
  while (const dirent* entry = proc ? ::readdir(proc.get()) : nullptr) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    const std::string directory = std::string("/proc/") + entry->d_name;
    // Not the directory's owner: that is root's where the process may not be looked into.
    if (pid <= 0 || read_text(directory + "/status").find(uid) == std::string::npos) continue;
    const std::string words = read_text(directory + "/cmdline");
    if (words.rfind("trootfs", 0) == 0 && words.find(wanted) != std::string::npos) return pid;
  }
  return 0;
}

/// What the sealed layers are that a world lists; one that cannot be read counts for nothing.
void add_layers(WorldView& view, const World& world, const Settings& settings) {
  for (const Snapshot& one : settings.snapshots) view.snapshots.push_back(one.tag);
  const Layers layers = layers_of(world);
  for (const std::string& id : settings.charged) {
    const auto record = layers.at(id).load();
    if (!record) continue;
    view.layers_bytes += static_cast<std::int64_t>(record->size_bytes);
    view.layers_inodes += static_cast<std::int64_t>(record->inodes);
  }
  const auto& charged = settings.charged;
  view.shared_layers = static_cast<std::size_t>(
      std::count_if(settings.layers.begin(),
                    settings.layers.begin() + static_cast<std::ptrdiff_t>(settings.sealed),
                    [&charged](const std::string& id) {
                      return std::find(charged.begin(), charged.end(), id) == charged.end();
                    }));
}

WorldView from_json(const json& j) {
  WorldView v;
  v.name = j.value("name", "");
  v.state = j.value("state", "");
  v.base = j.value("base", "");
  v.layers = j.value("layers", v.layers);
  v.snapshots = j.value("snapshots", v.snapshots);
  v.layers_bytes = j.value("layers_bytes", v.layers_bytes);
  v.layers_inodes = j.value("layers_inodes", v.layers_inodes);
  v.shared_layers = j.value("shared_layers", v.shared_layers);
  v.created_s = j.value("created", v.created_s);
  v.used_bytes = j.value("used_bytes", v.used_bytes);
  v.limit_bytes = j.value("limit_bytes", v.limit_bytes);
  v.used_inodes = j.value("used_inodes", v.used_inodes);
  v.limit_inodes = j.value("limit_inodes", v.limit_inodes);
  v.inodes_derived = j.value("limit_inodes_derived", v.inodes_derived);
  v.peak_bytes = j.value("peak_bytes", v.peak_bytes);
  v.failcnt = j.value("failcnt", v.failcnt);
  v.sessions = j.value("sessions", v.sessions);
  v.server_pid = j.value("server_pid", v.server_pid);
  v.server_memory_bytes = j.value("server_memory_bytes", v.server_memory_bytes);
  return v;
}

/// Asks the init of the world we are in.
Outcome<std::vector<WorldView>> ask_inside() {
  const Fd fd = connect_socket(kInsideSocket, SOCK_STREAM);
  if (!fd.valid()) return failure_errno(std::string(kInsideSocket));
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(n));
  }
  const json j = json::parse(text, nullptr, false);
  if (!j.is_array()) return failure(std::string(kInsideSocket) + ": no answer");
  std::vector<WorldView> views;
  try {
    for (const auto& item : j) views.push_back(from_json(item));
  } catch (const json::exception& e) {
    return failure(std::string(kInsideSocket) + ": " + e.what());
  }
  return views;
}

}  // namespace

Presence presence_of(const World& world) {
  using State = Presence::State;
  const Fd fd = connect_own_socket(world.run("init.sock"), SOCK_SEQPACKET);
  if (!fd.valid() && errno == EPERM) return {State::kForeign};
  if (!fd.valid() && errno == EAGAIN) return {State::kHung};
  if (!fd.valid() || !send_message(fd.get(), kWordCount)) return {};
  const pid_t pid = listener_of(fd.get());
  pollfd ready{fd.get(), POLLIN, 0};
  for (int waited_ms = 0; ::poll(&ready, 1, kAnswerStep_ms) == 0;) {
    if (fusefs::process_is_stopped(pid)) return {State::kHung, 0, pid};
    waited_ms += kAnswerStep_ms;
    if (waited_ms >= kAnswer_ms) return {State::kBusy, 0, pid};
  }
  const Message answer = receive_message(fd.get(), 0);
  if (answer.word.empty()) return {};
  return {State::kRunning, static_cast<unsigned>(number(answer.word)), pid};
}

bool is_running(const World& world) {
  const auto state = presence_of(world).state;
  return state != Presence::State::kStopped && state != Presence::State::kForeign;
}

pid_t server_of(const World& world) {
  const Fd fd = connect_own_socket(world.run("control"), SOCK_STREAM);
  if (fd.valid()) return listener_of(fd.get());
  return errno == EAGAIN ? server_by_words(world) : 0;
}

pid_t stopped_server(const World& world) {
  const pid_t pid = server_of(world);
  return fusefs::process_is_stopped(pid) ? pid : 0;
}

std::string hung_text(const World& world, const std::string& who, pid_t pid) {
  const std::string number = std::to_string(pid);
  return "the " + who + " of world '" + world.name() + "' " +
         (pid == 0 ? "does not answer ("
                   : "is stopped (kill -CONT " + number + " lets it go on, ") +
         "troot stop " + world.name() + " ends the world)";
}

Outcome<Fd> take_server_lock(const World& world, int timeout_s) {
  const std::string path = world.run("server.lock");
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return failure_errno(path);
  for (int waited_us = 0; ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0;) {
    if (errno != EWOULDBLOCK && errno != EINTR) return failure_errno(path);
    if (waited_us >= timeout_s * 1'000'000) {
      return failure("the server of world '" + world.name() +
                     "' still runs (its log: " + world.run("server.log") + ")");
    }
    // A server that ends takes a few milliseconds, one that writes a lot out takes seconds.
    const int step_us = std::clamp(waited_us / 4, kLeastStep_us, kStep_ms * 1000);
    ::usleep(static_cast<useconds_t>(step_us));
    waited_us += step_us;
  }
  return fd;
}

bool server_is_gone(const World& world) { return take_server_lock(world, 0).has_value(); }

WorldView view(const World& world) {
  WorldView v;
  v.name = world.name();
  if (!world.check_own()) {
    v.state = word_of(Presence::State::kForeign);
    return v;
  }
  const auto settings = world.load();
  if (!settings) {
    v.state = "damaged";
    return v;
  }
  v.base = settings->base;
  v.layers = settings->layers;
  add_layers(v, world, *settings);
  v.created_s = settings->created_s;
  v.limit_bytes = static_cast<std::int64_t>(settings->limit_bytes);
  v.limit_inodes = static_cast<std::int64_t>(settings->limit_inodes);
  v.inodes_derived = !settings->new_limit_inodes || settings->derive_inodes;
  const Presence presence = presence_of(world);
  v.state = word_of(presence.state);
  v.sessions = presence.sessions;
  // Read only now: a world that has just ended has left its last word there.
  read_last(v, world.path() + "/run" + kLastFile, *settings);
  v.derive_inodes();
  if (presence.state == Presence::State::kStopped || presence.state == Presence::State::kForeign)
    return v;
  const auto reply = fusefs::control_request(world.path() + "/run" + kControlFile, "status",
                                             {.patience = kStatusPatience});
  if (!reply && reply.error() == ETIMEDOUT) {
    v.server_pid = stopped_server(world);
    v.state = v.server_pid != 0 ? "hung" : "busy";
  }
  if (!reply || reply->error != 0) return v;
  v.used_bytes = number(reply->value("used_bytes"));
  v.used_inodes = number(reply->value("used_inodes"));
  v.limit_bytes = number(reply->value("limit_bytes"));
  v.limit_inodes = number(reply->value("limit_inodes"));
  v.inodes_derived = number(reply->value("limit_inodes_derived")) != 0;
  v.peak_bytes = number(reply->value("peak_bytes"));
  v.failcnt = number(reply->value("failcnt"));
  v.server_pid = static_cast<pid_t>(number(reply->value("pid")));
  v.server_memory_bytes = resident_bytes(v.server_pid);
  return v;
}

void WorldView::derive_inodes() {
  if (!inodes_derived) return;
  limit_inodes =
      static_cast<std::int64_t>(quota::derived_inodes(static_cast<std::uint64_t>(limit_bytes)));
  inodes_derived = limit_inodes != 0;
}

std::string inside_world() {
  std::istringstream lines(read_text(kInsideMarker));
  constexpr std::string_view kKey = "name=";
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(kKey, 0) == 0) return line.substr(kKey.size());
  }
  return "";
}

Outcome<std::vector<WorldView>> view_all() {
  if (!inside_world().empty()) return ask_inside();
  TAKE(store, Store::of_user());
  store.sweep();
  std::vector<WorldView> views;
  for (const World& world : store.worlds()) views.push_back(view(world));
  return views;
}

json to_json(const WorldView& v, const std::string& current) {
  return {{"name", v.name},
          {"current", v.name == current},
          {"state", v.state},
          {"base", v.base},
          {"layers", v.layers},
          {"snapshots", v.snapshots},
          {"layers_bytes", v.layers_bytes},
          {"layers_inodes", v.layers_inodes},
          {"shared_layers", v.shared_layers},
          {"created", v.created_s},
          {"used_bytes", v.used_bytes},
          {"limit_bytes", v.limit_bytes},
          {"used_inodes", v.used_inodes},
          {"limit_inodes", v.limit_inodes},
          {"limit_inodes_derived", v.inodes_derived},
          {"peak_bytes", v.peak_bytes},
          {"failcnt", v.failcnt},
          {"sessions", v.sessions},
          {"server_pid", v.server_pid},
          {"server_memory_bytes", v.server_memory_bytes}};
}

void forget_usage(const World& world, const Settings& settings) {
  const std::string path = world.path() + "/run" + kLastFile;
  json j = json::parse(read_text(path), nullptr, false);
  if (!j.is_object()) return;
  WorldView left;
  add_layers(left, world, settings);
  j["used_bytes"] = left.layers_bytes;
  j["used_inodes"] = left.layers_inodes;
  static_cast<void>(replace_text(path, j.dump() + "\n", Keep::kWhileRunning));
}

void forget_charges(const World& world, const Settings& before, const Settings& settings) {
  const std::string path = world.path() + "/run" + kLastFile;
  json j = json::parse(read_text(path), nullptr, false);
  if (!j.is_object()) return;
  WorldView more, less;
  add_layers(more, world, before);
  add_layers(less, world, settings);
  const auto lower = [&j](const char* key, std::int64_t by) {
    if (j.contains(key) && j[key].is_number_integer())
      j[key] = std::max<std::int64_t>(0, j[key].get<std::int64_t>() - by);
  };
  lower("used_bytes", more.layers_bytes - less.layers_bytes);
  lower("used_inodes", more.layers_inodes - less.layers_inodes);
  static_cast<void>(replace_text(path, j.dump() + "\n", Keep::kWhileRunning));
}

void remember_usage(const std::string& run_directory) {
  const std::string control = run_directory + kControlFile;
  auto reply = fusefs::control_request(control, "status");
  // What was unlinked is charged until the kernel lets go of it, a moment after the last user has.
  for (int waited_ms = 0; waited_ms < kForgotten_ms; waited_ms += kStep_ms) {
    if (!reply || reply->error != 0 || number(reply->value("parked")) == 0) break;
    ::usleep(kStep_ms * 1000);
    reply = fusefs::control_request(control, "status");
  }
  if (!reply || reply->error != 0) return;
  json j;
  for (const char* key : kKept) j[key] = number(reply->value(key));
  // Without it the numbers of the time before are shown; the ledger has the truth for the next
  // start.
  static_cast<void>(replace_text(run_directory + kLastFile, j.dump() + "\n", Keep::kWhileRunning));
}

}  // namespace troot::cli
