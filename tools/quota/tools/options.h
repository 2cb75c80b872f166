// Options of the tools by getopt_long(3), so that clusters (-Pvs), abbreviations and
// "--" work as in the stock tools, with its complaints as one line of ours; and the options that
// all the tools of quota-tools share.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tools/quota/client/server.h"
#include "tools/quota/text/call.h"

namespace troot::quota_tools {

enum class Value { kNone, kOptional, kRequired };

struct Option {
  char letter;       ///< 0: it has a long name only
  const char* name;  ///< empty: it has a letter only
  Value value;
  std::function<cli::Done(const std::string& value)> take;
};

/// Sets `into` when it is given.
[[nodiscard]] Option flag(char letter, const char* name, bool& into);
/// A word that the stock tools have and that changes nothing here: there is nothing but local
/// mounts, and automounts are never asked.
[[nodiscard]] Option needless(char letter, const char* name);
/// A word of the stock tools that cannot be meant here; `why` names the reason and the cure.
[[nodiscard]] Option refused(char letter, const char* name, Value value, const char* why);

/// Takes the options off `call.words` and returns the other words. Not thread-safe, as getopt_long
/// is not.
[[nodiscard]] cli::Outcome<Words> parse_options(const Call& call,
                                                const std::vector<Option>& options);

/// As parse_options, with what the tools of quota-tools have in common: -P, which must be said
/// since the stock tools mean users without it, -h, -V, and -u, -g, -F, which are refused. Nothing:
/// help or version was asked for and is printed.
[[nodiscard]] cli::Outcome<std::optional<Words>> parse_tool(const Call& call, const char* help,
                                                            std::vector<Option> options);

enum class Where { kPoints, kEverywhere };

/// The servers behind mount points, of which there must be one, or of every mount of trootfs that
/// answers (-a).
[[nodiscard]] cli::Outcome<std::vector<Server>> servers_of(const Call& call, Where where,
                                                           const Words& points,
                                                           bool verbose = false);

}  // namespace troot::quota_tools
