// Why a mount cannot be made, as one line for a person.
#pragma once

#include <cstring>
#include <string>
#include <utility>

#include <tl/expected.hpp>

#include "fusefs/config.h"
#include "quota/base/result.h"

namespace troot::fusefs {

/// Nothing, or why not.
using Refusal = tl::expected<void, OpenError>;

/// `message` names the thing and the cure; `error` is the errno behind it.
[[nodiscard]] inline tl::unexpected<OpenError> refuse(std::string message, int error) {
  return tl::unexpected<OpenError>(OpenError{std::move(message), error});
}

/// Where a system call has said it all.
[[nodiscard]] inline tl::unexpected<OpenError> refuse_errno(const std::string& what, Errno error) {
  return refuse(what + ": " + std::strerror(error.value()), error.value());
}

}  // namespace troot::fusefs

/// Returns the refusal of `expression` from the enclosing function, if there is one.
#define ACCEPT(expression)                                \
  do {                                                    \
    if (auto refusal_ = (expression); !refusal_)          \
      return tl::unexpected<OpenError>(refusal_.error()); \
  } while (false)
