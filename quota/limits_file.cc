// The text of quota/limits_file.h.
#include "quota/limits_file.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <limits>
#include <map>
#include <sstream>
#include <string_view>

#include "quota/base/fd.h"
#include "quota/base/sync_directory.h"
#include "quota/crc32.h"
#include "quota/small_file.h"

namespace troot::quota {
namespace {

constexpr std::uint32_t kVersion = 2;
constexpr std::string_view kTitle = "troot-limits";

constexpr std::string_view kSum = " sum=";

/// With its checksum and its newline.
std::string sealed(const std::string& line) {
  return line + std::string(kSum) + crc32_text(line) + '\n';
}

enum class Seal { kNone, kRight, kWrong };

/// Takes the checksum off the line.
Seal unseal(std::string& line) {
  const auto at = line.rfind(kSum);
  if (at == std::string::npos) return Seal::kNone;
  std::string whole = std::move(line);
  line = whole.substr(0, at);
  return sealed(line) == whole + '\n' ? Seal::kRight : Seal::kWrong;
}

/// Absent: nothing was said of inodes without a limit of them.
std::string rule_text(InodeRule rule) {
  if (rule == InodeRule::kUnsaid) return "";
  return rule == InodeRule::kDerived ? " iderived=1" : " iderived=0";
}

std::string limits_text(const Limits& limits) {
  return "bsoft=" + std::to_string(limits.bytes.soft) +
         " bhard=" + std::to_string(limits.bytes.hard) +
         " isoft=" + std::to_string(limits.inodes.soft) +
         " ihard=" + std::to_string(limits.inodes.hard) + rule_text(limits.inode_rule);
}

std::string grace_text(const Grace& grace) {
  return "bgrace=" + std::to_string(grace.bytes_s) + " igrace=" + std::to_string(grace.inodes_s);
}

template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

/// The `key=value` words of a line. A word of another form, a key twice or unknown: none at all.
class Words {
 public:
  static std::optional<Words> parse(std::istream& in) {
    Words words;
    std::string word;
    while (in >> word) {
      const auto equals = word.find('=');
      if (equals == std::string::npos) return std::nullopt;
      const auto value = number<std::uint64_t>(std::string_view(word).substr(equals + 1));
      if (!value || !words.values_.emplace(word.substr(0, equals), *value).second) {
        return std::nullopt;
      }
    }
    return words;
  }
  std::optional<std::uint64_t> take(const char* key) {
    const auto it = values_.find(key);
    if (it == values_.end()) return std::nullopt;
    const std::uint64_t value = it->second;
    values_.erase(it);
    return value;
  }
  [[nodiscard]] bool empty() const { return values_.empty(); }

