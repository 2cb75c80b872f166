// What owns it: setquota: limits, grace periods and running timers of projects.
#include <cstdio>
#include <ctime>
#include <iostream>
#include <sstream>

#include "tools/quota/amounts.h"
#include "tools/quota/getopt.h"
#include "tools/quota/projects.h"
#include "tools/quota/server.h"

namespace troot::quota_tools {
namespace {

using cli::failure;

constexpr const char* kHelp =
    "Usage: setquota -P PROJECT BSOFT BHARD ISOFT IHARD MNT...\n"
    "       setquota -P -p PROTOTYPE PROJECT MNT...\n"
    "       setquota -P -b [-c] MNT...       lines of PROJECT BSOFT BHARD ISOFT IHARD on stdin\n"
    "       setquota -P -t BGRACE IGRACE MNT...\n"
    "       setquota -P -T PROJECT BGRACE IGRACE MNT...\n"
    "MNT: a mount point of trootfs or anything below it; -a: all of them.\n"
    "Amounts: 1 KiB blocks, or with K M G T; counts: or with k m g t; 0: no limit.\n"
    "Grace: seconds, or like 12h, 7days; with -T also unset.\n";

enum class Mode { kLimits, kPrototype, kBatch, kGrace, kTimers };

struct Options {
  Mode mode = Mode::kLimits;
  std::string prototype;
  bool projects = false;
  bool all = false;
  bool go_on = false;  ///< of a batch: past a bad line
};

struct Limits {
  std::uint64_t bsoft = 0, bhard = 0, isoft = 0, ihard = 0;
};

/// Four words from `at` on.
cli::Outcome<Limits> parse_limits(const Words& words, std::size_t at) {
  if (words.size() < at + 4) return failure("four limits are needed: BSOFT BHARD ISOFT IHARD");
  Limits limits;
  TAKE(bsoft, parse_space("block soft limit", words[at]));
  TAKE(bhard, parse_space("block hard limit", words[at + 1]));
  TAKE(isoft, parse_count("inode soft limit", words[at + 2]));
  TAKE(ihard, parse_count("inode hard limit", words[at + 3]));
  limits = {bsoft, bhard, isoft, ihard};
  return limits;
}

cli::Done apply_limits(const Server& server, std::uint32_t project, const Limits& limits) {
  return server.tell(
      "limit project=" + std::to_string(project) + " bsoft=" + std::to_string(limits.bsoft) +
      " bhard=" + std::to_string(limits.bhard) + " isoft=" + std::to_string(limits.isoft) +
      " ihard=" + std::to_string(limits.ihard));
}

cli::Done copy_limits(const Server& server, std::uint32_t from, std::uint32_t to) {
  TAKE(row, server.row(from));
  return apply_limits(server, to,
                      {row.bytes.soft, row.bytes.hard, row.inodes.soft, row.inodes.hard});
}

/// A running timer's new end as a word of the request; empty: it is to be left alone.
cli::Outcome<std::string> timer_word(const Call& call, const Server& server, const char* key,
                                     const Meter& meter, const std::string& text) {
  if (text == "unset") return std::string();
  TAKE(seconds, parse_period(std::string(key) + " grace", text));
  if (meter.timer == 0) {
    complain(call,
             {cli::Blame::kFailure, server.place().point + ": the " + key +
                                        " grace is left alone: the soft limit is not passed"});
    return std::string();
  }
  // A timer that ended at 0 would not be a timer.
  return " " + std::string(key) + "=" +
         std::to_string(std::max<std::int64_t>(1, ::time(nullptr) + seconds));
}

cli::Done move_timers(const Call& call, const Server& server, std::uint32_t project,
                      const std::string& bytes, const std::string& inodes) {
  TAKE(row, server.row(project));
  TAKE(first, timer_word(call, server, "bytes", row.bytes, bytes));
  TAKE(second, timer_word(call, server, "inodes", row.inodes, inodes));
  if (first.empty() && second.empty()) return {};
  return server.tell("timer project=" + std::to_string(project) + first + second);
}

/// The lines of stdin. Each is applied to all servers before the next is read.
cli::Done run_batch(const Call& call, const Options& options, const std::vector<Server>& servers,
                    const Projects& names) {
  std::size_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    ++number;
    std::istringstream text(line);
    Words words;
    for (std::string word; text >> word;) words.push_back(word);
    if (words.empty() || words[0][0] == '#') continue;
    const auto apply = [&]() -> cli::Done {
      TAKE(project, names.id(words[0]));
      TAKE(limits, parse_limits(words, 1));
      for (const Server& server : servers) NEED(apply_limits(server, project, limits));
      return {};
    };
    if (auto done = apply(); !done) {
      const auto problem = failure("line " + std::to_string(number) + ": " + done.error().text);
      if (!options.go_on) return problem;
      complain(call, problem.value());
    }
  }
  return {};
}

/// How many words come before the mount points.
std::size_t words_before_mounts(Mode mode) {
  switch (mode) {
    case Mode::kLimits:
      return 5;
    case Mode::kPrototype:
      return 1;
    case Mode::kBatch:
      return 0;
    case Mode::kGrace:
      return 2;
    case Mode::kTimers:
      return 3;
  }
  return 0;
}

cli::Outcome<std::vector<Server>> servers_of(const Call& call, const Options& options,
                                             const Words& words, std::size_t first) {
  if (options.all) {
    auto servers = all_servers(call.tool);
    if (servers.empty()) return failure("there is no mount of trootfs whose server answers");
    return servers;
  }
  if (words.size() <= first)
    return failure("too few words: a mount point is missing (setquota --help)");
  std::vector<Server> servers;
  for (std::size_t i = first; i < words.size(); ++i) {
    TAKE(server, server_of(words[i]));
    servers.push_back(std::move(server));
  }
  return servers;
}

cli::Done run(const Call& call, const Options& options, const Words& words) {
  const std::size_t first = words_before_mounts(options.mode);
  if (words.size() < first) return failure("too few words (setquota --help)");
  const Projects names = Projects::of_machine();
  // What was typed is looked at before any server is asked.
  Limits limits;
  std::uint32_t project = 0;
  std::uint32_t from = 0;
  std::string grace;
  if (options.mode == Mode::kLimits || options.mode == Mode::kPrototype ||
      options.mode == Mode::kTimers) {
    TAKE(id, names.id(words[0]));
    project = id;
  }
  if (options.mode == Mode::kLimits) {
    TAKE(parsed, parse_limits(words, 1));
    limits = parsed;
  } else if (options.mode == Mode::kPrototype) {
    TAKE(id, names.id(options.prototype));
    from = id;
  } else if (options.mode == Mode::kGrace) {
    TAKE(bytes, parse_period("block grace time", words[0]));
    TAKE(inodes, parse_period("inode grace time", words[1]));
    grace = "grace bytes=" + std::to_string(bytes) + " inodes=" + std::to_string(inodes);
  }
  TAKE(servers, servers_of(call, options, words, first));
  if (options.mode == Mode::kBatch) return run_batch(call, options, servers, names);
  for (const Server& server : servers) {
    switch (options.mode) {
      case Mode::kPrototype:
        NEED(copy_limits(server, from, project));
        break;
      case Mode::kGrace:
        NEED(server.tell(grace));
        break;
      case Mode::kTimers:
        NEED(move_timers(call, server, project, words[1], words[2]));
        break;
      default:
        NEED(apply_limits(server, project, limits));
    }
  }
  return {};
}

}  // namespace

