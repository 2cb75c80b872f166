// How the command reports that something went wrong: one line for a person, and
// whether the line blames the words that were typed or what happened. main.cc turns it into an exit
// code.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>

#include <tl/expected.hpp>

namespace troot::cli {

enum class Blame {
  kUsage,   ///< what was typed cannot be meant: exit 2
  kFailure  ///< it was understood and did not work: exit 1
};

/// Why a command ends without success. `text` is one line without the program's name and a newline.
struct Problem {
  Blame blame = Blame::kFailure;
  std::string text;
};

template <typename T>
using Outcome = tl::expected<T, Problem>;
using Done = Outcome<void>;

[[nodiscard]] inline tl::unexpected<Problem> usage(std::string text) {
  return tl::unexpected<Problem>(Problem{Blame::kUsage, std::move(text)});
}
[[nodiscard]] inline tl::unexpected<Problem> failure(std::string text) {
  return tl::unexpected<Problem>(Problem{Blame::kFailure, std::move(text)});
}
/// "WHAT: the errno's words".
[[nodiscard]] inline tl::unexpected<Problem> failure_errno(const std::string& what,
                                                           int error = errno) {
  return failure(what + ": " + std::strerror(error));
}

}  // namespace troot::cli

// As TRY and CHECK_OK of quota/base/result.h, for an Outcome.
#define TAKE_CONCAT_(a, b) a##b
#define TAKE_CONCAT(a, b) TAKE_CONCAT_(a, b)
#define TAKE(name, expression) TAKE_(TAKE_CONCAT(outcome_, __LINE__), name, expression)
#define TAKE_(tmp, name, expression)                                     \
  auto tmp = (expression);                                               \
  if (!tmp) return tl::unexpected<::troot::cli::Problem>((tmp).error()); \
  auto name = std::move(*tmp)
#define NEED(expression)                                           \
  do {                                                             \
    if (auto done_ = (expression); !done_)                         \
      return tl::unexpected<::troot::cli::Problem>(done_.error()); \
  } while (false)
