// JSON of images, which may be anything: read without trust, written the same each time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "tools/troot/text/outcome.h"

namespace troot::archive {

/// No more is read of a file of JSON (the OCI's limit of a manifest).
inline constexpr std::uint64_t kMostJson = 4 << 20;

/// An object; anything else, also one that is nested deeply, is a problem. `name`: what messages
/// call it.
[[nodiscard]] cli::Outcome<nlohmann::json> parse_object(const std::string& text,
                                                        const std::string& name);
/// Without blanks, keys in the order of their bytes.
[[nodiscard]] std::string written(const nlohmann::json& value);

/// A member of an object; null where there is none.
[[nodiscard]] const nlohmann::json& member(const nlohmann::json& object, const char* key);
/// Empty where it is no text.
[[nodiscard]] std::string text_of(const nlohmann::json& object, const char* key);
/// The texts of a list; what is none is left out.
[[nodiscard]] std::vector<std::string> texts_of(const nlohmann::json& object, const char* key);

}  // namespace troot::archive
