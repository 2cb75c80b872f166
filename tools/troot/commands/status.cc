// The command `troot status`.
#include <algorithm>
#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "tools/troot/commands/command.h"
#include "tools/troot/text/render.h"
#include "tools/troot/text/size.h"
#include "tools/troot/world/name.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

constexpr unsigned kBarCells = 20;

struct StatusWords {
  std::string name;
  bool json = false;
};

/// "300M of 300M  [####################]  100%"
std::string amount(std::int64_t used, std::int64_t limit, std::string (*format)(std::uint64_t)) {
  const std::string text = format(static_cast<std::uint64_t>(used));
  if (limit == 0) return text + " (no limit)";
  const std::int64_t percent = static_cast<std::int64_t>(static_cast<long double>(used) * 100 /
                                                         static_cast<long double>(limit));
  const Tone tone = percent >= 100 ? Tone::kBad : percent >= 90 ? Tone::kWarning : Tone::kGood;
  return text + " of " + format(static_cast<std::uint64_t>(limit)) + "  " +
         tinted(tone, bar(used, limit, kBarCells)) + "  " + std::to_string(percent) + "%";
}

std::string count_text(std::uint64_t count) { return std::to_string(count); }

/// The directory, or the layers by what tells them apart.
std::string base_text(const WorldView& v) {
  constexpr std::size_t kShown = 12;
  constexpr std::size_t kMostShown = 6;
  std::string text = v.base;
  for (std::size_t at = 0; at < v.layers.size() && at < kMostShown; ++at)
    text += (at == 0 ? (text.empty() ? "layer " : ", under layer ") : ", ") +
            v.layers[at].substr(0, kShown);
  if (v.layers.size() > kMostShown)
    text += " and " + std::to_string(v.layers.size() - kMostShown) + " more";
  return text;
}

/// How many, and the last ones of them.
std::string snapshots_text(const WorldView& v) {
  constexpr std::size_t kMostShown = 5;
  const std::size_t count = v.snapshots.size();
  std::string text = std::to_string(count) + ": ";
  std::size_t at = count > kMostShown ? count - kMostShown : 0;
  if (at != 0) text += "... ";
  for (; at < count; ++at) text += v.snapshots[at] + (at + 1 < count ? ", " : "");
  return text;
}

/// What of the usage lies in layers, and whose they are.
std::string layers_text(const WorldView& v) {
  std::string text;
  if (v.layers_bytes != 0 || v.layers_inodes != 0)
    text = format_size(static_cast<std::uint64_t>(v.layers_bytes)) + " and " +
           std::to_string(v.layers_inodes) + " inodes of it in snapshots and sealed layers";
  if (v.shared_layers == 0) return text;
  return text + (text.empty() ? "" : "; ") + std::to_string(v.shared_layers) +
         (v.shared_layers == 1 ? " layer is" : " layers are") +
         " shared: it is charged for its own changes only";
}

std::string rendered(const WorldView& v, const std::string& current) {
  std::string out;
  const auto line = [&out](const std::string& label, const std::string& value) {
    out += label + std::string(11 - label.size(), ' ') + value + "\n";
  };
  line("name", tinted(Tone::kStrong, v.name) + (v.name == current ? " *" : ""));
  line("state", v.state);
  line("base", base_text(v));
  line("disk", amount(v.used_bytes, v.limit_bytes, &format_size));
  line("inodes",
       amount(v.used_inodes, v.limit_inodes, &count_text) + (v.inodes_derived ? "  derived" : ""));
  if (const std::string text = layers_text(v); !text.empty()) line("charged", text);
  if (!v.snapshots.empty()) line("snapshots", snapshots_text(v));
  line("peak", format_size(static_cast<std::uint64_t>(v.peak_bytes)));
  line("refused", std::to_string(v.failcnt));
  line("sessions", std::to_string(v.sessions));
  if (v.server_pid != 0) {
    line("server",
         "process " + std::to_string(v.server_pid) +
             (v.server_memory_bytes == 0
                  ? ""
                  : ", memory " + format_size(static_cast<std::uint64_t>(v.server_memory_bytes))));
  }
  line("created", format_time(v.created_s));
  return out;
}

/// Outside, only the one world is asked; inside, init tells all of them.
Outcome<WorldView> view_of(const std::string& name) {
  if (inside_world().empty()) {
    TAKE(store, Store::of_user());
    TAKE(world, store.find(name));
    return view(world);
  }
  NEED(check_name(name));
  TAKE(views, view_all());
  const auto found =
      std::find_if(views.begin(), views.end(), [&](const WorldView& v) { return v.name == name; });
  if (found == views.end()) return failure("no world named '" + name + "' (troot list shows them)");
  return *found;
}

Outcome<int> status(const StatusWords& words) {
  TAKE(seen, view_of(words.name));
  const std::string current = inside_world();
  const std::string out =
      words.json ? to_json(seen, current).dump(2) + "\n" : rendered(seen, current);
  std::fputs(out.c_str(), stdout);
  return 0;
}

}  // namespace

void add_status(CLI::App& app, Invocation& typed) {
  auto* command =
      app.add_subcommand("status", "Show what a world uses of its limits, and its server");
  auto words = std::make_shared<StatusWords>();
  command->add_option("NAME", words->name, "The world")->required();
  command->add_flag("--json", words->json, "As JSON, amounts in bytes");
  command->callback([words, &typed] { typed.action = [words] { return status(*words); }; });
}

}  // namespace troot::cli