cli::Outcome<int> setquota(const Call& call) {
  Options options;
  bool help = false;
  const std::vector<option> longs{
      {"project", no_argument, nullptr, 'P'},         {"user", no_argument, nullptr, 'u'},
      {"group", no_argument, nullptr, 'g'},           {"all", no_argument, nullptr, 'a'},
      {"prototype", required_argument, nullptr, 'p'}, {"batch", no_argument, nullptr, 'b'},
      {"continue-batch", no_argument, nullptr, 'c'},  {"edit-period", no_argument, nullptr, 't'},
      {"edit-times", no_argument, nullptr, 'T'},      {"help", no_argument, nullptr, 'h'}};
  TAKE(words, parse_options(call, "Pugap:bctTh", longs,
                            [&](int letter, const std::string& value) -> cli::Done {
                              switch (letter) {
                                case 'P':
                                  options.projects = true;
                                  break;
                                case 'u':
                                case 'g':
                                  return failure("trootfs has quota of projects only: use -P");
                                case 'a':
                                  options.all = true;
                                  break;
                                case 'p':
                                  options.mode = Mode::kPrototype;
                                  options.prototype = value;
                                  break;
                                case 'b':
                                  options.mode = Mode::kBatch;
                                  break;
                                case 'c':
                                  options.go_on = true;
                                  break;
                                case 't':
                                  options.mode = Mode::kGrace;
                                  break;
                                case 'T':
                                  options.mode = Mode::kTimers;
                                  break;
                                default:
                                  help = true;
                              }
                              return {};
                            }));
  if (help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  if (!options.projects)
    return failure("trootfs has quota of projects only: use -P (setquota --help)");
  NEED(run(call, options, words));
  return 0;
}

}  // namespace troot::quota_tools
