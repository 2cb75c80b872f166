// The verbs of `troot quota` that have xfs_quota's words. A mount point is the last
// word, since there is no session that has opened one.
#include <sys/statvfs.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iostream>
#include <sstream>

#include "tools/quota/text/amounts.h"
#include "tools/quota/text/json.h"
#include "tools/quota/text/xfs_text.h"
#include "tools/quota/tools/options.h"
#include "tools/quota/verbs/verbs.h"

namespace troot::quota_tools {
namespace {

using cli::failure;

struct Parsed {
  XfsOptions options;
  bool bytes_asked = false;  ///< -b
  bool json = false;
  std::string file;  ///< -f
  Words words;
};

/// The options that all the verbs have in common; each allows those of `letters`, -p and --json.
cli::Outcome<Parsed> parse(const Call& call, const std::string& letters) {
  constexpr const char* kOnlyProjects = "trootfs has quota of projects only: use -p";
  Parsed parsed;
  const std::vector<Option> known{
      flag('b', "", parsed.bytes_asked),
      flag('i', "", parsed.options.inodes),
      flag('h', "", parsed.options.human),
      flag('n', "", parsed.options.numeric),
      flag('N', "", parsed.options.no_head),
      flag('t', "", parsed.options.terse),
      {'f', "", Value::kRequired, [&parsed](const std::string& value) -> cli::Done {
         parsed.file = value;
         return {};
       }}};
  std::vector<Option> options{needless('p', ""), flag(0, "json", parsed.json),
                              refused('g', "", Value::kNone, kOnlyProjects),
                              refused('u', "", Value::kNone, kOnlyProjects)};
  for (const Option& one : known) {
    if (letters.find(one.letter) != std::string::npos) options.push_back(one);
  }
  TAKE(words, parse_options(call, options));
  parsed.options.bytes = parsed.bytes_asked || !parsed.options.inodes;
  parsed.words = std::move(words);
  return parsed;
}

/// The last word as a server; it is taken off.
cli::Outcome<Server> take_server(const Call& call, Words& words) {
  if (words.empty()) return failure("a mount point or a world is missing; " + call.tool + " … MNT");
  const std::string last = words.back();
  words.pop_back();
  return server_of_target(last);
}

/// With --json: what a verb has changed, or was asked for.
cli::Done print_project(const Parsed& parsed, const Server& server, std::uint32_t project) {
  if (!parsed.json) return {};
  TAKE(row, server.row(project));
  print_json(json_of_project(row, Projects::of_machine()));
  return {};
}
cli::Done print_state(const Parsed& parsed, const Server& server) {
  if (!parsed.json) return {};
  TAKE(state, server.state());
  print_json(json_of_state(server.place(), state));
  return {};
}
cli::Done print_report(const Server& server) {
  TAKE(state, server.state());
  TAKE(rows, server.rows());
  print_json(json_of_report(server.place(), state, rows, Projects::of_machine()));
  return {};
}

cli::Done no_more(const Words& words) {
  return words.empty() ? cli::Done{}
                       : cli::Done(failure("'" + words[0] + "' is one word too many"));
}

cli::Done print(const Parsed& parsed, const std::string& text) {
  if (parsed.file.empty()) {
    std::fputs(text.c_str(), stdout);
    return {};
  }
  std::ofstream file(parsed.file);
  file << text << std::flush;
  return file ? cli::Done{} : cli::Done(cli::failure_errno(parsed.file));
}

/// A verb whose words are its server only: every project as JSON, or as `text` has the rows.
template <typename Text>
cli::Outcome<int> print_rows(const Call& call, const char* letters, Text text) {
  TAKE(parsed, parse(call, letters));
  TAKE(server, take_server(call, parsed.words));
  NEED(no_more(parsed.words));
  if (parsed.json) {
    NEED(print_report(server));
    return 0;
  }
  TAKE(rows, server.rows());
  NEED(print(parsed, text(parsed, server, rows)));
  return 0;
}

}  // namespace

cli::Outcome<int> verb_xfs_report(const Call& call) {
  return print_rows(call, "bihnNtf:", [](const auto& parsed, const auto& server, const auto& rows) {
    return xfs_report(server.place(), rows, Projects::of_machine(), parsed.options,
                      ::time(nullptr));
  });
}

cli::Outcome<int> verb_limit(const Call& call) {
  TAKE(parsed, parse(call, ""));
  TAKE(server, take_server(call, parsed.words));
  if (parsed.words.empty()) return failure("a project's name or id is missing");
  TAKE(project, Projects::of_machine().id(parsed.words.back()));
  parsed.words.pop_back();
  if (parsed.words.empty())
    return failure("no limit is given: write bsoft=N, bhard=N, isoft=N or ihard=N");
  std::string request = "limit project=" + std::to_string(project);
  for (const std::string& word : parsed.words) {
    const auto equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (key == "bsoft" || key == "bhard") {
      TAKE(bytes, parse_bytes(key, value));
      request += " " + key + "=" + std::to_string(bytes);
    } else if (key == "isoft" || key == "ihard") {
      TAKE(count, parse_count(key, value));
      request += " " + key + "=" + std::to_string(count);
    } else {
      return failure("'" + word + "' is not a limit: write bsoft=N, bhard=N, isoft=N or ihard=N");
    }
  }
  NEED(server.tell(request));
  NEED(print_project(parsed, server, project));
  return 0;
}

cli::Outcome<int> verb_state(const Call& call) {
  TAKE(parsed, parse(call, "f:"));
  TAKE(server, take_server(call, parsed.words));
  NEED(no_more(parsed.words));
  NEED(print_state(parsed, server));
  if (parsed.json) return 0;
  TAKE(state, server.state());
  NEED(print(parsed, xfs_state(server.place(), state)));
  return 0;
}

cli::Outcome<int> verb_timer(const Call& call) {
  TAKE(parsed, parse(call, "bi"));
  TAKE(server, take_server(call, parsed.words));
  if (parsed.words.empty() || parsed.words.size() > 2)
    return failure("write: timer -p [-bi] TIME [PROJECT] MNT");
  TAKE(seconds, parse_period("time", parsed.words[0]));
  std::string request = "grace";
  std::int64_t value = seconds;
  std::optional<std::uint32_t> project;
  if (parsed.words.size() == 2) {
    TAKE(id, Projects::of_machine().id(parsed.words[1]));
    project = id;
    request = "timer project=" + std::to_string(id);
    value = ::time(nullptr) + seconds;
  }
  if (parsed.bytes_asked || !parsed.options.inodes) request += " bytes=" + std::to_string(value);
  if (parsed.options.inodes || !parsed.bytes_asked) request += " inodes=" + std::to_string(value);
  NEED(server.tell(request));
  NEED(project ? print_project(parsed, server, *project) : print_state(parsed, server));
  return 0;
}

cli::Outcome<int> verb_dump(const Call& call) {
  return print_rows(call, "f:", [](const auto&, const auto& server, const auto& rows) {
    return xfs_dump(server.place(), rows);
  });
}

cli::Outcome<int> verb_restore(const Call& call) {
  TAKE(parsed, parse(call, "f:"));
  TAKE(server, take_server(call, parsed.words));
  NEED(no_more(parsed.words));
  std::ifstream file;
  if (!parsed.file.empty()) {
    file.open(parsed.file);
    if (!file) return cli::failure_errno(parsed.file);
  }
  std::istream& from = parsed.file.empty() ? std::cin : file;
  std::size_t number = 0;
  for (std::string line; std::getline(from, line);) {
    ++number;
    if (line.empty() || line.starts_with("fs = ")) continue;
    std::istringstream words(line);
    std::uint32_t project = 0;
    std::uint64_t bsoft = 0, bhard = 0, isoft = 0, ihard = 0;
    if (!(words >> project >> bsoft >> bhard >> isoft >> ihard))
      return failure("line " + std::to_string(number) + " is not of a dump: '" + line + "'");
    NEED(server.tell("limit project=" + std::to_string(project) + " bsoft=" +
                     std::to_string(bsoft * 512) + " bhard=" + std::to_string(bhard * 512) +
                     " isoft=" + std::to_string(isoft) + " ihard=" + std::to_string(ihard)));
  }
  if (parsed.json) NEED(print_report(server));
  return 0;
}

cli::Outcome<int> verb_df(const Call& call) {
  TAKE(parsed, parse(call, "bihNf:"));
  TAKE(server, take_server(call, parsed.words));
  NEED(no_more(parsed.words));
  const Place& place = server.place();
  if (!place.point.starts_with('/'))
    return failure("df looks at a mount point; troot status " + place.point + " shows a world");
  std::vector<Disk> disks(1);
  disks[0] = {place.device, place.point, {}};
  const Projects projects = Projects::of_machine();
  for (const auto& [directory, id] : projects.directories()) {
    (void)id;
    if (directory.starts_with(place.point + "/")) disks.push_back({place.device, directory, {}});
  }
  for (Disk& disk : disks) {
    if (::statvfs(disk.path.c_str(), &disk.stat) != 0) return cli::failure_errno(disk.path);
  }
  if (parsed.json) {
    Json all = Json::array();
    for (const Disk& disk : disks) {
      const auto unit = static_cast<std::uint64_t>(disk.stat.f_frsize);
      all.push_back({{"device", disk.device},
                     {"path", disk.path},
                     {"size", disk.stat.f_blocks * unit},
                     {"used", (disk.stat.f_blocks - disk.stat.f_bfree) * unit},
                     {"available", disk.stat.f_bavail * unit},
                     {"inodes", disk.stat.f_files},
                     {"inodes_used", disk.stat.f_files - disk.stat.f_ffree}});
    }
    print_json(all);
    return 0;
  }
  NEED(print(parsed, xfs_df(disks, parsed.options)));
  return 0;
}

}  // namespace troot::quota_tools
