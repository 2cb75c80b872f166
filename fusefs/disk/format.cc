// Implements format.h.
#include "fusefs/disk/format.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <climits>
#include <cstdio>

namespace troot::fusefs {
namespace {

/// Takes a number off the front of `text`; the next character must be `end` (0: nothing may
/// follow).
template <typename T>
std::optional<T> take(std::string_view& text, char end, int base = 10) {
  T value{};
  const auto [p, ec] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (ec != std::errc() || p == text.data()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(p - text.data()));
  if (end == '\0') return text.empty() ? std::optional<T>(value) : std::nullopt;
  if (text.empty() || text.front() != end) return std::nullopt;
  text.remove_prefix(1);
  return value;
}

struct TypeName {
  mode_t type;
  const char* name;
};
constexpr TypeName kTypes[] = {{S_IFDIR, "dir"},  {S_IFREG, "file"},    {S_IFLNK, "symlink"},
                               {S_IFIFO, "pipe"}, {S_IFSOCK, "socket"}, {S_IFBLK, "block"},
                               {S_IFCHR, "char"}};

}  // namespace

XattrNames::XattrNames(XattrSpace space)
    : prefix(space == XattrSpace::kTrusted ? "trusted.overlay." : "user.overlay."),
      opaque(prefix + "opaque"),
      redirect(prefix + "redirect"),
      metacopy(prefix + "metacopy"),
      whiteout(prefix + "whiteout"),
      project(prefix + "troot.project"),
      alloc(prefix + "troot.alloc"),
      origin(prefix + "troot.origin"),
      index(prefix + "troot.index"),
      nlink(prefix + "nlink"),
      work(prefix + "troot.work"),
      uuid(prefix + "troot.uuid"),
      layer(prefix + "troot.layer"),
      above(prefix + "troot.above"),
      access_acl(prefix + "troot.x.system.posix_acl_access"),
      default_acl(prefix + "troot.x.system.posix_acl_default"),
      stash(prefix + "troot.x.") {}

std::string encode_override(const Override& o) {
  char text[96];
  int n = std::snprintf(text, sizeof text, "%u:%u:%04o", o.uid, o.gid, o.mode & 07777U);
  std::string out(text, static_cast<std::size_t>(n));
  if (!o.has_type) return out;
  for (const TypeName& t : kTypes) {
    if ((o.mode & S_IFMT) != t.type) continue;
    out += ':';
    out += t.name;
    if (t.type == S_IFBLK || t.type == S_IFCHR) {
      n = std::snprintf(text, sizeof text, "-%u-%u", major(o.rdev), minor(o.rdev));
      out.append(text, static_cast<std::size_t>(n));
    }
  }
  return out;
}

std::optional<Override> parse_override(std::string_view text) {
  // Other writers end the value with a NUL or a newline.
  while (!text.empty() && (text.back() == '\0' || text.back() == '\n')) text.remove_suffix(1);
  Override o;
  const auto uid = take<uid_t>(text, ':');
  if (!uid) return std::nullopt;
  const auto gid = take<gid_t>(text, ':');
  if (!gid) return std::nullopt;
  // -1 is no id: no stat(2) could answer it.
  if (*uid == UINT32_MAX || *gid == UINT32_MAX) return std::nullopt;
  o.uid = *uid;
  o.gid = *gid;
  const std::size_t colon = text.find(':');
  std::string_view octal = text.substr(0, colon);
  const auto mode = take<mode_t>(octal, '\0', 8);
  if (!mode) return std::nullopt;
  o.mode = *mode & 07777;
  if (colon == std::string_view::npos) return o;
  text.remove_prefix(colon + 1);
  for (const TypeName& t : kTypes) {
    const std::string_view name(t.name);
    if (!text.starts_with(name)) continue;
    std::string_view rest = text.substr(name.size());
    if (t.type == S_IFBLK || t.type == S_IFCHR) {
      if (rest.empty() || rest.front() != '-') return std::nullopt;
      rest.remove_prefix(1);
      const auto maj = take<unsigned>(rest, '-');
      if (!maj) return std::nullopt;
      const auto min = take<unsigned>(rest, '\0');
      if (!min) return std::nullopt;
      o.rdev = makedev(*maj, *min);
    } else if (!rest.empty()) {
      return std::nullopt;
    }
    o.mode |= t.type;
    o.has_type = true;
    return o;
  }
  return std::nullopt;
}

std::string encode_project(const ProjectAttr& p) {
  return std::to_string(quota::to_u32(p.project)) + (p.inherit ? " P" : "");
}

std::optional<ProjectAttr> parse_project(std::string_view text) {
  ProjectAttr p;
  if (text.ends_with(" P")) {
    p.inherit = true;
    text.remove_suffix(2);
  }
  const auto id = take<std::uint32_t>(text, '\0');
  if (!id) return std::nullopt;
  p.project = quota::ProjId{*id};
  return p;
}

std::string encode_alloc(const AllocRecord& record) {
  std::string out = "1";  // the version; never empty, since some file systems drop empty values
  const auto add = [&out](const std::vector<PageRange>& ranges, const char* mark) {
    char text[48];
    for (const PageRange& r : ranges) {
      const int n = std::snprintf(text, sizeof text, " %s%llx+%llx", mark,
                                  static_cast<unsigned long long>(r.first),
                                  static_cast<unsigned long long>(r.count));
      out.append(text, static_cast<std::size_t>(n));
    }
  };
  add(record.ranges, "");
  add(record.maybe, "!");
  return out;
}

namespace {

/// No file reaches as far (8 PiB), and a thousand of them can be summed up.
constexpr std::int64_t kMostPages = std::int64_t{1} << 41;

/// Adds the range in `one` behind the others.
bool take_range(std::string_view one, std::vector<PageRange>& ranges) {
  const auto first = take<std::int64_t>(one, '+', 16);
  if (!first) return false;
  const auto count = take<std::int64_t>(one, '\0', 16);
  const std::int64_t last = ranges.empty() ? 0 : ranges.back().end();
  if (!count || *first < last || *count <= 0 || *first > kMostPages ||
      *count > kMostPages - *first || ranges.size() >= kMaxRanges) {
    return false;
  }
  ranges.push_back({*first, *count});
  return true;
}

}  // namespace

std::optional<AllocRecord> parse_alloc(std::string_view text) {
  if (!text.starts_with('1')) return std::nullopt;
  text.remove_prefix(1);
  AllocRecord record;
  while (!text.empty()) {
    if (text.front() != ' ') return std::nullopt;
    text.remove_prefix(1);
    const bool maybe = text.starts_with('!');
    if (maybe) text.remove_prefix(1);
    if (!maybe && !record.maybe.empty()) return std::nullopt;
    const std::string_view one = text.substr(0, text.find(' '));
    text.remove_prefix(one.size());
    if (!take_range(one, maybe ? record.maybe : record.ranges)) return std::nullopt;
  }
  return record;
}

std::optional<Redirect> parse_redirect(std::string_view text, std::size_t longest) {
  if (text.empty() || text.size() > longest || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  Redirect r;
  r.absolute = text.front() == '/';
  if (r.absolute) text.remove_prefix(1);
  r.path = text;
  while (true) {
    const std::size_t slash = text.find('/');
    const std::string_view part = text.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.size() > NAME_MAX) return std::nullopt;
    if (slash == std::string_view::npos) return r;
    if (!r.absolute) return std::nullopt;
    text.remove_prefix(slash + 1);
  }
}

std::string encode_u64(std::uint64_t value) {
  char text[24];
  const int n = std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(value));
  return std::string(text, static_cast<std::size_t>(n));
}

