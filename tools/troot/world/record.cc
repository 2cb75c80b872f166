// Checksums and types of the store's JSON files.
#include "tools/troot/world/record.h"

#include "quota/crc32.h"

namespace troot::cli {
namespace {

using nlohmann::json;

/// The checksum is of all the rest, in JSON without blanks, keys in their order.
bool sum_fits(const json& from, Unsummed unsummed) {
  const auto sum = from.find("sum");
  if (sum == from.end()) {
    const auto version = from.find("version");
    return unsummed == Unsummed::kVersion1 && (version == from.end() || *version == 1);
  }
  json rest = from;
  rest.erase("sum");
  const std::string text = rest.dump(-1, ' ', false, json::error_handler_t::replace);
  return *sum == crc32_text(text);
}

}  // namespace

std::optional<Record> Record::parse(const std::string& text, Unsummed unsummed) {
  json from = json::parse(text, nullptr, false);
  if (!from.is_object() || !sum_fits(from, unsummed)) return std::nullopt;
  return Record(std::move(from));
}

bool Record::read(const char* key, std::string& into) const {
  const auto it = from_.find(key);
  if (it == from_.end()) return true;
  if (it->is_string()) into = it->get<std::string>();
  return it->is_string();
}

bool Record::read(const char* key, bool& into) const {
  const auto it = from_.find(key);
  if (it == from_.end()) return true;
  if (it->is_boolean()) into = it->get<bool>();
  return it->is_boolean();
}

bool Record::read(const char* key, std::uint64_t& into) const {
  const auto it = from_.find(key);
  if (it == from_.end()) return true;
  if (it->is_number_unsigned()) into = it->get<std::uint64_t>();
  return it->is_number_unsigned();
}

bool Record::read(const char* key, std::int64_t& into) const {
  const auto it = from_.find(key);
  if (it == from_.end()) return true;
  if (!it->is_number_integer()) return false;
  if (it->is_number_unsigned() && it->get<std::uint64_t>() > INT64_MAX) return false;
  into = it->get<std::int64_t>();
  return true;
}

bool Record::read(const char* key, std::vector<std::string>& into) const {
  const auto it = from_.find(key);
  if (it == from_.end()) return true;
  if (!it->is_array()) return false;
  std::vector<std::string> found;
  for (const json& item : *it) {
    if (!item.is_string()) return false;
    found.push_back(item.get<std::string>());
  }
  into = std::move(found);
  return true;
}

std::optional<Record> Record::read_object(const char* key) const {
  const auto it = from_.find(key);
  if (it == from_.end() || !it->is_object()) return std::nullopt;
  return Record(*it);
}

std::optional<std::vector<Record>> Record::read_objects(const char* key) const {
  std::vector<Record> found;
  const auto it = from_.find(key);
  if (it == from_.end()) return found;
  if (!it->is_array()) return std::nullopt;
  for (const json& item : *it) {
    if (!item.is_object()) return std::nullopt;
    found.push_back(Record(item));
  }
  return found;
}

std::optional<std::string> sealed(json keys) {
  try {
    keys["sum"] = crc32_text(keys.dump());
    return keys.dump(2) + "\n";
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

}  // namespace troot::cli
