// The options and checks that `create` and `run` share.
#include "tools/troot/commands/new_world.h"

#include <sys/stat.h>

#include <optional>

#include <boost/filesystem.hpp>

#include "tools/troot/image/import.h"
#include "tools/troot/text/size.h"
#include "tools/troot/world/clone.h"
#include "tools/troot/world/name.h"

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
          "(- is the standard input), oci:DIR[:TAG], or an image that was saved; or the world that "
          "it is a clone of, or NAME@TAG. What is there as a file or directory is that, as it was "
          "before there was a world of the name: troot clone takes the world")
      ->type_name("DIR|TAR|IMAGE|WORLD")
      ->capture_default_str();
}

namespace {

/// What was said of limits and /tmp.
Done add_words(const NewWorld& words, Settings& settings) {
  if (!words.limit.empty()) {
    TAKE(bytes, parse_size("limit", words.limit));
    settings.limit_bytes = bytes;
  }
  if (!words.inodes.empty()) {
    TAKE(inodes, parse_inodes("inodes", words.inodes));
    settings.say_inodes(inodes.count, inodes.derived);
  }
  if (words.share_tmp) settings.share_tmp = true;
  return {};
}

Outcome<std::string> base_of(const NewWorld& words) {
  boost::system::error_code error;
  const auto base = boost::filesystem::canonical(words.from, error);
  if (error) return usage("--from " + words.from + ": " + error.message());
  if (!boost::filesystem::is_directory(base, error))
    return usage("--from " + words.from + ": neither a directory nor a file");
  return base.string();
}

/// Nothing lies at that path, and a world has that name.
std::optional<WorldRef> world_of(const Store& store, const std::string& from) {
  struct stat st {};
  if (::stat(from.c_str(), &st) == 0) return std::nullopt;
  const WorldRef ref = parse_ref(from);
  if (!check_name(ref.name) || (ref.tag.empty() && !store.find(ref.name))) return std::nullopt;
  return ref;
}

}  // namespace

Outcome<std::optional<WorldImage>> Draft::image() const {
  if (carried.image_json.empty()) return std::optional<WorldImage>();
  return parse_image(carried.image_json);
}

Outcome<Settings> limits_of(const NewWorld& words) {
  Settings settings;
  NEED(add_words(words, settings));
  return settings;
}

Outcome<Draft> draft_world(const Store& store, const std::string& name, const NewWorld& words) {
  TAKE(settings, limits_of(words));
  Draft draft{name, std::move(settings), {}, {}};
  const bool archive = is_archive(words.from);
  const auto ref = archive ? std::nullopt : world_of(store, words.from);
  if (!archive && !ref) {
    TAKE(base, base_of(words));
    draft.settings.base = base;
  }
  NEED(store.check_free(name));
  if (ref) {
    TAKE(source, clone_source(store, *ref));
    NEED(add_words(words, source.settings));
    draft.settings = std::move(source.settings);
    draft.carried = std::move(source.carried);
    draft.held = std::move(source.held);
  }
  if (!archive) return draft;
  TAKE(imported, import_archive(store, words.from));
  draft.settings.base.clear();
  draft.settings.layers = std::move(imported.layers);
  draft.carried.image_json = std::move(imported.image_json);
  draft.held = std::move(imported.held);
  return draft;
}

Outcome<Created> create_world(const Store& store, const Draft& draft, Lifetime lifetime) {
  return store.create(draft.name, draft.settings, lifetime, draft.carried);
}

}  // namespace troot::cli
