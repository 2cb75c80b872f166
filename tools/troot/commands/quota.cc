// `troot quota`: the limits of a world, shown or changed, at once where it runs.
#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "fusefs/control/server.h"
#include "tools/troot/commands/command.h"
#include "tools/troot/text/size.h"
#include "tools/troot/world/ending.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

struct QuotaWords {
  std::string name;
  std::string limit;
  std::string inodes;
  bool json = false;
};

/// What was typed, as words of a request; empty: nothing.
Outcome<std::string> typed_limits(const QuotaWords& words) {
  std::string request;
  if (!words.limit.empty()) {
    TAKE(bytes, parse_size("limit", words.limit));
    request += " bhard=" + std::to_string(bytes);
  }
  if (!words.inodes.empty()) {
    TAKE(inodes, parse_inodes("inodes", words.inodes));
    request += inodes.derived ? " inodes=derived" : " ihard=" + std::to_string(inodes.count);
  }
  return request;
}

/// False: the world ended meanwhile, so that the next server is to be told.
Outcome<bool> tell_server(const World& world, const std::string& limits) {
  const auto reply = fusefs::control_request(world.run("control"), "limit" + limits);
  // What init writes down in the end is the old limit unless it was still at its work by now.
  if (!is_running(world)) return false;
  if (!reply && reply.error() == ETIMEDOUT)
    return failure(hung_text(world, "server", stopped_server(world)));
  if (!reply)
    return failure_errno("the server of world '" + world.name() + "'", reply.error().value());
  if (reply->error != 0)
    return failure("the server of world '" + world.name() + "': " + reply->text);
  return true;
}

Done change(const World& world, const QuotaWords& words) {
  TAKE(limits, typed_limits(words));
  TAKE(lock, world.lock());
  // A running server keeps its limits itself; what is typed for a stopped world waits for the next.
  if (is_running(world)) {
    TAKE(told, tell_server(world, limits));
    if (told) return {};
  }
  NEED(wait_for_server(world));
  TAKE(settings, world.load());
  if (!words.limit.empty()) {
    TAKE(bytes, parse_size("limit", words.limit));
    settings.limit_bytes = bytes;
    settings.new_limit_bytes = true;
  }
  if (!words.inodes.empty()) {
    TAKE(inodes, parse_inodes("inodes", words.inodes));
    settings.say_inodes(inodes.count, inodes.derived);
  }
  return world.save(settings);
}

Outcome<int> quota(const QuotaWords& words) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  TAKE(world, store.find(words.name));
  if (!words.limit.empty() || !words.inodes.empty()) NEED(change(world, words));
  NEED(world.load());
  WorldView now = view(world);
  // What was set is what holds, though the world may just be ending and say the former limit.
  if (!words.limit.empty()) {
    TAKE(bytes, parse_size("limit", words.limit));
    now.limit_bytes = static_cast<std::int64_t>(bytes);
  }
  if (!words.inodes.empty()) {
    TAKE(inodes, parse_inodes("inodes", words.inodes));
    now.limit_inodes = static_cast<std::int64_t>(inodes.count);
    now.inodes_derived = inodes.derived;
  }
  now.derive_inodes();
  if (words.json) {
    const nlohmann::json json{{"name", now.name},
                              {"limit_bytes", now.limit_bytes},
                              {"limit_inodes", now.limit_inodes},
                              {"limit_inodes_derived", now.inodes_derived}};
    std::printf("%s\n", json.dump(2).c_str());
    return 0;
  }
  std::printf("limit   %s\ninodes  %s%s\n",
              now.limit_bytes == 0
                  ? "none"
                  : format_size(static_cast<std::uint64_t>(now.limit_bytes)).c_str(),
              now.limit_inodes == 0 ? "none" : std::to_string(now.limit_inodes).c_str(),
              now.inodes_derived ? " (derived)" : "");
  return 0;
}

}  // namespace

void add_quota(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "quota", "Show or change the limits of a world; a running one obeys at once");
  command->footer(
      "Projects of a mount or a running world have verbs of their own, each with --help:\n"
      "  troot quota set|show|report|list|check|watch|reset-peak ...\n"
      "  troot quota report -p|limit|state|timer|dump|restore|df ...   in xfs_quota's words");
  auto words = std::make_shared<QuotaWords>();
  command->add_option("NAME", words->name, "The world")->required();
  command->add_option("--limit", words->limit, "Bytes it may use on disk, or none")
      ->type_name("SIZE");
  command
      ->add_option("--inodes", words->inodes,
                   "Files, directories and links it may make, none, or derived: one for each 4K of "
                   "the limit, "
                   "at least 1000, as it is until something is said")
      ->type_name("COUNT");
  command->add_flag("--json", words->json, "As JSON, in bytes");
  command->callback([words, &typed] { typed.action = [words] { return quota(*words); }; });
}

}  // namespace troot::cli
