// Building the answers of the control socket and taking its requests apart: shared by
// the files of the verbs (fusefs/control/verbs.h).
#pragma once

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "fusefs/control/verbs.h"
#include "quota/base/result.h"

namespace troot::quota {
class Quota;
}

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

/// The answer of a verb of quota (fusefs/control/quota_verbs.cc); nothing where it is none of them.
[[nodiscard]] std::optional<Answer> answer_quota(quota::Quota* quota, const std::string& verb,
                                                 const Arguments& arguments);

}  // namespace troot::fusefs