 private:
  std::map<std::string, std::uint64_t, std::less<>> values_;
};

/// Fills limits, grace and parent of `state`.
bool parse_state(std::istream& in, ProjectState& state) {
  auto words = Words::parse(in);
  if (!words) return false;
  Limits& limits = state.report.limits;
  limits.bytes = {words->take("bsoft").value_or(0), words->take("bhard").value_or(0)};
  limits.inodes = {words->take("isoft").value_or(0), words->take("ihard").value_or(0)};
  if (const auto derived = words->take("iderived")) {
    if (*derived > 1) return false;
    limits.inode_rule = *derived == 1 ? InodeRule::kDerived : InodeRule::kNone;
  }
  const auto bytes_s = words->take("bgrace");
  const auto inodes_s = words->take("igrace");
  constexpr std::uint64_t kLongest_s = std::numeric_limits<Seconds>::max();
  if (bytes_s.has_value() != inodes_s.has_value()) return false;
  if (bytes_s) {
    if (*bytes_s > kLongest_s || *inodes_s > kLongest_s) return false;
    state.grace = Grace{static_cast<Seconds>(*bytes_s), static_cast<Seconds>(*inodes_s)};
  }
  if (const auto parent = words->take("parent")) {
    if (*parent > std::numeric_limits<std::uint32_t>::max()) return false;
    state.parent = ProjId{static_cast<std::uint32_t>(*parent)};
  }
  return words->empty();
}

/// Of lines of the same project the last one counts.
using ById = std::map<std::uint32_t, ProjectState>;

bool parse_line(const std::string& line, Settings& settings, ById& projects) {
  std::istringstream in(line);
  std::string kind;
  if (!(in >> kind) || kind.front() == '#') return true;
  if (kind == "total") {
    ProjectState read;
    if (!parse_state(in, read)) return false;
    settings.total = read;
    settings.has_total = true;
    return true;
  }
  std::string text;
  if (kind != "project" || !(in >> text)) return false;
  const auto id = number<std::uint32_t>(text);
  ProjectState state;
  if (!id || !parse_state(in, state)) return false;
  state.report.id = ProjId{*id};
  projects[*id] = state;
  return true;
}

}  // namespace

std::string render_settings(const std::string& upper_uuid, const Settings& settings) {
  std::string text = sealed(std::string(kTitle) + ' ' + std::to_string(kVersion));
  text +=
      "# Limits in bytes and inodes (0: none), grace in seconds. Kept by the server; a later "
      "line\n";
  text +=
      "# with the same id rules. Read back only where the ledger is lost. A line that you write\n";
  text += "# needs no sum.\n";
  text += sealed("upper " + upper_uuid);
  text += render_total(settings.total);
  for (const ProjectState& state : settings.projects) {
    if (state.report.limits == Limits{} && !state.grace && !state.parent) continue;
    text += render_project(state);
  }
  return text;
}

std::string render_total(const ProjectState& total) {
  return sealed("total " + limits_text(total.report.limits) + ' ' +
                grace_text(total.grace.value_or(Grace{})));
}

std::string render_project(const ProjectState& state) {
  std::string text =
      "project " + std::to_string(to_u32(state.report.id)) + ' ' + limits_text(state.report.limits);
  if (state.grace) text += ' ' + grace_text(*state.grace);
  if (state.parent) text += " parent=" + std::to_string(to_u32(*state.parent));
  return sealed(text);
}

namespace {

/// Reads a dump line by line.
class DumpReader {
 public:
  DumpReader(const std::string& path, const std::string& upper_uuid)
      : path_(path), upper_uuid_(upper_uuid) {}

  Result<std::optional<Settings>> read(const std::string& text) {
    std::istringstream in(text);
    std::string line;
    std::getline(in, line);
    CHECK_OK(read_title(line));
    for (number_ = 2; std::getline(in, line); ++number_) {
      if (in.eof()) {
        spdlog::warn("{}:{}: not finished, left out: {}", path_, number_, line);
      } else {
        read_line(std::move(line));
      }
    }
    if (whose_ == Whose::kAnother) {
      spdlog::warn("{}: it is of another upper", path_);
      return std::optional<Settings>{};
    }
    // It lies where ours must be, and was damaged there.
    if (whose_ == Whose::kUnknown) damaged("no line names the upper");
    if (unsealed_ != 0 && version_ != 1)
      spdlog::warn("{}: {} lines without a sum, taken as a person wrote them", path_, unsealed_);
    for (const auto& [_, state] : projects_) settings_.projects.push_back(state);
    return std::optional<Settings>{std::move(settings_)};
  }

 private:
  enum class Whose { kUnknown, kOurs, kAnother };

