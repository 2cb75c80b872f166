// What owns it: what each request of the control socket answers.
#include "fusefs/control_verbs.h"

#include <unistd.h>

#include <charconv>
#include <cstring>
#include <limits>
#include <map>
#include <vector>

#include "fusefs/option_text.h"
#include "fusefs/overlay.h"

namespace troot::fusefs {
namespace {

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
  [[nodiscard]] Answer ok() && { return {"ok\n" + std::move(text_) + "\n", false}; }

 private:
  std::string text_;
};

Answer refuse(int error, std::string_view text) { return {error_answer(error, text), false}; }
Answer refuse(Errno error) { return refuse(error.value(), std::strerror(error.value())); }
Answer done(const Status& status) { return status ? Lines().ok() : refuse(status.error()); }
Answer no_quota() { return refuse(EOPNOTSUPP, "this mount was made with noquota"); }

Answer status(Overlay& overlay, const std::string& upper) {
  Lines lines;
  if (const quota::Quota* quota = overlay.quota()) {
    const auto total = quota->total();
    lines.line("used_bytes", total.used.bytes);
    lines.line("limit_bytes", total.limits.bytes.hard);
    lines.line("soft_bytes", total.limits.bytes.soft);
    lines.line("used_inodes", total.used.inodes);
    lines.line("limit_inodes", total.limits.inodes.hard);
    lines.line("peak_bytes", total.peak.bytes);
    lines.line("failcnt", total.failcnt);
  }
  const auto stats = overlay.stats();
  lines.line("pid", ::getpid());
  lines.line("inodes", stats.inodes);
  lines.line("names", stats.names);
  lines.line("open_files", stats.open_files);
  lines.line("parked", stats.parked);
  lines.line("copied_up", stats.copied_up);
  lines.line("enforcing",
             overlay.quota() != nullptr && overlay.quota()->enforcing() ? "on" : "off");
  lines.line("upper", upper.c_str());
  return std::move(lines).ok();
}

Answer report(const quota::Quota& quota) {
  Lines lines;
  for (const auto& project : quota.report()) {
    lines.pair("project", quota::to_u32(project.id))
        .pair("used_bytes", project.used.bytes)
        .pair("used_inodes", project.used.inodes)
        .pair("bsoft", project.limits.bytes.soft)
        .pair("bhard", project.limits.bytes.hard)
        .pair("isoft", project.limits.inodes.soft)
        .pair("ihard", project.limits.inodes.hard)
        .pair("bytes_timer", project.bytes_timer)
        .pair("inodes_timer", project.inodes_timer)
        .pair("peak_bytes", project.peak.bytes)
        .pair("peak_inodes", project.peak.inodes)
        .pair("failcnt", project.failcnt)
        .pair("margin_bytes", project.margin_bytes)
        .end();
  }
  return std::move(lines).ok();
}

/// A plain number of at most 63 bits, as amounts are signed inside.
std::optional<std::uint64_t> parse_limit(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return std::nullopt;
  return number;
}

Answer limit(quota::Quota& quota, const Arguments& arguments) {
  std::optional<quota::ProjId> project;
  if (const auto given = arguments.find("project"); given != arguments.end()) {
    const auto id = parse_u32(given->second);
    if (!id) return refuse(EINVAL, "project=" + given->second + ": not a project id");
    project = quota::ProjId{*id};
  }
  quota::Limits limits = project ? quota.project(*project).limits : quota.total().limits;
  const std::map<std::string_view, std::uint64_t*> fields{{"bsoft", &limits.bytes.soft},
                                                          {"bhard", &limits.bytes.hard},
                                                          {"isoft", &limits.inodes.soft},
                                                          {"ihard", &limits.inodes.hard}};
  for (const auto& [key, value] : arguments) {
    if (key == "project") continue;
    const auto field = fields.find(key);
    if (field == fields.end())
      return refuse(EINVAL, key + ": not a limit; write bsoft, bhard, isoft or ihard");
    const auto number = parse_limit(value);
    if (!number) return refuse(EINVAL, key + "=" + value + ": not a number");
    *field->second = *number;
  }
  return done(project ? quota.set_limits(*project, limits) : quota.set_total_limits(limits));
}

/// The words after the verb: `key=value`, or a word of its own, which is kept with an empty value.
std::optional<Arguments> parse_arguments(const std::vector<std::string>& words) {
  Arguments arguments;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const auto equals = words[i].find('=');
    const std::string value =
        equals == std::string::npos ? "" : unescape_value(words[i].substr(equals + 1));
    if (!arguments.emplace(words[i].substr(0, equals), value).second) return std::nullopt;
  }
  return arguments;
}

Answer with_quota(quota::Quota& quota, const std::string& verb, const Arguments& arguments) {
  if (verb == "limit") return limit(quota, arguments);
  if (verb == "enforce") {
    const bool on = arguments.contains("on");
    if (arguments.size() != 1 || (!on && !arguments.contains("off")))
      return refuse(EINVAL, "enforce on|off");
    quota.set_enforcement(on);
    return Lines().ok();
  }
  if (!arguments.empty()) return refuse(EINVAL, verb + " takes no words");
  return verb == "report" ? report(quota) : done(quota.flush(quota::Quota::Sync::kToDisk));
}

}  // namespace

Answer answer_request(Overlay& overlay, const std::string& upper, std::string_view line) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at <= line.size();) {
    const auto end = std::min(line.find(' ', at), line.size());
    if (end > at) words.emplace_back(line.substr(at, end - at));
    at = end + 1;
  }
  if (words.empty()) return refuse(EINVAL, "an empty request");
  const std::string& verb = words[0];
  const auto arguments = parse_arguments(words);
  if (!arguments) return refuse(EINVAL, "a key is given twice");
  if (verb == "limit" || verb == "enforce" || verb == "report" || verb == "sync") {
    return overlay.quota() != nullptr ? with_quota(*overlay.quota(), verb, *arguments) : no_quota();
  }
  if (verb == "status" && arguments->empty()) return status(overlay, upper);
  if (verb == "quit" && arguments->empty()) return {"ok\n\n", true};
  return refuse(
      EINVAL, escape_value(verb) + ": not a request; known: status report limit enforce sync quit");
}

std::string error_answer(int error, std::string_view text) {
  return "error " + std::to_string(error) + " " + std::string(text) + "\n\n";
}

std::string escape_value(std::string_view value) {
  std::string text;
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > ' ' && c != '\\' && byte != 0x7f) {
      text += c;
      continue;
    }
    text += '\\';
    for (int shift = 6; shift >= 0; shift -= 3)
      text += static_cast<char>('0' + ((byte >> shift) & 7));
  }
  return text;
}

std::string unescape_value(std::string_view value) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string text;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value[i] != '\\' || i + 3 >= value.size() || !octal(value[i + 1]) || !octal(value[i + 2]) ||
        !octal(value[i + 3])) {
      text += value[i];
      continue;
    }
    text += static_cast<char>((value[i + 1] - '0') * 64 + (value[i + 2] - '0') * 8 +
                              (value[i + 3] - '0'));
    i += 3;
  }
  return text;
}

}  // namespace troot::fusefs
