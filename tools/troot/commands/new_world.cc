// The options and checks that `create` and `run` share.
#include "tools/troot/commands/new_world.h"

#include <sys/stat.h>

#include <boost/filesystem.hpp>

#include "tools/troot/image/import.h"
#include "tools/troot/text/size.h"

namespace troot::cli {

void add_limit_options(CLI::App& command, NewWorld& words) {
  command
      .add_option("--limit", words.limit,
                  "Bytes it may use on disk, like 300M or 10G (default: no limit)")
      ->type_name("SIZE");
  command
      .add_option("--inodes", words.inodes,
                  "Files, directories and links it may make, or none (default: one for each 4K of "
                  "the limit, at least 1000)")
      ->type_name("COUNT");
  command.add_flag("--share-tmp", words.share_tmp,
                   "Show the host's /tmp instead of one of its own");
}

void add_new_world_options(CLI::App& command, NewWorld& words) {
  add_limit_options(command, words);
  command
      .add_option(
          "--from", words.from,
          "The directory it is a copy of; or what it consists of: a tar of a root file system "
          "(- is the standard input), oci:DIR[:TAG], or an image that was saved")
      ->type_name("DIR|TAR|IMAGE")
      ->capture_default_str();
}

Outcome<Settings> limits_of(const NewWorld& words) {
  Settings settings;
  if (!words.limit.empty()) {
    TAKE(bytes, parse_size("limit", words.limit));
    settings.limit_bytes = bytes;
  }
  if (!words.inodes.empty()) {
    TAKE(inodes, parse_inodes("inodes", words.inodes));
    settings.say_inodes(inodes.count, inodes.derived);
  }
  settings.share_tmp = words.share_tmp;
  return settings;
}

namespace {

Outcome<Settings> settings_of(const NewWorld& words) {
  TAKE(settings, limits_of(words));
  if (is_archive(words.from)) {
    settings.base.clear();
    return settings;
  }
  boost::system::error_code error;
  const auto base = boost::filesystem::canonical(words.from, error);
  if (error) return usage("--from " + words.from + ": " + error.message());
  if (!boost::filesystem::is_directory(base, error))
    return usage("--from " + words.from + ": neither a directory nor a file");
  settings.base = base.string();
  return settings;
}

}  // namespace

Outcome<std::optional<WorldImage>> Draft::image() const {
  if (image_json.empty()) return std::optional<WorldImage>();
  return parse_image(image_json);
}

Outcome<Draft> draft_world(const Store& store, const std::string& name, const NewWorld& words) {
  TAKE(settings, settings_of(words));
  NEED(store.check_free(name));
  Draft draft{name, std::move(settings), "", {}};
  if (!is_archive(words.from)) return draft;
  TAKE(imported, import_archive(store, words.from));
  draft.settings.layers = std::move(imported.layers);
  draft.image_json = std::move(imported.image_json);
  draft.held = std::move(imported.held);
  return draft;
}

Outcome<Created> create_world(const Store& store, const Draft& draft, Lifetime lifetime) {
  return store.create(draft.name, draft.settings, lifetime, draft.image_json);
}

}  // namespace troot::cli
