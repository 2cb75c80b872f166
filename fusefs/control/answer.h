// Building the answers of the control socket and taking the words of its requests: shared by the
// files of the verbs (fusefs/control/verbs.h).
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "fusefs/control/verbs.h"
#include "quota/base/result.h"
#include "quota/types.h"

namespace troot::fusefs {

/// `key=value` of a request; a word of its own is kept with an empty value.
using Arguments = std::map<std::string, std::string, std::less<>>;

/// Collects the lines of an answer.
class Lines {
 public:
  Lines& pair(std::string_view key, std::string_view value) {
    if (!text_.empty() && text_.back() != '\n') text_ += ' ';
    text_.append(key).append("=").append(escape_value(value));
    return *this;
  }
  template <typename Number>
  requires std::is_integral_v<Number> Lines& pair(std::string_view key, Number value) {
    return pair(key, std::string_view(std::to_string(value)));
  }
  void end() { text_ += '\n'; }
  template <typename Value>
  void line(std::string_view key, Value value) {
    pair(key, value).end();
  }
  [[nodiscard]] std::string text() && { return std::move(text_); }
  [[nodiscard]] Answer ok() && { return {"ok\n" + std::move(text_) + "\n"}; }

 private:
  std::string text_;
};

[[nodiscard]] inline Answer refuse(int error, std::string_view text) {
  return {error_answer(error, text)};
}
[[nodiscard]] inline Answer refuse(Errno error) {
  return refuse(error.value(), std::strerror(error.value()));
}
[[nodiscard]] inline Answer done(const Status& status) {
  return status ? Lines().ok() : refuse(status.error());
}

/// A plain number of at most 63 bits, as amounts are signed inside.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text);

/// A request's words, each of which must be taken. The first thing that is wrong is kept.
class Request {
 public:
  explicit Request(const Arguments& arguments) : left_(arguments) {}

  [[nodiscard]] std::optional<quota::ProjId> project(std::string_view key);
  /// That of the word `project`, which must be there.
  [[nodiscard]] quota::ProjId named_project();
  /// Leaves `into` as it is where the key is absent.
  template <typename Number>
  void number(std::string_view key, Number& into) {
    const auto text = take(key);
    if (!text) return;
    const auto value = parse_number(*text);
    if (value) {
      into = static_cast<Number>(*value);
    } else {
      wrong(std::string(key) + "=" + *text + ": not a number");
    }
  }
  [[nodiscard]] std::optional<std::string> take(std::string_view key);
  /// What is wrong with the request, words that nobody took included; empty: nothing.
  [[nodiscard]] std::string complaint() const;

 private:
  void wrong(std::string text);

  Arguments left_;
  std::string wrong_;
};

}  // namespace troot::fusefs
