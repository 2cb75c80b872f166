// The words for an event.
#include "tools/quota/text/event_text.h"

#include <charconv>
#include <ctime>

#include "tools/troot/text/size.h"

namespace troot::quota_tools {
namespace {

using Line = std::map<std::string, std::string>;

template <typename Number>
void take(const Line& line, const char* key, Number& into) {
  const auto found = line.find(key);
  if (found == line.end()) return;
  const std::string& text = found->second;
  (void)std::from_chars(text.data(), text.data() + text.size(), into);
}

std::string time_text(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm local{};
  char text[32];
  if (::localtime_r(&time, &local) == nullptr) return std::to_string(seconds);
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local));
}

bool of_bytes(const Event& event) { return event.code.starts_with('B'); }

std::string amount(const Event& event, std::uint64_t value) {
  return of_bytes(event) ? cli::format_size(value) : std::to_string(value);
}

std::string meaning(const Event& event) {
  const std::string kind = event.code.substr(event.code.empty() ? 0 : 1);
  const std::string soft = "the soft limit of " + amount(event, event.soft);
  const std::string hard = "the hard limit of " + amount(event, event.hard);
  if (kind == "SOFTWARN") return "over " + soft + ", grace until " + time_text(event.timer);
  if (kind == "SOFTLONGWARN") return "over " + soft + " and grace is over: growth is refused";
  if (kind == "HARDWARN") return "at " + hard + ": growth is refused";
  if (kind == "SOFTBELOW") return "within " + soft + " again";
  if (kind == "HARDBELOW") return "below " + hard + " again";
  return event.code;
}

std::string project_text(const Event& event, const Projects& names) {
  return event.project ? names.name(*event.project) : kTotal;
}

}  // namespace

Event event_of(const Line& line) {
  Event event;
  take(line, "event", event.number);
  take(line, "time", event.time);
  take(line, "number", event.code_number);
  take(line, "used", event.used);
  take(line, "soft", event.soft);
  take(line, "hard", event.hard);
  take(line, "timer", event.timer);
  take(line, "lost", event.lost);
  if (const auto code = line.find("code"); code != line.end()) event.code = code->second;
  if (line.contains("project")) {
    std::uint32_t project = 0;
    take(line, "project", project);
    event.project = project;
  }
  return event;
}

std::string event_text(const Event& event, const Place& place, const Projects& names) {
  if (event.lost != 0)
    return place.point + ": " + std::to_string(event.lost) +
           " events were lost, since they were not read in time";
  return time_text(event.time) + " " + event.code + " " + place.point + " " +
         project_text(event, names) + ": " + amount(event, event.used) +
         (of_bytes(event) ? " used, " : " inodes used, ") + meaning(event);
}

Json event_json(const Event& event, const Place& place, const Projects& names) {
  if (event.lost != 0) return {{"mount", place.point}, {"lost", event.lost}};
  const bool named = event.project && names.has_name(*event.project);
  return {{"mount", place.point},
          {"device", place.device},
          {"event", event.number},
          {"time", event.time},
          {"code", event.code},
          {"number", event.code_number},
          {"project", event.project ? Json(*event.project) : Json()},
          {"name", named ? Json(names.name(*event.project)) : Json()},
          {"resource", of_bytes(event) ? "bytes" : "inodes"},
          {"used", event.used},
          {"soft", event.soft},
          {"hard", event.hard},
          {"timer", event.timer}};
}

std::vector<std::pair<std::string, std::string>> event_environment(const Event& event,
                                                                   const Place& place,
                                                                   const Projects& names) {
  return {{"TROOT_EVENT", event.code},
          {"TROOT_EVENT_CODE", std::to_string(event.code_number)},
          {"TROOT_EVENT_NUMBER", std::to_string(event.number)},
          {"TROOT_EVENT_TIME", std::to_string(event.time)},
          {"TROOT_MOUNT", place.point},
          {"TROOT_DEVICE", place.device},
          {"TROOT_PROJECT", event.project ? std::to_string(*event.project) : kTotal},
          {"TROOT_PROJECT_NAME", project_text(event, names)},
          {"TROOT_RESOURCE", of_bytes(event) ? "bytes" : "inodes"},
          {"TROOT_USED", std::to_string(event.used)},
          {"TROOT_SOFT", std::to_string(event.soft)},
          {"TROOT_HARD", std::to_string(event.hard)},
          {"TROOT_GRACE_END", std::to_string(event.timer)},
          {"TROOT_TEXT", event_text(event, place, names)}};
}

}  // namespace troot::quota_tools