std::optional<std::uint64_t> parse_u64(std::string_view hex) {
  return take<std::uint64_t>(hex, '\0', 16);
}

std::string encode_index(const IndexRecord& r) {
  return r.name + (r.relative ? " U" : " =") + std::to_string(r.nlink);
}

std::optional<IndexRecord> parse_index(std::string_view text) {
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos || space == 0 || space > NAME_MAX) return std::nullopt;
  IndexRecord r;
  r.name = text.substr(0, space);
  constexpr std::string_view kNever("/\0", 2);
  if (r.name.find_first_of(kNever) != std::string::npos || r.name == "." || r.name == "..")
    return std::nullopt;
  text.remove_prefix(space + 1);
  if (!text.starts_with('=') && !text.starts_with('U')) return std::nullopt;
  r.relative = text.front() == 'U';
  text.remove_prefix(1);
  const auto nlink = take<std::int64_t>(text, '\0');
  if (!nlink || *nlink < -INT32_MAX || *nlink > INT32_MAX) return std::nullopt;
  r.nlink = *nlink;
  return r;
}

std::optional<KernelNlink> parse_kernel_nlink(std::string_view text) {
  if (text.size() < 3 || (text[0] != 'U' && text[0] != 'L')) return std::nullopt;
  KernelNlink n;
  n.of_upper = text[0] == 'U';
  text.remove_prefix(text[1] == '+' ? 2 : 1);
  const auto more = take<std::int64_t>(text, '\0');
  if (!more || *more < -INT32_MAX || *more > INT32_MAX) return std::nullopt;
  n.more = *more;
  return n;
}

std::optional<KernelHandle> parse_kernel_handle(std::string_view hex) {
  // version, magic, length, flags, type, the file system's UUID; then the handle itself.
  constexpr std::size_t kHead = 5 + 16, kMost = 128;
  constexpr char kVersion = 0, kMagic = '\xfb';
  if (hex.size() % 2 != 0 || hex.size() / 2 <= kHead || hex.size() / 2 > kHead + kMost)
    return std::nullopt;
  std::string raw;
  for (; !hex.empty(); hex.remove_prefix(2)) {
    std::string_view pair = hex.substr(0, 2);
    const auto byte = take<unsigned char>(pair, '\0', 16);
    if (!byte) return std::nullopt;
    raw += static_cast<char>(*byte);
  }
  if (raw[0] != kVersion || raw[1] != kMagic || static_cast<unsigned char>(raw[2]) != raw.size())
    return std::nullopt;
  return KernelHandle{static_cast<unsigned char>(raw[4]), raw.substr(kHead)};
}

std::string encode_link(const LinkRecord& r) {
  std::string out = "troot-link 1\n";
  if (r.has_owner) out += "stat " + encode_override(r.owner) + "\n";
  if (r.project) out += "project " + encode_project(*r.project) + "\n";
  if (r.origin) out += "origin " + encode_u64(*r.origin) + "\n";
  return out;
}

std::optional<LinkRecord> parse_link(std::string_view text) {
  constexpr std::string_view kHead = "troot-link 1\n";
  if (!text.starts_with(kHead)) return std::nullopt;
  text.remove_prefix(kHead.size());
  LinkRecord r;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line.starts_with("stat ")) {
      const auto o = parse_override(line.substr(5));
      if (!o) return std::nullopt;
      r.owner = *o;
      r.has_owner = true;
    } else if (line.starts_with("project ")) {
      r.project = parse_project(line.substr(8));
      if (!r.project) return std::nullopt;
    } else if (line.starts_with("origin ")) {
      r.origin = parse_u64(line.substr(7));
      if (!r.origin) return std::nullopt;
    } else {
      return std::nullopt;
    }
  }
  return r;
}

}  // namespace troot::fusefs
