// What owns it: troot quota: the limits of a world, shown or changed, at once where it runs.
#include <cstdio>
#include <memory>

#include "fusefs/control.h"
#include "tools/troot/command.h"
#include "tools/troot/size.h"
#include "tools/troot/state.h"

namespace troot::cli {
namespace {

struct QuotaWords {
  std::string name;
  std::string limit;
  std::string inodes;
};

Done tell_server(const World& world, const Settings& settings) {
  const auto reply = fusefs::control_request(world.run("control"),
                                             "limit bhard=" + std::to_string(settings.limit_bytes) +
                                                 " ihard=" + std::to_string(settings.limit_inodes));
  if (!reply)
    return failure_errno("the server of world '" + world.name() + "'", reply.error().value());
  if (reply->error != 0)
    return failure("the server of world '" + world.name() + "': " + reply->text);
  return {};
}

Done change(const World& world, const QuotaWords& words) {
  TAKE(lock, world.lock());
  TAKE(settings, world.load());
  if (!words.limit.empty()) {
    TAKE(bytes, parse_size("limit", words.limit));
    settings.limit_bytes = bytes;
  }
  if (!words.inodes.empty()) {
    TAKE(count, parse_count("inodes", words.inodes));
    settings.limit_inodes = count;
  }
  if (is_running(world)) NEED(tell_server(world, settings));
  return world.save(settings);
}

Outcome<int> quota(const QuotaWords& words) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  TAKE(world, store.find(words.name));
  if (!words.limit.empty() || !words.inodes.empty()) NEED(change(world, words));
  TAKE(settings, world.load());
  std::printf("limit   %s\ninodes  %s\n",
              settings.limit_bytes == 0 ? "none" : format_size(settings.limit_bytes).c_str(),
              settings.limit_inodes == 0 ? "none" : std::to_string(settings.limit_inodes).c_str());
  return 0;
}

}  // namespace

void add_quota(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "quota", "Show or change the limits of a world; a running one obeys at once");
  auto words = std::make_shared<QuotaWords>();
  command->add_option("NAME", words->name, "The world")->required();
  command->add_option("--limit", words->limit, "Bytes it may use on disk, or none")
      ->type_name("SIZE");
  command
      ->add_option("--inodes", words->inodes, "Files, directories and links it may make, or none")
      ->type_name("COUNT");
  command->callback([words, &typed] { typed.action = [words] { return quota(*words); }; });
}

}  // namespace troot::cli
