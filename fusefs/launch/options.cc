// Reading the command line: which words there are and what each sets.
#include "fusefs/launch/options.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <utility>

#include "fusefs/launch/option_text.h"
#include "fusefs/launch/option_words.h"
#include "quota/amounts.h"

namespace troot::fusefs {
namespace {

using Parsed = tl::expected<void, UsageError>;
using Apply = Parsed (*)(MountOptions&, std::string_view value);

constexpr unsigned kMostThreads = 1024;

tl::unexpected<UsageError> wrong_value(std::string_view name, std::string_view value,
                                       std::string_view form) {
  return usage(std::string(name) + "=" + std::string(value) + ": " + std::string(form));
}

Parsed set_amount(std::optional<std::uint64_t>& into, std::string_view name, std::string_view value,
                  const tl::expected<std::uint64_t, quota::AmountError>& amount,
                  std::string_view form) {
  if (!amount) return wrong_value(name, value, quota::words_of(amount.error(), form));
  into = *amount;
  return {};
}

Parsed set_size(MountOptions& o, std::string_view value) {
  return set_amount(o.config.size_bytes, "size", value, quota::parse_bytes(value),
                    quota::kBytesForm);
}

Parsed set_inodes(MountOptions& o, std::string_view value) {
  o.config.derive_inodes = value == quota::kDerivedWord;
  if (o.config.derive_inodes) {
    o.config.inodes = 0;
    return {};
  }
  return set_amount(o.config.inodes, "inodes", value, quota::parse_count(value), quota::kCountForm);
}

Parsed set_number(std::uint32_t& into, std::string_view name, std::string_view value) {
  const auto number = parse_u32(value);
  if (!number) return wrong_value(name, value, "not a number");
  into = *number;
  return {};
}

std::vector<std::string> paths_of(std::string_view list) {
  std::vector<std::string> paths;
  for (const auto& part : split_escaped(list, ':', Quoting::kNone)) paths.push_back(unescape(part));
  return paths;
}

Parsed set_lowers(MountOptions& o, std::string_view value) {
  o.config.lowers = paths_of(value);
  if (o.config.lowers.size() <= kMostLowers) return {};
  return usage("lowerdir: " + std::to_string(o.config.lowers.size()) + " layers; at most " +
               std::to_string(kMostLowers) + " can be stacked");
}

Parsed set_sealed(MountOptions& o, std::string_view value) {
  const auto number = parse_u32(value);
  if (!number || *number > kMostLowers)
    return wrong_value("sealed", value, "write how many of the lowers are sealed layers");
  o.config.sealed = *number;
  return {};
}

Parsed set_charges(MountOptions& o, std::string_view value) {
  o.config.charges = paths_of(value);
  return {};
}

Parsed set_quota_errno(MountOptions& o, std::string_view value) {
  if (value != "enospc" && value != "edquot")
    return wrong_value("errno", value, "write enospc or edquot");
  o.config.quota_errno = value == "enospc" ? ENOSPC : EDQUOT;
  return {};
}

Parsed set_ownership(MountOptions& o, std::string_view value) {
  if (value != "native" && value != "presented") {
    return wrong_value("ownership", value, "write native or presented");
  }
  o.ownership = value == "native" ? Ownership::kNative : Ownership::kPresented;
  return {};
}

Parsed set_unreadable(MountOptions& o, std::string_view value) {
  if (value != "deny" && value != "empty")
    return wrong_value("unreadable", value, "write deny or empty");
  o.config.unreadable = value == "deny" ? Unreadable::kDeny : Unreadable::kEmpty;
  return {};
}

Parsed set_upper_owner(MountOptions& o, std::string_view value) {
  o.config.upper_owner = parse_owner(value);
  if (o.config.upper_owner) return {};
  return wrong_value("upper_owner", value, "write UID:GID, as in upper_owner=0:0");
}

Parsed set_threads(MountOptions& o, std::string_view value) {
  const auto number = parse_u32(value);
  if (!number || *number == 0 || *number > kMostThreads) {
    return wrong_value("threads", value,
                       "write a number from 1 to " + std::to_string(kMostThreads));
  }
  o.threads = *number;
  return {};
}

/// auto, on or off.
template <typename Choice>
Parsed choose(std::string_view option, std::string_view value, Choice& into) {
  if (value != "auto" && value != "on" && value != "off")
    return wrong_value(option, value, "write auto, on or off");
  into = value == "auto" ? Choice::kAuto : value == "on" ? Choice::kOn : Choice::kOff;
  return {};
}

Parsed set_fuse_socket(MountOptions& o, std::string_view value) {
  const auto number = parse_u32(value);
  if (!number || *number > 1u << 20) {
    return wrong_value("fuse_socket", value, "write the number of an inherited descriptor");
  }
  o.fuse_socket = static_cast<int>(*number);
  return {};
}

/// An option that takes a value, and what it does with it. The value comes without its escapes, but
/// for lists, whose escaped colons must be told from those that separate.
struct Valued {
  std::string_view name;
  Apply apply;
};
constexpr std::array kValued{
    Valued{"lowerdir", set_lowers},
    Valued{"sealed", set_sealed},
    Valued{"charges", set_charges},
    Valued{"upperdir",
           [](MountOptions& o, std::string_view v) -> Parsed {
             o.config.upper = v;
             return {};
           }},
    Valued{"workdir",
           [](MountOptions& o, std::string_view v) -> Parsed {
             o.config.work = v;
             return {};
           }},
    Valued{"size", set_size},
    Valued{"inodes", set_inodes},
    Valued{"errno", set_quota_errno},
    Valued{"ownership", set_ownership},
    Valued{"unreadable", set_unreadable},
    Valued{"upper_owner", set_upper_owner},
    Valued{"id_count",
           [](MountOptions& o, std::string_view v) {
             return set_number(o.config.id_count, "id_count", v);
           }},
    Valued{"hide",
           [](MountOptions& o, std::string_view v) -> Parsed {
             o.config.hide.emplace_back(v);
             return {};
           }},
    Valued{"control",
           [](MountOptions& o, std::string_view v) -> Parsed {
             o.control = v;
             return {};
           }},
    Valued{"log",
           [](MountOptions& o, std::string_view v) -> Parsed {
             o.log_file = v;
             return {};
           }},
    Valued{"fsname",
           [](MountOptions& o, std::string_view v) -> Parsed {
             o.fsname = v;
             return {};
           }},
    Valued{"subtype",
           [](MountOptions& o, std::string_view v) -> Parsed {
             o.subtype = v;
             return {};
           }},
    Valued{"fuse_socket", set_fuse_socket},
    Valued{"threads", set_threads},
    Valued{"io_uring",
           [](MountOptions& o, std::string_view v) { return choose("io_uring", v, o.io_uring); }},
    Valued{"follow",
           [](MountOptions& o, std::string_view v) { return choose("follow", v, o.follow); }},
};

/// An option that is one whole word, value included where only that value is acted on.
struct Word {
  std::string_view text;
  void (*apply)(MountOptions&);
};
constexpr std::array kWords{
    Word{"prjquota", [](MountOptions& o) { o.config.quota = true; }},
    Word{"pquota", [](MountOptions& o) { o.config.quota = true; }},
    Word{"pqnoenforce", [](MountOptions& o) { o.config.enforce = false; }},
    Word{"noquota", [](MountOptions& o) { o.config.quota = false; }},
    Word{"ledger=disk", [](MountOptions& o) { o.config.ledger = LedgerPlace::kDisk; }},
    Word{"ledger=memory", [](MountOptions& o) { o.config.ledger = LedgerPlace::kMemory; }},
    Word{"volatile", [](MountOptions& o) { o.config.volatile_upper = true; }},
    Word{"fsync=0", [](MountOptions& o) { o.config.volatile_upper = true; }},
    Word{"redirect_dir=on", [](MountOptions& o) { o.config.redirect_dir = RedirectDir::kOn; }},
    Word{"redirect_dir=off", [](MountOptions& o) { o.config.redirect_dir = RedirectDir::kFollow; }},
    Word{"redirect_dir=follow",
         [](MountOptions& o) { o.config.redirect_dir = RedirectDir::kFollow; }},
    Word{"redirect_dir=nofollow",
         [](MountOptions& o) { o.config.redirect_dir = RedirectDir::kNofollow; }},
    Word{"metacopy=on", [](MountOptions& o) { o.config.metacopy = true; }},
    Word{"metacopy=off", [](MountOptions& o) { o.config.metacopy = false; }},
    Word{"acl", [](MountOptions& o) { o.config.acl = true; }},
    Word{"noacl", [](MountOptions& o) { o.config.acl = false; }},
    Word{"userxattr", [](MountOptions& o) { o.user_xattr = true; }},
    Word{"xattr_permissions=2", [](MountOptions& o) { o.ownership = Ownership::kPresented; }},
    Word{"squash_to_root", [](MountOptions& o) { o.config.squash_to_root = true; }},
    Word{"threaded=0", [](MountOptions& o) { o.threads = 1; }},
    Word{"aufs_whiteouts", [](MountOptions& o) { o.config.aufs_whiteouts = true; }},
    Word{"override_stat", [](MountOptions& o) { o.config.override_stat = true; }},
    Word{"passthrough", [](MountOptions& o) { o.passthrough = true; }},
    Word{"debug", [](MountOptions& o) { o.debug = true; }},
    Word{"ro", [](MountOptions& o) { o.read_only = true; }},
    Word{"rw", [](MountOptions& o) { o.read_only = false; }},
    Word{"allow_other", [](MountOptions& o) { o.allow_other = true; }},
    Word{"allow_root", [](MountOptions& o) { o.allow_root = true; }},
};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

Parsed apply_option(MountOptions& o, std::string_view option) {
  const auto equals = option.find('=');
  const auto name = option.substr(0, equals);
  for (const auto& word : kWords) {
    if (word.text != option) continue;
    word.apply(o);
    return {};
  }
  for (const auto& valued : kValued) {
    if (valued.name != name) continue;
    if (equals == std::string_view::npos || equals + 1 == option.size()) {
      return usage(std::string(name) + ": needs a value, as in " + std::string(name) + "=…");
    }
    const auto value = option.substr(equals + 1);
    const bool list = name == "lowerdir" || name == "charges";
    return list ? valued.apply(o, value) : valued.apply(o, unescape(value));
  }
  if (contains(kMountFlags, option)) {
    // libfuse 3.17 knows no name for what is so without a word.
    if (option == "atime" || option == "async") {
      std::erase(o.mount_flags, option == "atime" ? "noatime" : "sync");
    } else {
      o.mount_flags.emplace_back(option);
    }
    // The kernel leaves access times to us.
    if (option == "atime" || option == "noatime") o.config.noatime = option == "noatime";
  } else if (contains(kAlreadySo, option) || name.starts_with("x-") || name == "comment") {
    // Nothing to do: see kAlreadySo.
  } else if (contains(kNotImplemented, name)) {
    o.not_implemented.emplace_back(name);
  } else {
    o.unknown.emplace_back(name);
  }
  return {};
}

Parsed apply_options(MountOptions& o, std::string_view list) {
  for (const auto& option : split_escaped(list, ',', Quoting::kQuotes)) {
    if (auto done = apply_option(o, option); !done) return done;
  }
  return {};
}

Parsed place_arguments(MountOptions& o, std::vector<std::string> arguments) {
  if (arguments.size() > 2) {
    return usage("too many arguments: " + arguments[2] +
                 "; usage: trootfs [-f] [-o OPTIONS] [SOURCE] MOUNTPOINT");
  }
  if (arguments.size() == 2) o.source = std::move(arguments[0]);
  if (!arguments.empty()) o.mountpoint = std::move(arguments.back());
  if (o.mountpoint.empty() && o.fuse_socket < 0) {
    return usage("no mount point given; usage: trootfs [-f] [-o OPTIONS] [SOURCE] MOUNTPOINT");
  }
  if (o.fsname.empty()) o.fsname = o.source.empty() ? "trootfs" : o.source;
  return {};
}

/// Checks that need no look at the file system.
Parsed check_combination(MountOptions& o) {
  if (o.config.lowers.empty()) return usage("no lowerdir given; write -o lowerdir=DIR[:DIR…]");
  if (o.config.upper.empty() != o.config.work.empty()) {
    return usage(o.config.upper.empty()
                     ? "workdir without upperdir; give both, or neither for a read-only mount"
                     : "upperdir without workdir; give workdir=DIR on the same file system");
  }
  if (o.config.upper.empty()) o.read_only = true;
  if (!o.config.quota &&
      (o.config.size_bytes.value_or(0) != 0 || o.config.inodes.value_or(0) != 0)) {
    return usage("noquota and a limit (size=, inodes=) exclude each other");
  }
  if (o.passthrough && o.config.quota) {
    return usage("passthrough needs noquota: what the kernel writes by itself cannot be accounted");
  }
  if (o.passthrough && o.read_only) {
    return usage("passthrough needs an upperdir that is written to: lowers are not passed through");
  }
  return {};
}

}  // namespace

tl::expected<MountOptions, UsageError> parse_command_line(std::span<const std::string> args) {
  MountOptions o;
  std::vector<std::string> arguments;
  bool only_arguments = false;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (only_arguments || arg.size() < 2 || arg[0] != '-') {
      arguments.push_back(arg);
    } else if (arg == "--") {
      only_arguments = true;
    } else if (arg == "--help" || arg == "-h") {
      o.action = MountOptions::Action::kHelp;
      return o;
    } else if (arg == "--version" || arg == "-V") {
      o.action = MountOptions::Action::kVersion;
      return o;
    } else if (arg == "-f") {
      o.foreground = true;
    } else if (arg == "-d") {
      o.foreground = o.debug = true;
    } else if (arg == "-r") {
      o.read_only = true;
    } else if (arg == "-n" || arg == "-s") {
      // mount(8) passes these: no mtab is written, and unknown options are tolerated, as always
      // here.
    } else if (arg.starts_with("-o") || arg == "-t") {
      const bool attached = arg.size() > 2;
      if (!attached && i + 1 == args.size()) return usage(arg + ": needs a value");
      const std::string value = attached ? arg.substr(2) : args[++i];
      if (arg == "-t") continue;  // mount(8) repeats the type by which it found us
      if (auto done = apply_options(o, value); !done) return tl::unexpected(done.error());
    } else {
      return usage(arg + ": no such option; see trootfs --help");
    }
  }
  if (auto done = place_arguments(o, std::move(arguments)); !done)
    return tl::unexpected(done.error());
  if (auto done = check_combination(o); !done) return tl::unexpected(done.error());
  return o;
}

std::string unused_note(const MountOptions& options) {
  std::string note;
  const auto add = [&note](const std::vector<std::string>& names, const char* why) {
    if (names.empty()) return;
    note += note.empty() ? "options not acted on:" : ";";
    for (const auto& name : names) note += " " + name;
    note += why;
  };
  add(options.not_implemented, " (not implemented)");
  add(options.unknown, " (unknown)");
  return note;
}

}  // namespace troot::fusefs
