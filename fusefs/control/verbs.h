// What is answered to the requests of the control socket (fusefs/control/protocol.h has the
// grammar). Knows nothing of sockets.
#pragma once

#include <string>
#include <string_view>

#include "fusefs/base/escape.h"

namespace troot::fusefs {

struct ControlSubject;

/// What comes of a request besides its answer.
enum class After {
  kNothing,
  kQuit,  ///< the server shall end after the answer is sent
  kWatch  ///< events follow; the answer's closing empty line comes when the server ends
};
/// The whole answer, its closing empty line included (but see After::kWatch).
struct Answer {
  std::string text;
  After after = After::kNothing;
};

/// `line` without its newline; whatever it holds, it gets an answer.
[[nodiscard]] Answer answer_request(const ControlSubject& subject, std::string_view line);
/// The whole answer to what is refused.
[[nodiscard]] inline std::string error_answer(int error, std::string_view text) {
  return "error " + std::to_string(error) + " " + std::string(text) + "\n\n";
}

}  // namespace troot::fusefs
