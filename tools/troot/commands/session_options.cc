// Options, then image, then default.
#include "tools/troot/commands/session_options.h"

#include <cstdlib>

namespace troot::cli {

void add_session_options(CLI::App& command, SessionWords& words) {
  command
      .add_option("-u,--user", words.user,
                  "Who it is run as, of the world's /etc/passwd or by number (default: root)")
      ->type_name("USER[:GROUP]");
  command
      .add_option("-w,--workdir", words.workdir,
                  "The directory to start in (default: the one you are in, where it is inside)")
      ->type_name("DIR");
  command
      .add_option("-e,--env", words.env,
                  "A variable to set; without a value it is yours (default: all of yours)")
      ->type_name("NAME[=VALUE]")
      ->expected(1)
      ->take_all();
  command.footer(
      "Of a world made of an image, what these options say goes before what the image says, and "
      "that before the defaults.");
}

namespace {

Outcome<std::vector<std::string>> variables(const std::vector<std::string>& words) {
  std::vector<std::string> env;
  for (const std::string& word : words) {
    if (word.empty() || word[0] == '=')
      return usage("-e '" + word + "': a variable has a name (NAME=VALUE)");
    if (word.find('=') != std::string::npos) {
      env.push_back(word);
    } else if (const char* own = std::getenv(word.c_str())) {
      env.push_back(word + "=" + own);
    }
  }
  return env;
}

}  // namespace

Outcome<Surroundings> surroundings(const SessionWords& words,
                                   const std::optional<WorldImage>& image) {
  Surroundings around;
  if (image) {
    around.env = image->config.env;
    around.user = image->config.user;
    around.directory = image->config.workdir;
    // As docker has it: from the root.
    if (!around.directory.empty() && around.directory[0] != '/') around.directory.insert(0, "/");
    around.user_by = around.directory_by = SaidBy::kImage;
  }
  TAKE(env, variables(words.env));
  around.env.insert(around.env.end(), env.begin(), env.end());
  if (!words.user.empty()) {
    around.user = words.user;
    around.user_by = SaidBy::kPerson;
  }
  if (words.workdir.empty()) return around;
  if (words.workdir[0] != '/')
    return usage("-w " + words.workdir + ": give the directory from / on, as the world has it");
  around.directory = words.workdir;
  around.directory_by = SaidBy::kPerson;
  return around;
}

std::vector<std::string> whole_command(const std::vector<std::string>& typed,
                                       const std::optional<std::string>& entrypoint,
                                       const std::optional<WorldImage>& image) {
  std::vector<std::string> command;
  if (entrypoint) {
    if (!entrypoint->empty()) command.push_back(*entrypoint);
  } else if (image) {
    command = image->config.entrypoint;
    // Of builders that say so: none.
    if (command.size() == 1 && command[0].empty()) command.clear();
  }
  const bool own = typed.empty() && !entrypoint && image;
  const std::vector<std::string>& rest = own ? image->config.cmd : typed;
  command.insert(command.end(), rest.begin(), rest.end());
  return command;
}

}  // namespace troot::cli
