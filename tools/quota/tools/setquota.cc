// The command `setquota`: limits, grace periods and running timers of projects.
#include <cstdio>
#include <ctime>
#include <iostream>
#include <sstream>

#include "tools/quota/client/projects.h"
#include "tools/quota/client/server.h"
#include "tools/quota/text/amounts.h"
#include "tools/quota/tools/options.h"
#include "tools/quota/tools/tools.h"

namespace troot::quota_tools {
namespace {

using cli::failure;

constexpr const char* kSetquotaHelp =
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
  bool all = false;
  bool go_on = false;    ///< of a batch: past a bad line
  bool resolve = false;  ///< a word of digits is a name too
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

cli::Outcome<std::uint32_t> id_of(const Options& options, const Projects& names,
                                  const std::string& word) {
  return options.resolve ? names.id_of_name(word) : names.id(word);
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
      TAKE(project, id_of(options, names, words[0]));
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
    TAKE(id, id_of(options, names, words[0]));
    project = id;
  }
  if (options.mode == Mode::kLimits) {
    TAKE(parsed, parse_limits(words, 1));
    limits = parsed;
  } else if (options.mode == Mode::kPrototype) {
    TAKE(id, id_of(options, names, options.prototype));
    from = id;
  } else if (options.mode == Mode::kGrace) {
    TAKE(bytes, parse_period("block grace time", words[0]));
    TAKE(inodes, parse_period("inode grace time", words[1]));
    grace = "grace bytes=" + std::to_string(bytes) + " inodes=" + std::to_string(inodes);
  }
  const Words points(words.begin() + static_cast<std::ptrdiff_t>(first), words.end());
  TAKE(servers, servers_of(call, options.all ? Where::kEverywhere : Where::kPoints, points));
  if (servers.empty()) return failure("there is no mount of trootfs whose server answers");
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
  constexpr const char* kNoNetwork = "trootfs is never set over the network: leave it out";
  Options options;
  const auto mode = [&options](char letter, const char* name, Mode wanted) -> Option {
    return {letter, name, Value::kNone, [&options, wanted](const std::string&) -> cli::Done {
              options.mode = wanted;
              return {};
            }};
  };
  TAKE(words, parse_tool(call, kSetquotaHelp,
                         {flag('a', "all", options.all),
                          flag('c', "continue-batch", options.go_on),
                          flag(0, "always-resolve", options.resolve),
                          mode('b', "batch", Mode::kBatch),
                          mode('t', "edit-period", Mode::kGrace),
                          mode('T', "edit-times", Mode::kTimers),
                          {'p', "prototype", Value::kRequired,
                           [&options](const std::string& value) -> cli::Done {
                             options.mode = Mode::kPrototype;
                             options.prototype = value;
                             return {};
                           }},
                          refused('r', "remote", Value::kNone, kNoNetwork),
                          refused('m', "no-mixed-pathnames", Value::kNone, kNoNetwork)}));
  if (!words) return 0;
  NEED(run(call, options, *words));
  return 0;
}

}  // namespace troot::quota_tools
