// The verbs of `troot quota` that show, in the house's own style: people's amounts,
// bars, JSON.
#include <algorithm>
#include <cstdio>
#include <ctime>

#include <CLI/CLI.hpp>

#include "tools/quota/client/projects.h"
#include "tools/quota/text/amounts.h"
#include "tools/quota/text/json.h"
#include "tools/quota/verbs/verbs.h"
#include "tools/troot/text/render.h"
#include "tools/troot/text/size.h"

namespace troot::quota_tools {
namespace {

using cli::failure;

constexpr unsigned kBarCells = 20;

/// What usage is drawn against.
std::uint64_t drawn_limit(const Meter& m) { return m.hard != 0 ? m.hard : m.soft; }

std::string percent_bar(const Meter& m) {
  const std::uint64_t limit = drawn_limit(m);
  if (limit == 0) return "";
  const auto percent = static_cast<std::uint64_t>(static_cast<long double>(m.used) * 100 /
                                                  static_cast<long double>(limit));
  const cli::Tone tone = percent >= 100  ? cli::Tone::kBad
                         : percent >= 90 ? cli::Tone::kWarning
                                         : cli::Tone::kGood;
  return cli::tinted(tone, cli::bar(static_cast<std::int64_t>(m.used),
                                    static_cast<std::int64_t>(limit), kBarCells)) +
         " " + std::to_string(percent) + "%";
}

std::string count_or_dash(std::uint64_t count) { return count == 0 ? "-" : std::to_string(count); }

/// The hard one; a derived one has a star.
std::string inode_limit(const Row& row) {
  return count_or_dash(row.inodes.hard) + (row.inodes.derived ? "*" : "");
}

std::string shown(const Meter& m, std::string (*number)(std::uint64_t),
                  std::string (*limit)(std::uint64_t)) {
  std::string text = number(m.used) + ", soft " + limit(m.soft) + ", hard " + limit(m.hard) +
                     ", peak " + number(m.peak);
  if (m.timer != 0) text += ", grace " + left_text(m.timer, ::time(nullptr));
  return text;
}

std::string plain(std::uint64_t number) { return std::to_string(number); }

void print_row(const std::string& title, const Row& row, const Projects& names) {
  std::printf("project   %s\n", title.c_str());
  std::printf("bytes     %s\n", shown(row.bytes, &cli::format_size, &cli::format_limit).c_str());
  if (const auto bar = percent_bar(row.bytes); !bar.empty())
    std::printf("          %s\n", bar.c_str());
  std::printf("inodes    %s%s\n", shown(row.inodes, &plain, &count_or_dash).c_str(),
              row.inodes.derived ? ", hard derived" : "");
  if (row.parent) std::printf("parent    %s\n", names.name(*row.parent).c_str());
  std::printf("refused   %llu\n", static_cast<unsigned long long>(row.failcnt));
  if (row.margin_bytes != 0)
    std::printf("mapped    %s past the limit\n", cli::format_size(row.margin_bytes).c_str());
}

std::string titled(std::uint32_t id, const Projects& names) {
  return names.has_name(id) ? names.name(id) + " (" + std::to_string(id) + ")" : std::to_string(id);
}

cli::Outcome<int> show(const std::string& target, const std::string& word, bool json) {
  const Projects names = Projects::of_machine();
  TAKE(project, project_or_total(word, names));
  TAKE(server, server_of_target(target));
  if (!project) {
    TAKE(state, server.state());
    if (json) {
      print_json(json_of_total(state));
    } else {
      print_row(kTotal, state.total, names);
    }
    return 0;
  }
  TAKE(row, server.row(*project));
  if (json) {
    print_json(json_of_project(row, names));
  } else {
    print_row(titled(*project, names), row, names);
  }
  return 0;
}

cli::Outcome<int> report(const std::string& target, bool json) {
  const Projects names = Projects::of_machine();
  TAKE(server, server_of_target(target));
  TAKE(state, server.state());
  TAKE(rows, server.rows());
  if (json) {
    print_json(json_of_report(server.place(), state, rows, names));
    return 0;
  }
  std::vector<std::vector<std::string>> cells;
  const auto add = [&](const std::string& name, const Row& row) {
    cells.push_back({name, cli::format_size(row.bytes.used), cli::format_limit(row.bytes.soft),
                     cli::format_limit(row.bytes.hard), std::to_string(row.inodes.used),
                     count_or_dash(row.inodes.soft), inode_limit(row), percent_bar(row.bytes)});
  };
  add(kTotal, state.total);
  for (const Row& row : rows) add(names.name(row.project), row);
  using cli::Align;
  std::fputs(cli::table({{"PROJECT", Align::kLeft},
                         {"USED", Align::kRight},
                         {"SOFT", Align::kRight},
                         {"HARD", Align::kRight},
                         {"INODES", Align::kRight},
                         {"SOFT", Align::kRight},
                         {"HARD", Align::kRight},
                         {"", Align::kLeft}},
                        cells)
                 .c_str(),
             stdout);
  const auto derived = [](const Row& row) { return row.inodes.derived; };
  if (derived(state.total) || std::any_of(rows.begin(), rows.end(), derived))
    std::puts("* derived from the limit of bytes (--inodes states another, or none)");
  const auto say_mapped = [](const std::string& name, const Row& row) {
    if (row.margin_bytes != 0)
      std::printf("%s: %s past the limit by mappings\n", name.c_str(),
                  cli::format_size(row.margin_bytes).c_str());
  };
  say_mapped(kTotal, state.total);
  for (const Row& row : rows) say_mapped(names.name(row.project), row);
  if (!state.enforcing) std::puts("limits are not enforced");
  return 0;
}

/// The words for a record, or for its absence.
std::string record_text(const std::map<std::string, std::string>& line, const std::string& whose,
                        const Projects& names) {
  const auto project = line.find(whose + "_project");
  if (project == line.end()) return "nothing";
  return line.at(whose + "_bytes") + " bytes in project " +
         names.name(static_cast<std::uint32_t>(std::stoul(project->second)));
}

enum class Check { kLook, kRepair };

/// Each object beside its record, then each project's usage beside the sum of its records. Exit
/// code 1: something was wrong.
cli::Outcome<int> check(const std::string& target, Check how, bool json) {
  const Projects names = Projects::of_machine();
  TAKE(server, server_of_target(target));
  TAKE(objects, server.ask(how == Check::kRepair ? "check repair" : "check objects"));
  TAKE(sums, server.ask("check"));
  Json wrong_objects = Json::array(), wrong_sums = Json::array();
  for (const auto& line : objects.lines) {
    if (!line.contains("path")) continue;
    const std::string& path = line.at("path");
    if (!json) {
      std::printf(
          "%s: the ledger has %s, the upper %s\n", path.empty() ? "(no such object)" : path.c_str(),
          record_text(line, "ledger", names).c_str(), record_text(line, "upper", names).c_str());
    }
    Json one{{"path", path}};
    for (const auto& [key, value] : line) {
      if (key != "path") one[key] = std::stoll(value);
    }
    wrong_objects.push_back(std::move(one));
  }
  for (const auto& line : sums.lines) {
    if (!line.contains("project")) continue;
    Json one;
    for (const auto& [key, value] : line) one[key] = std::stoll(value);
    if (!json) {
      std::printf(
          "project %s: the ledger has %lld bytes, %lld inodes; usage is %lld bytes, %lld inodes\n",
          names.name(one["project"].get<std::uint32_t>()).c_str(),
          one["ledger_bytes"].get<long long>(), one["ledger_inodes"].get<long long>(),
          one["used_bytes"].get<long long>(), one["used_inodes"].get<long long>());
    }
    wrong_sums.push_back(std::move(one));
  }
  const long long found = std::stoll(objects.value("differences"));
  const long long mended = std::stoll(objects.value("projects_mended"));
  const bool clean = found == 0 && mended == 0 && wrong_sums.empty();
  if (json) {
    print_json({{"projects", std::stoll(sums.value("projects"))},
                {"differences", wrong_sums},
                {"objects", std::stoll(objects.value("objects"))},
                {"object_differences", found},
                {"objects_that_differ", wrong_objects},
                {"projects_mended", mended},
                {"repaired", how == Check::kRepair && !clean}});
  } else if (clean) {
    std::printf("%s: the ledger and usage agree (%s projects, %s objects)\n",
                server.place().point.c_str(), sums.value("projects").c_str(),
                objects.value("objects").c_str());
  } else if (how == Check::kRepair) {
    std::printf("%s: mended %lld objects and %lld projects\n", server.place().point.c_str(), found,
                mended);
  }
  return clean ? 0 : 1;
}

}  // namespace

cli::Outcome<int> verb_show(const Call& call) {
  CLI::App app("Show one project", call.tool);
  std::string target, project;
  bool json = false;
  app.add_option("TARGET", target, kTargetHelp)->required();
  app.add_option("PROJECT", project, kProjectHelp)->required();
  app.add_flag("--json", json, "As JSON, amounts in bytes");
  return parse_verb(app, call, [&] { return show(target, project, json); });
}

cli::Outcome<int> verb_report(const Call& call) {
  CLI::App app("Show all projects (with -p: as xfs_quota does)", call.tool);
  std::string target;
  bool json = false;
  app.add_option("TARGET", target, kTargetHelp)->required();
  app.add_flag("--json", json, "As JSON, amounts in bytes");
  return parse_verb(app, call, [&] { return report(target, json); });
}

cli::Outcome<int> verb_list(const Call& call) {
  CLI::App app("List the mounts of trootfs whose servers answer", call.tool);
  bool json = false;
  app.add_flag("--json", json, "As JSON, amounts in bytes");
  return parse_verb(app, call, [&]() -> cli::Outcome<int> {
    Json all = Json::array();
    std::vector<std::vector<std::string>> cells;
    for (const Server& server : all_servers(call.tool, false)) {
      const auto state = server.state();
      // One that went meanwhile is not listed.
      if (!state) continue;
      all.push_back(json_of_state(server.place(), *state));
      cells.push_back({server.place().point, cli::format_size(state->total.bytes.used),
                       cli::format_limit(state->total.bytes.hard), inode_limit(state->total),
                       state->enforcing ? "on" : "off"});
    }
    if (json) {
      print_json(all);
      return 0;
    }
    using cli::Align;
    std::fputs(cli::table({{"MOUNT", Align::kLeft},
                           {"USED", Align::kRight},
                           {"LIMIT", Align::kRight},
                           {"INODES", Align::kRight},
                           {"ENFORCED", Align::kLeft}},
                          cells)
                   .c_str(),
               stdout);
    return 0;
  });
}

cli::Outcome<int> verb_check(const Call& call) {
  CLI::App app(
      "Compare the ledger with the upper, and usage with the ledger; exit code 1 where they differ",
      call.tool);
  std::string target;
  bool json = false, repair = false;
  app.add_option("TARGET", target, kTargetHelp)->required();
  app.add_flag("--repair", repair, "Mend what differs");
  app.add_flag("--json", json, "As JSON");
  return parse_verb(app, call,
                    [&] { return check(target, repair ? Check::kRepair : Check::kLook, json); });
}

}  // namespace troot::quota_tools
