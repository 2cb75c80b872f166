// Taking the words of a request of the control socket.
#include "fusefs/control/answer.h"

#include <charconv>
#include <limits>

#include "fusefs/launch/option_text.h"

namespace troot::fusefs {

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return std::nullopt;
  return number;
}

std::optional<quota::ProjId> Request::project(std::string_view key) {
  const auto text = take(key);
  if (!text) return std::nullopt;
  const auto id = parse_u32(*text);
  if (!id) wrong(std::string(key) + "=" + *text + ": not a project id");
  return id ? std::optional(quota::ProjId{*id}) : std::nullopt;
}

quota::ProjId Request::named_project() {
  const auto id = project("project");
  if (!id) wrong("project=ID is missing");
  return id.value_or(quota::kDefaultProject);
}

std::optional<std::string> Request::take(std::string_view key) {
  const auto found = left_.find(key);
  if (found == left_.end()) return std::nullopt;
  std::string value = found->second;
  left_.erase(found);
  return value;
}

std::string Request::complaint() const {
  if (!wrong_.empty() || left_.empty()) return wrong_;
  return left_.begin()->first + ": not a word of this request";
}

void Request::wrong(std::string text) {
  if (wrong_.empty()) wrong_ = std::move(text);
}

}  // namespace troot::fusefs
