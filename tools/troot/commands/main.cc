// The command line of troot: finds the command, runs it, turns what went wrong into
// one line and an exit code: 2 for what was typed, 1 for what happened; 125 for both where the code
// is otherwise the run command's own.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>

#include "tools/quota/tool.h"
#include "tools/quota/verbs/verbs.h"
#include "tools/troot/commands/command.h"
#include "tools/troot/sandbox/own_program.h"
#include "tools/troot/sandbox/streams.h"
#include "tools/troot/text/render.h"
#include "tools/troot/world/session.h"
#include "tools/troot/world/state.h"
#include "tools/version.h"

namespace troot::cli {

Done must_be_outside() {
  const std::string world = inside_world();
  if (world.empty()) return {};
  return failure("you are in the world '" + world +
                 "'; from here there are only list, status, doctor and version");
}

namespace {

/// The words of the command line, cut where the program of `exec` or `run` begins: from there on
/// everything is the program's, options too.
struct Words {
  std::string command;  ///< the first word that is no option
  std::vector<std::string> ours;
  std::vector<std::string> program;
};

bool takes_value(const CLI::App& app, const std::string& word) {
  const CLI::Option* option = app.get_option_no_throw(word);
  return option != nullptr && option->get_items_expected_max() > 0 &&
         word.find('=') == std::string::npos;
}

bool knows(const CLI::App& app, const std::string& command) {
  return !app.get_subcommands([&](const CLI::App* one) { return one->get_name() == command; })
              .empty();
}

/// `--option=`, which CLI11 would take for one without a value, as two words.
bool split_empty(const CLI::App& app, const std::string& word, std::vector<std::string>& into) {
  if (!word.starts_with("--") || word.find('=') != word.size() - 1) return false;
  const std::string name = word.substr(0, word.size() - 1);
  if (!takes_value(app, name)) return false;
  into.push_back(name);
  into.emplace_back();
  return true;
}

Words cut(const CLI::App& app, int argc, char** argv) {
  Words words;
  const CLI::App* current = &app;
  int positionals = -1;  // of a command that runs a program: how many come before it
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool option = word.size() > 1 && word[0] == '-';
    const bool starts = positionals == 0 && !option;
    if (starts || (positionals >= 0 && word == "--")) {
      words.program.assign(argv + i + (starts ? 0 : 1), argv + argc);
      break;
    }
    if (option && split_empty(*current, word, words.ours)) continue;
    words.ours.push_back(word);
    if (option) {
      if (takes_value(*current, word) && i + 1 < argc) words.ours.emplace_back(argv[++i]);
    } else if (words.command.empty()) {
      words.command = word;
      if (word == "exec") positionals = 1;
      if (word == "run") positionals = 0;
      if (positionals >= 0) current = app.get_subcommand(word);
    } else if (positionals > 0) {
      --positionals;
    }
  }
  return words;
}

int report(const Problem& problem, bool session) {
  std::fprintf(stderr, "troot: %s\n", problem.text.c_str());
  if (session) return kOurFailure;
  return problem.blame == Blame::kUsage ? 2 : 1;
}

/// What the union notes while a command uses it in this process goes where messages go: a tar may
/// go to the standard output.
void log_to_messages() {
  spdlog::default_logger()->sinks() = {std::make_shared<spdlog::sinks::stderr_sink_mt>()};
}

int troot_main(int argc, char** argv) {
  fill_streams();
  log_to_messages();
  learn_program();
  // Whoever started us may have had it ignored; then nobody's end could be waited for.
  std::signal(SIGCHLD, SIG_DFL);
  CLI::App app("Private, writable copies of / for anyone: enter one, change what you like, leave.",
               "troot");
  Invocation typed;
  std::string color = "auto";
  app.set_version_flag("--version", std::string("troot ") + kVersion);
  app.add_option("--color", color, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  app.require_subcommand(1);
  for (const auto add :
       {&add_create, &add_enter, &add_exec, &add_run, &add_list, &add_status, &add_stop, &add_rm,
        &add_quota, &add_snapshot, &add_rollback, &add_clone, &add_refresh, &add_flatten,
        &add_export, &add_import, &add_store, &add_doctor, &add_version}) {
    add(app, typed);
  }
  Words words = cut(app, argc, argv);
  if (words.ours.empty()) return report({Blame::kUsage, "no command given (troot --help)"}, false);
  if (!words.command.empty() && !knows(app, words.command)) {
    return report({Blame::kUsage, "no command '" + words.command + "' (troot --help)"}, false);
  }
  const bool session =
      words.command == "enter" || words.command == "exec" || words.command == "run";
  if (session) become_copy(argv);
  typed.program = std::move(words.program);
  try {
    // CLI11 takes a vector from its end.
    app.parse(std::vector<std::string>(words.ours.rbegin(), words.ours.rend()));
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& wrong) {
    const CLI::App* command = words.command.empty() ? &app : app.get_subcommand(words.command);
    const auto at = std::find(words.ours.begin(), words.ours.end(), words.command);
    const quota_tools::Words own(at == words.ours.end() ? at : at + 1, words.ours.end());
    const std::string help = words.command.empty() ? "troot" : "troot " + words.command;
    return report({Blame::kUsage, quota_tools::explain_words(*command, own, wrong, help)}, session);
  }
  set_color(color);
  const Outcome<int> result = typed.action();
  if (!result) return report(result.error(), session);
  if (std::fflush(stdout) != 0)
    return report({Blame::kFailure, std::string("stdout: ") + std::strerror(errno)}, session);
  return *result;
}

}  // namespace
}  // namespace troot::cli

int main(int argc, char** argv) {
  if (const auto tool = troot::quota_tools::find_tool(argc, argv))
    return troot::quota_tools::run_tool(*tool);
  return troot::cli::troot_main(argc, argv);
}