  void damaged(const std::string& what) {
    spdlog::warn("{}:{}: cannot be read, left out: {}", path_, number_, what);
    settings_.damaged = true;
  }
  /// Only who can sum up its line has a version to be believed.
  Status read_title(std::string line) {
    const std::string whole = line;
    const Seal seal = unseal(line);
    if (seal == Seal::kNone && line == std::string(kTitle) + " 1") {
      version_ = 1;
      return {};
    }
    const auto space = line.find(' ');
    if (seal == Seal::kRight && line.substr(0, space) == kTitle) {
      version_ = number<std::uint32_t>(std::string_view(line).substr(space + 1)).value_or(0);
    }
    if (version_ > kVersion) return fail(EPROTONOSUPPORT);
    if (version_ == 0) damaged(whole);
    return {};
  }
  void read_line(std::string line) {
    const std::string whole = line;
    const Seal seal = unseal(line);
    if (seal == Seal::kWrong) return damaged(whole);
    if (line.starts_with("upper ")) {
      whose_ = line.substr(6) == upper_uuid_ ? Whose::kOurs : Whose::kAnother;
      return;
    }
    const bool nothing = line.empty() || line.front() == '#';
    if (nothing) return;
    if (!parse_line(line, settings_, projects_)) return damaged(whole);
    if (seal == Seal::kNone) ++unsealed_;
  }

  const std::string& path_;
  const std::string& upper_uuid_;
  Settings settings_;
  ById projects_;
  Whose whose_ = Whose::kUnknown;
  std::uint32_t version_ = 0;
  int number_ = 1;
  std::size_t unsealed_ = 0;
};

}  // namespace

Result<std::optional<Settings>> read_settings(const std::string& path,
                                              const std::string& upper_uuid) {
  TRY(text, read_file(path));
  if (!text) return std::optional<Settings>{};
  return DumpReader(path, upper_uuid).read(*text);
}

void set_damaged_aside(const std::string& path) {
  const std::string aside = path + ".damaged";
  if (::rename(path.c_str(), aside.c_str()) != 0) return;
  spdlog::warn("{}: damaged; kept as {}, and written anew with what is known", path, aside);
}

bool settings_are(const std::string& path, const std::string& text) {
  const auto found = read_file(path);
  return found && *found == text;
}

Status write_settings(const std::string& path, const std::string& text) {
  if (settings_are(path, text)) return {};
  const std::string tmp = path + ".tmp";
  (void)::unlink(tmp.c_str());
  Fd fd(::open(tmp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return fail_errno();
  Status status = write_all(fd.get(), text);
  if (status && ::fsync(fd.get()) != 0) status = fail_errno();
  fd.reset();
  if (status && ::rename(tmp.c_str(), path.c_str()) != 0) status = fail_errno();
  if (!status) {
    ::unlink(tmp.c_str());
    return status;
  }
  return sync_directory(path.substr(0, path.find_last_of('/')));
}

namespace {

/// The file, open for appending. ENOENT where nothing can be appended to it.
Result<Fd> open_whole(const std::string& path, const std::string& upper_uuid) {
  Fd fd(::open(path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return fail_errno();
  // The head is as render_settings() makes it; a person's own edition is written anew.
  const std::string head = render_settings(upper_uuid, {});
  const std::string wanted = head.substr(0, head.find("total "));
  std::string found(wanted.size(), '\0');
  struct stat st {};
  char last = 0;
  const bool whole =
      ::pread(fd.get(), found.data(), found.size(), 0) == static_cast<ssize_t>(found.size()) &&
      found == wanted && ::fstat(fd.get(), &st) == 0 &&
      ::pread(fd.get(), &last, 1, st.st_size - 1) == 1 && last == '\n';
  if (!whole) return fail(ENOENT);
  return fd;
}

}  // namespace

bool settings_are_whole(const std::string& path, const std::string& upper_uuid) {
  return open_whole(path, upper_uuid).has_value();
}

Status append_settings(const std::string& path, const std::string& upper_uuid,
                       const std::string& line) {
  TRY(fd, open_whole(path, upper_uuid));
  struct stat st {};
  Status status = ::fstat(fd.get(), &st) == 0 ? write_all(fd.get(), line) : fail_errno();
  if (status && ::fdatasync(fd.get()) != 0) status = fail_errno();
  // Nothing half-made stays on a full disk.
  if (!status && st.st_size > 0) (void)!::ftruncate(fd.get(), st.st_size);
  return status;
}

}  // namespace troot::quota
