// Reads and writes JSON (tools/archive/oci/json.h).
#include "tools/archive/oci/json.h"

namespace troot::archive {

using nlohmann::json;

cli::Outcome<json> parse_object(const std::string& text, const std::string& name) {
  constexpr int kMostNested = 64;
  bool deep = false;
  json value = json::parse(
      text,
      [&deep](int depth, json::parse_event_t, json&) {
        deep = deep || depth > kMostNested;
        return !deep;
      },
      false);
  if (deep || !value.is_object())
    return cli::failure(name +
                        ": not the JSON that an image has there; it is damaged, make or "
                        "fetch the image again");
  return value;
}

std::string written(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

const json& member(const json& object, const char* key) {
  static const json none;
  if (!object.is_object()) return none;
  const auto it = object.find(key);
  return it == object.end() ? none : *it;
}

std::string text_of(const json& object, const char* key) {
  const json& value = member(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

std::vector<std::string> texts_of(const json& object, const char* key) {
  std::vector<std::string> texts;
  const json& list = member(object, key);
  if (!list.is_array()) return texts;
  for (const json& one : list)
    if (one.is_string()) texts.push_back(one.get<std::string>());
  return texts;
}

}  // namespace troot::archive
