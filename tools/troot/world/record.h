// The small JSON files of the store that carry a checksum, world.json and layer.json
// (docs/FORMAT.md): reading them without believing them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace troot::cli {

/// What a file without a checksum is.
enum class Unsummed {
  kDamaged,
  kVersion1  ///< fine where it says so of itself, or has no version
};

/// A file that was read whole: an object whose checksum fits.
class Record {
 public:
  /// nullopt: no JSON, no object, or the checksum is another.
  [[nodiscard]] static std::optional<Record> parse(const std::string& text, Unsummed unsummed);

  /// Take values that are there and of the right type; numbers are not cut to fit. False: another
  /// type. A missing key leaves `into` as it is.
  [[nodiscard]] bool read(const char* key, std::string& into) const;
  [[nodiscard]] bool read(const char* key, bool& into) const;
  [[nodiscard]] bool read(const char* key, std::uint64_t& into) const;
  [[nodiscard]] bool read(const char* key, std::int64_t& into) const;
  [[nodiscard]] bool read(const char* key, std::vector<std::string>& into) const;
  /// The object there; nullopt: there is none, or another type.
  [[nodiscard]] std::optional<Record> read_object(const char* key) const;
  /// The objects of the list there, none where the key is missing; nullopt: another type.
  [[nodiscard]] std::optional<std::vector<Record>> read_objects(const char* key) const;
  [[nodiscard]] bool has(const char* key) const { return from_.contains(key); }
  [[nodiscard]] bool is_null(const char* key) const { return has(key) && from_[key].is_null(); }

 private:
  explicit Record(nlohmann::json from) : from_(std::move(from)) {}
  nlohmann::json from_;
};

/// The text of a file with these keys, its checksum among them. nullopt: a text is not UTF-8, as
/// JSON wants it.
[[nodiscard]] std::optional<std::string> sealed(nlohmann::json keys);

}  // namespace troot::cli
