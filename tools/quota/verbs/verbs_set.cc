// The verbs of `troot quota` that change, in the house's own style: set, reset-peak.
#include <cstdio>
#include <ctime>
#include <filesystem>

#include <CLI/CLI.hpp>

#include "tools/quota/client/assign.h"
#include "tools/quota/text/amounts.h"
#include "tools/quota/text/json.h"
#include "tools/quota/verbs/verbs.h"
#include "tools/troot/text/size.h"

namespace troot::quota_tools {
namespace {

struct Changes {
  std::string bsoft, bhard, isoft, ihard, bgrace, igrace, parent;
  bool json = false;
};

cli::Outcome<std::string> limit_words(const Changes& changes) {
  std::string words;
  const auto add = [&](const char* key, const std::string& text, bool bytes) -> cli::Done {
    if (text.empty()) return {};
    TAKE(amount, bytes ? cli::parse_size(key, text) : cli::parse_count(key, text));
    words += std::string(" ") + key + "=" + std::to_string(amount);
    return {};
  };
  NEED(add("bsoft", changes.bsoft, true));
  NEED(add("bhard", changes.bhard, true));
  NEED(add("isoft", changes.isoft, false));
  if (!changes.ihard.empty()) {
    TAKE(inodes, cli::parse_inodes("ihard", changes.ihard));
    words += inodes.count != 0 ? " ihard=" + inodes.word()
             : inodes.derived  ? " inodes=derived"
                               : " inodes=none";
  } else if (!changes.bhard.empty()) {
    // Unless something was said of inodes, or will be, the limit of bytes bounds them, too.
    words += " inodes=default";
  }
  return words;
}

cli::Outcome<std::string> grace_words(const Changes& changes) {
  std::string words;
  const auto add = [&](const char* key, const std::string& text) -> cli::Done {
    if (text.empty()) return {};
    TAKE(seconds, parse_period(key, text));
    words += std::string(" ") + key + "=" + std::to_string(seconds);
    return {};
  };
  NEED(add("bytes", changes.bgrace));
  NEED(add("inodes", changes.igrace));
  return words;
}

/// The project that the words mean: one that is named, the one that a directory hands down, or a
/// new one for the directory.
cli::Outcome<std::optional<std::uint32_t>> project_for(const Server& server, const Words& typed,
                                                       const Projects& names, const Call& call) {
  std::optional<std::uint32_t> wanted;
  if (typed.size() == 2) {
    TAKE(named, project_or_total(typed[1], names));
    // A directory within the mount is meant as that project's; anything else only names the mount.
    std::error_code error;
    const bool within =
        named && *named != 0 && std::filesystem::is_directory(typed[0], error) &&
        std::filesystem::canonical(typed[0], error).string() != server.place().point &&
        server.place().point != typed[0];
    if (!within) return named;
    wanted = named;
  }
  TAKE(assigned, assign_project(server, names, typed[0], wanted));
  const std::string which = "project " + std::to_string(assigned.project);
  if (assigned.objects == 0) {
    note(call, typed[0] + " is in " + which);
  } else {
    note(call, typed[0] + " is " + which + " now, with " + std::to_string(assigned.objects - 1) +
                   " objects in it");
  }
  if (assigned.left_out != 0)
    note(call, std::to_string(assigned.left_out) +
                   " symlinks and special files keep their project: no tool can change it");
  return std::optional<std::uint32_t>(assigned.project);
}

cli::Outcome<int> set(const Call& call, const Words& typed, const Changes& changes) {
  const Projects names = Projects::of_machine();
  TAKE(limits, limit_words(changes));
  TAKE(grace, grace_words(changes));
  std::string parent;
  if (!changes.parent.empty() && changes.parent != "none") {
    TAKE(above, names.id(changes.parent));
    parent = "parent=" + std::to_string(above);
  }
  if (limits.empty() && grace.empty() && changes.parent.empty())
    return cli::usage("nothing to set (troot quota set --help)");
  // What was typed is looked at before any server is asked.
  if (typed.size() == 2) NEED(project_or_total(typed[1], names));
  TAKE(server, server_of_target(typed[0]));
  TAKE(project, project_for(server, typed, names, call));
  if (!project && !changes.parent.empty()) return cli::usage("the total has no parent");
  const std::string which = project ? " project=" + std::to_string(*project) : "";
  if (!changes.parent.empty())
    NEED(server.tell("parent" + which + " " + (parent.empty() ? "none" : parent)));
  if (!grace.empty()) NEED(server.tell("grace" + which + grace));
  if (!limits.empty()) NEED(server.tell("limit" + which + limits));
  if (!changes.json) return 0;
  if (project) {
    TAKE(row, server.row(*project));
    print_json(json_of_project(row, names));
  } else {
    TAKE(state, server.state());
    print_json(json_of_total(state));
  }
  return 0;
}

cli::Outcome<int> reset_peak(const std::string& target, const Words& words, bool json) {
  const Projects names = Projects::of_machine();
  TAKE(server, server_of_target(target));
  std::vector<std::uint32_t> projects;
  for (const auto& word : words) {
    TAKE(id, names.id(word));
    projects.push_back(id);
  }
  if (words.empty()) {
    TAKE(rows, server.rows());
    for (const Row& row : rows) projects.push_back(row.project);
  }
  Json all = Json::array();
  for (const std::uint32_t id : projects) {
    NEED(server.tell("reset-peak project=" + std::to_string(id)));
    if (!json) continue;
    TAKE(row, server.row(id));
    all.push_back(json_of_project(row, names));
  }
  if (json) print_json(all);
  return 0;
}

}  // namespace

cli::Outcome<int> verb_set(const Call& call) {
  CLI::App app(
      "Set limits, grace periods and the parent of a project, at once. A directory without PROJECT "
      "is given a project of its own, if it has none; with PROJECT, that one",
      call.tool);
  std::string target, project;
  Changes changes;
  app.add_option("TARGET", target, kTargetHelp)->required();
  app.add_option("PROJECT", project, kProjectHelp);
  app.add_option("--bsoft", changes.bsoft, "Soft limit, or none")->type_name("SIZE");
  app.add_option("--bhard,--limit", changes.bhard, "Hard limit, or none")->type_name("SIZE");
  app.add_option("--isoft", changes.isoft, "Soft limit of inodes, or none")->type_name("COUNT");
  app.add_option(
         "--ihard,--inodes", changes.ihard,
         "Hard limit of inodes, none, or derived: one for each 4K of --limit, at least 1000, as "
         "it is with --limit until something is said")
      ->type_name("COUNT");
  app.add_option("--bgrace", changes.bgrace,
                 "How long a soft limit may be passed; of the total: the default")
      ->type_name("TIME");
  app.add_option("--igrace", changes.igrace, "Likewise, of inodes")->type_name("TIME");
  app.add_option("--parent", changes.parent, "The project above, or none")->type_name("PROJECT");
  app.add_flag("--json", changes.json, "Print the project afterwards, as show does");
  return parse_verb(app, call, [&] {
    Words typed{target};
    if (!project.empty()) typed.push_back(project);
    return set(call, typed, changes);
  });
}

cli::Outcome<int> verb_reset_peak(const Call& call) {
  CLI::App app("Let the highest usage of projects begin anew", call.tool);
  std::string target;
  Words projects;
  bool json = false;
  app.add_option("TARGET", target, kTargetHelp)->required();
  app.add_option("PROJECT", projects, "A project's id or name; all projects without one");
  app.add_flag("--json", json, "Print the projects afterwards");
  return parse_verb(app, call, [&] { return reset_peak(target, projects, json); });
}

}  // namespace troot::quota_tools
