// What owns it: fuzzing what comes to the server from outside: its command line, its control
// socket, the raw requests of the device.
#include <memory>

#include "fusefs/control/server.h"
#include "fusefs/control/verbs.h"
#include "fusefs/launch/option_text.h"
#include "fusefs/launch/options.h"
#include "fusefs/overlay.h"
#include "fusefs/serve/request.h"
#include "fuzz/target.h"
#include "unit/scratch.h"

namespace troot::fuzz {

using namespace fusefs;

namespace {

/// A union with nothing in it, for requests to ask.
struct Union {
  tests::Scratch dir;
  std::unique_ptr<Overlay> overlay;
  RequestCounts requests;
  Union() {
    Config config;
    config.lowers = {dir.make("lower")};
    config.upper = dir.make("upper");
    config.work = dir.make("work");
    auto opened = Overlay::open(config);
    must(opened.has_value());
    overlay = std::move(*opened);
  }
};

/// As a client reads it: a first line, lines of `key=value`, an empty line at the end.
void must_be_an_answer(const Answer& answer) {
  const std::string_view text = answer.text;
  must(text.starts_with("ok\n") || text.starts_with("error "));
  if (answer.after == After::kWatch) return;
  must(text.ends_with("\n\n") && text.find("\n\n") == text.size() - 2);
}

}  // namespace

void options(std::string_view bytes) {
  const std::string text(bytes);
  for (const auto& args :
       {std::vector<std::string>{"-o", text, "/mnt"}, std::vector<std::string>{text, "/mnt"},
        std::vector<std::string>{text}}) {
    const auto parsed = parse_command_line(args);
    must(parsed || (!parsed.error().message.empty() && parsed.error().exit_code != 0));
    if (parsed) (void)unused_note(*parsed);
  }
  (void)parse_owner(bytes);
  // What is escaped stays one piece and comes back.
  std::string escaped;
  for (const char c : bytes) {
    if (c == '\\' || c == ',' || c == ':' || c == '"') escaped += '\\';
    escaped += c;
  }
  must(unescape(escaped) == text);
  for (const char separator : {',', ':'}) {
    const auto parts = split_escaped(escaped, separator, Quoting::kQuotes);
    must(text.empty() ? parts.empty() : parts.size() == 1 && unescape(parts[0]) == text);
  }
}

void control(std::string_view bytes) {
  static Union tree;
  const ControlSubject subject{*tree.overlay, tree.requests, "/upper\n of =x"};
  must(unescape_value(escape_value(bytes)) == bytes);
  const std::string line(bytes.substr(0, bytes.find('\n')));
  // A walk of the upper, and a write to the disk, are what these are; both have tests of their own.
  if (line.find("check") != std::string::npos || line.find("sync") != std::string::npos) return;
  must_be_an_answer(answer_request(subject, line));
  must_be_an_answer(answer_request(subject, "report"));
}

void request(std::string_view bytes) {
  std::string copy(bytes);
  const auto raw = std::as_writable_bytes(std::span(copy));
  const RequestInfo info = peek(raw, 3);
  (void)kind_of(info);
  show_as_known(info, raw);
  must(copy.size() == bytes.size());
  // Nothing but the number of the operation is another.
  constexpr std::size_t kOpcode = 4, kEnd = 8;
  must(copy.substr(0, kOpcode) == bytes.substr(0, kOpcode));
  if (bytes.size() > kEnd) must(copy.substr(kEnd) == bytes.substr(kEnd));
}

}  // namespace troot::fuzz
