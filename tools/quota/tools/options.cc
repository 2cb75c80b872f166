// Taking options off a command line.
#include "tools/quota/tools/options.h"

#include <getopt.h>

#include <cstdio>

#include "tools/version.h"

namespace troot::quota_tools {
namespace {

/// What getopt_long returns for the first option; letters would clash where there is none.
constexpr int kFirst = 256;

int getopt_word(Value value) {
  switch (value) {
    case Value::kNone:
      return no_argument;
    case Value::kOptional:
      return optional_argument;
    case Value::kRequired:
      return required_argument;
  }
  return no_argument;
}

const Option* with_letter(const std::vector<Option>& options, int letter) {
  for (const Option& option : options) {
    if (letter != 0 && option.letter == letter) return &option;
  }
  return nullptr;
}

}  // namespace

Option flag(char letter, const char* name, bool& into) {
  return {letter, name, Value::kNone, [&into](const std::string&) -> cli::Done {
            into = true;
            return {};
          }};
}

Option needless(char letter, const char* name) {
  return {letter, name, Value::kNone, [](const std::string&) -> cli::Done { return {}; }};
}

Option refused(char letter, const char* name, Value value, const char* why) {
  return {letter, name, value,
          [why](const std::string&) -> cli::Done { return cli::failure(why); }};
}

cli::Outcome<Words> parse_options(const Call& call, const std::vector<Option>& options) {
  std::string letters = ":";
  std::vector<option> longs;
  for (std::size_t i = 0; i < options.size(); ++i) {
    const Option& one = options[i];
    const int word = getopt_word(one.value);
    if (one.letter != 0) letters += one.letter + std::string(static_cast<std::size_t>(word), ':');
    if (*one.name != '\0') longs.push_back({one.name, word, nullptr, kFirst + static_cast<int>(i)});
  }
  longs.push_back({nullptr, 0, nullptr, 0});
  std::vector<std::string> copies{call.tool};
  copies.insert(copies.end(), call.words.begin(), call.words.end());
  std::vector<char*> argv;
  for (auto& word : copies) argv.push_back(word.data());
  const int argc = static_cast<int>(argv.size());
  argv.push_back(nullptr);
  ::optind = 0;
  ::opterr = 0;
  for (int found = 0;
       (found = ::getopt_long(argc, argv.data(), letters.c_str(), longs.data(), nullptr)) != -1;) {
    if (found == '?' || found == ':') {
      // A long word stands before optind; a letter may be one of a cluster.
      const bool letter = ::optopt > 0 && ::optopt < kFirst;
      const std::string word =
          letter ? std::string("-") + static_cast<char>(::optopt) : std::string(argv[::optind - 1]);
      const bool needs = found == ':';
      return cli::failure(word + (needs ? " needs a value" : " is not an option") + " (" +
                          call.tool + " --help)");
    }
    const Option* option = found >= kFirst ? &options[static_cast<std::size_t>(found - kFirst)]
                                           : with_letter(options, found);
    NEED(option->take(::optarg == nullptr ? std::string() : std::string(::optarg)));
  }
  return Words(argv.begin() + ::optind, argv.begin() + argc);
}

cli::Outcome<std::optional<Words>> parse_tool(const Call& call, const char* help,
                                              std::vector<Option> options) {
  constexpr const char* kOnlyProjects = "trootfs has quota of projects only: use -P";
  bool projects = false, help_asked = false, version_asked = false;
  options.push_back(flag('P', "project", projects));
  options.push_back(flag('h', "help", help_asked));
  options.push_back(flag('V', "version", version_asked));
  options.push_back(refused('u', "user", Value::kNone, kOnlyProjects));
  options.push_back(refused('g', "group", Value::kNone, kOnlyProjects));
  options.push_back(refused('F', "format", Value::kRequired,
                            "-F names a format of quota files; trootfs has one ledger: leave it "
                            "out"));
  TAKE(words, parse_options(call, options));
  if (help_asked) {
    std::fputs(help, stdout);
    return std::optional<Words>();
  }
  if (version_asked) {
    std::printf("%s of troot %s\n", call.tool.c_str(), kVersion);
    return std::optional<Words>();
  }
  if (!projects) return cli::failure(std::string(kOnlyProjects) + " (" + call.tool + " --help)");
  return std::optional<Words>(std::move(words));
}

cli::Outcome<std::vector<Server>> servers_of(const Call& call, Where where, const Words& points,
                                             bool verbose) {
  std::vector<Server> servers;
  if (where == Where::kEverywhere) servers = all_servers(call.tool, verbose);
  if (where == Where::kPoints && points.empty())
    return cli::failure("a mount point, or -a, is missing (" + call.tool + " --help)");
  for (const auto& point : points) {
    TAKE(server, server_of(point));
    servers.push_back(std::move(server));
  }
  return servers;
}

}  // namespace troot::quota_tools
