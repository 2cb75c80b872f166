// Reading /etc/projid and /etc/projects.
#include "tools/quota/client/projects.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "tools/troot/world/store.h"

namespace troot::quota_tools {
namespace {

std::optional<std::uint32_t> parse_id(const std::string& text) {
  std::uint32_t id = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, id);
  // The largest number is the kernel's INVALID_PROJID.
  if (text.empty() || error != std::errc{} || at != end || id == UINT32_MAX) return std::nullopt;
  return id;
}

/// Calls `take` with the two sides of the first colon of every line that is no comment.
template <typename Take>
void each_pair(const std::string& text, Take take) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto colon = line.find(':');
    if (line.empty() || line[0] == '#' || colon == std::string::npos) continue;
    take(line.substr(0, colon), line.substr(colon + 1));
  }
}

}  // namespace

Projects Projects::of_machine() {
  return parse(cli::read_text("/etc/projid"), cli::read_text("/etc/projects"));
}

Projects Projects::parse(const std::string& projid, const std::string& projects) {
  Projects all;
  each_pair(projid, [&](const std::string& name, const std::string& number) {
    if (const auto id = parse_id(number); id && !name.empty()) all.names_.emplace_back(name, *id);
  });
  each_pair(projects, [&](const std::string& number, const std::string& directory) {
    if (const auto id = parse_id(number)) all.directories_.emplace_back(directory, *id);
  });
  return all;
}

bool Projects::has_name(std::uint32_t id) const {
  return std::any_of(names_.begin(), names_.end(), [&](const auto& n) { return n.second == id; });
}

std::string Projects::name(std::uint32_t id) const {
  for (const auto& [name, number] : names_) {
    if (number == id) return name;
  }
  return "#" + std::to_string(id);
}

cli::Outcome<std::uint32_t> Projects::id(const std::string& word) const {
  if (!word.empty() &&
      std::all_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    if (const auto id = parse_id(word)) return *id;
    return cli::failure("project " + word + ": ids go up to 4294967294");
  }
  return id_of_name(word);
}

cli::Outcome<std::uint32_t> Projects::id_of_name(const std::string& word) const {
  for (const auto* list : {&names_, &directories_}) {
    for (const auto& [name, number] : *list) {
      if (name == word) return number;
    }
  }
  return cli::failure("project " + word + " does not exist; add " + word + ":ID to /etc/projid");
}

}  // namespace troot::quota_tools
