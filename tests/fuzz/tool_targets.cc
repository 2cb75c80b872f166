// Fuzzing what the tools read: files of the machine, of the store, and amounts that
// people type.
#include <fstream>

#include <nlohmann/json.hpp>

#include "fuzz/target.h"
#include "tools/quota/client/mounts.h"
#include "tools/quota/client/projects.h"
#include "tools/quota/text/amounts.h"
#include "tools/troot/image/world_image.h"
#include "tools/troot/sandbox/subid.h"
#include "tools/troot/text/size.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/record.h"
#include "tools/troot/world/store.h"
#include "unit/scratch.h"

namespace troot::fuzz {

void projects(std::string_view bytes) {
  const std::size_t half = std::min(bytes.find('\0'), bytes.size());
  const std::string projid(bytes.substr(0, half)),
      directories(bytes.substr(std::min(half + 1, bytes.size())));
  const auto all = quota_tools::Projects::parse(projid, directories);
  std::string text;
  for (const auto& [name, id] : all.names()) {
    must(all.has_name(id) && !all.name(id).empty() && all.id_of_name(name).has_value());
    text += name + ":" + std::to_string(id) + "\n";
  }
  const auto again = quota_tools::Projects::parse(text, "");
  must(again.names() == all.names());
}

void subids(std::string_view bytes) {
  const auto ranges = cli::parse_subids(bytes, "user", 1000);
  std::string text;
  for (const cli::IdRange& r : ranges) {
    must(r.count > 0 && r.first + std::uint64_t{r.count} <= UINT32_MAX);
    text += "user:" + std::to_string(r.first) + ":" + std::to_string(r.count) + "\n";
  }
  must(cli::parse_subids(text, "user", 1000) == ranges);
  const std::uint32_t count = cli::total(ranges);
  for (const std::uint32_t some : {count, count / 2, 1U}) {
    must(cli::total(cli::truncated(ranges, some)) == std::min(some, count));
  }
}

void world(std::string_view bytes) {
  static const tests::Scratch dir;
  const cli::World world("w", dir.make("w"));
  std::ofstream(world.path() + "/world.json", std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (const auto settings = world.load()) {
    must(world.save(*settings).has_value());
    const auto again = world.load();
    must(again && again->base == settings->base && again->created_s == settings->created_s &&
         again->limit_bytes == settings->limit_bytes && again->share_tmp == settings->share_tmp &&
         again->limit_inodes == settings->limit_inodes &&
         again->provisioned == settings->provisioned);
  }
  // A path is any bytes; what cannot be kept is refused.
  cli::Settings odd;
  odd.base = "/" + std::string(bytes.substr(0, 1000));
  if (!world.save(odd)) return;
  const auto kept = world.load();
  must(kept && kept->base == odd.base);
}

namespace {

/// The text with the checksum that it would need: what damage alone would seldom come past.
std::string with_sum(std::string_view bytes) {
  nlohmann::json keys = nlohmann::json::parse(bytes, nullptr, false);
  if (!keys.is_object()) return std::string(bytes);
  keys.erase("sum");
  return cli::sealed(std::move(keys)).value_or(std::string(bytes));
}

}  // namespace

void layer(std::string_view bytes) {
  static const tests::Scratch dir;
  const std::string id(64, 'a');
  const cli::Layer layer(id, dir.make(id));
  for (const std::string& text : {std::string(bytes), with_sum(bytes)}) {
    std::ofstream(layer.path() + "/layer.json", std::ios::binary | std::ios::trunc) << text;
    const auto record = layer.load();
    if (!record) continue;
    must(record->diff_id == "sha256:" + id);
    must(layer.save(*record).has_value());
    const auto again = layer.load();
    must(again && *again == *record);
  }
}

void image(std::string_view bytes) {
  for (const std::string& text : {std::string(bytes), with_sum(bytes)}) {
    const auto read = cli::parse_image(text);
    if (!read || !*read) continue;
    archive::Image image;
    image.tag = (*read)->tag;
    image.digest = (*read)->digest;
    image.config = (*read)->config;
    const auto again_text = cli::image_text(image);
    must(again_text.has_value());
    const auto again = cli::parse_image(*again_text);
    must(again && *again && (*again)->diff_ids == (*read)->diff_ids &&
         (*again)->config.env == image.config.env && (*again)->config.rest == image.config.rest);
  }
}

void mounts(std::string_view bytes) { (void)quota_tools::parse_mounts(std::string(bytes)); }

void amounts(std::string_view bytes) {
  const std::string text(bytes);
  (void)quota_tools::parse_units(text);
  if (const auto n = cli::parse_size("limit", text)) (void)cli::format_size(*n);
  (void)cli::parse_count("limit", text);
  if (const auto n = quota_tools::parse_space("limit", text))
    (void)quota_tools::space_text(*n, quota_tools::Units{true, 0, 0});
  if (const auto n = quota_tools::parse_count("limit", text))
    (void)quota_tools::count_text(*n, quota_tools::Units{true, 0, 0});
  if (const auto n = quota_tools::parse_period("grace", text)) {
    (void)quota_tools::period_text(*n);
    (void)quota_tools::left_text(*n, 0);
  }
}

}  // namespace troot::fuzz
