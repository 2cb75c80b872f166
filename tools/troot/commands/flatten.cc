// `troot flatten`: an upper made plain, so that the kernel's overlayfs shows it to an
// ordinary user as trootfs does.
#include "fusefs/mount/flatten.h"

#include <cstdio>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "fusefs/overlay.h"
#include "tools/troot/commands/command.h"
#include "tools/troot/text/size.h"
#include "tools/troot/world/stopped.h"

namespace troot::cli {
namespace {

using fusefs::FlattenMode, fusefs::FlattenStep;
using What = FlattenStep::What;

struct FlattenWords {
  std::string name;
  std::vector<std::string> options;
  bool dry_run = false;
  bool json = false;
};

const char* to_text(What what) {
  switch (what) {
    case What::kCopy:
      return "copy";
    case What::kData:
      return "data";
    case What::kLink:
      return "link";
    case What::kOpaque:
      return "opaque";
    case What::kWhiteout:
      return "whiteout";
    case What::kUnneeded:
      return "unneeded";
    case What::kUnsaid:
      return "unsaid";
  }
  return "";
}

/// Tells each step as it is done, and sums them up.
class Report {
 public:
  explicit Report(const FlattenWords& words) : words_(words) {}

  void take(const FlattenStep& step) {
    if (step.what == What::kUnsaid) {
      ++unsaid_;
    } else {
      ++steps_;
      bytes_ += step.bytes;
    }
    if (words_.json) {
      json_.push_back({{"step", to_text(step.what)}, {"path", step.path}, {"bytes", step.bytes}});
      return;
    }
    if (step.what == What::kUnsaid) return;
    std::printf("%-9s %s\n", to_text(step.what), step.path.c_str());
    std::fflush(stdout);
  }

  void finish() const {
    if (words_.json) {
      const nlohmann::json all{{"dry_run", words_.dry_run},
                               {"steps", json_},
                               {"copied_bytes", bytes_},
                               {"changes", steps_},
                               {"unsaid", unsaid_}};
      // Names need not be UTF-8.
      std::printf("%s\n",
                  all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
      return;
    }
    const std::string size = format_size(static_cast<std::uint64_t>(bytes_));
    std::printf("%s%llu changes, %s of data\n", words_.dry_run ? "it would take " : "",
                static_cast<unsigned long long>(steps_), size.c_str());
    if (unsaid_ == 0) return;
    std::printf(
        "%llu objects have an owner, a kind or permissions that only trootfs shows (--json names "
        "them)\n",
        static_cast<unsigned long long>(unsaid_));
  }

 private:
  const FlattenWords& words_;
  nlohmann::json json_ = nlohmann::json::array();
  std::uint64_t steps_ = 0, unsaid_ = 0;
  std::int64_t bytes_ = 0;
};

/// What flattening can do something for.
Done check_space(const fusefs::Config& config) {
  if (config.xattr_space == fusefs::XattrSpace::kTrusted) {
    return usage(
        "flatten: this upper keeps trusted.overlay. xattrs, which the kernel's overlayfs reads as "
        "they are: mount it as root with redirect_dir=on,metacopy=on");
  }
  return {};
}

/// Why the work stopped, and what to do.
std::string cure(int error) {
  switch (error) {
    case EDQUOT:
      return "; the limit leaves no room for the copies: raise it (size=, or troot quota) and run "
             "this again";
    case ENOSPC:
      return "; there is no room for the copies: free some and run this again";
    case EPERM:
      return "; whiteouts cannot be made here (mknod c 0 0): run this outside of the container";
    default:
      return "; what was done is kept, run this again when that is mended";
  }
}

Outcome<int> flatten_upper(const fusefs::Config& config, const FlattenWords& words) {
  if (config.sealed != 0)
    return failure(config.upper +
                   " lies above layers of snapshots, which no kernel merges (troot export writes "
                   "all that a world shows)");
  auto overlay = fusefs::Overlay::open(config);
  if (!overlay) return failure(overlay.error().message);
  Report report(words);
  const auto mode = words.dry_run ? FlattenMode::kLook : FlattenMode::kDo;
  auto done = (*overlay)->flatten(mode, [&report](const FlattenStep& step) { report.take(step); });
  const auto closed = (*overlay)->close();
  if (!done)
    return failure(config.upper + done.error().path + ": " + std::strerror(done.error().error) +
                   cure(done.error().error));
  if (!closed) return failure_errno(config.upper, closed.error().value());
  report.finish();
  return 0;
}

Outcome<int> flatten_world(const FlattenWords& words) {
  TAKE(store, Store::of_user());
  // Of root's worlds too: then troot export can say them as a layer.
  if (words.name.find('@') != std::string::npos)
    return usage("flatten: a snapshot is never changed; give the name of a world");
  TAKE(stopped, take_stopped(store, words.name));
  return flatten_upper(stopped.config, words);
}

Outcome<int> flatten(const FlattenWords& words) {
  NEED(must_be_outside());
  if (words.name.empty() == words.options.empty())
    return usage("flatten: give either the name of a world, or -o with the options of the mount");
  if (!words.name.empty()) return flatten_world(words);
  TAKE(config, config_of(words.options));
  NEED(check_space(config));
  return flatten_upper(config, words);
}

}  // namespace

void add_flatten(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "flatten", "Prepare an upper for the kernel's overlayfs with userxattr, without a mount");
  command->footer(
      "Redirects are resolved and data that lies below is copied up; what trootfs shows stays the "
      "same.\nOwners of others, devices and special permissions stay known to trootfs alone.");
  auto words = std::make_shared<FlattenWords>();
  command->add_option("NAME", words->name, "A world that is stopped");
  command
      ->add_option("-o", words->options, "The layers of a mount that is unmounted, as of trootfs")
      ->type_name("OPTIONS")
      ->expected(1)
      ->take_all();
  command->add_flag("-n,--dry-run", words->dry_run, "Tell what would be done");
  command->add_flag("--json", words->json, "As JSON, amounts in bytes");
  command->callback([words, &typed] { typed.action = [words] { return flatten(*words); }; });
}

}  // namespace troot::cli
