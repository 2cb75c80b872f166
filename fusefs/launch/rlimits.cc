// The limits of the server's process (see limits.h).
#include "fusefs/launch/rlimits.h"

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <string>

namespace troot::fusefs {
namespace {

/// What is open whatever is served: the standard ones, device, events, upper, work and what lies
/// in it, ledger, journal, control socket and its clients.
constexpr rlim_t kBase = 40;
/// Least for what requests have open while they are served.
constexpr rlim_t kLeastSpare = 20;
/// No file of the ledger becomes as large.
constexpr rlim_t kLedgerFile_bytes = rlim_t{16} << 20;
constexpr unsigned kMostWorkers = 512;
/// A request has at most so many descriptors open that are not in a cache.
constexpr rlim_t kPerWorker = 4;

/// As far as this process may. RLIM_INFINITY where it cannot be asked.
rlim_t raised(int which) {
  rlimit limit{};
  if (::getrlimit(which, &limit) != 0) return RLIM_INFINITY;
  if (limit.rlim_cur != limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(which, &limit);
  }
  return limit.rlim_max;
}

tl::unexpected<UsageError> too_low(std::string what, std::string cure) {
  return tl::unexpected(UsageError{std::move(what) + "; " + std::move(cure), kExitCannot});
}

}  // namespace

tl::expected<void, UsageError> fit_limits(MountOptions& o) {
  (void)::signal(SIGXFSZ, SIG_IGN);
  const rlim_t file_bytes = raised(RLIMIT_FSIZE);
  const bool ledger =
      !o.config.upper.empty() && o.config.quota && o.config.ledger == LedgerPlace::kDisk;
  if (ledger && file_bytes < kLedgerFile_bytes) {
    return too_low("the limit of a file's size (RLIMIT_FSIZE, ulimit -f) is " +
                       std::to_string(file_bytes) + " bytes, and the ledger's files need " +
                       std::to_string(kLedgerFile_bytes),
                   "raise it by: ulimit -f " + std::to_string(kLedgerFile_bytes / 1024) +
                       ", or mount with ledger=memory");
  }
  const rlim_t descriptors = raised(RLIMIT_NOFILE);
  const rlim_t base = kBase + o.config.lowers.size();
  if (descriptors < base + kLeastSpare) {
    return too_low("the limit of open files (RLIMIT_NOFILE, ulimit -n) is " +
                       std::to_string(descriptors) + ", and this mount needs " +
                       std::to_string(base + kLeastSpare),
                   "raise it by: ulimit -n 1024");
  }
  const rlim_t spare = descriptors - base;
  // Half for the caches, half for what is under way.
  o.config.cached_dirs = std::min<rlim_t>(o.config.cached_dirs, spare / 3);
  o.config.cached_files = std::min<rlim_t>(o.config.cached_files, spare / 6);
  const auto workers = static_cast<unsigned>(
      std::min<rlim_t>(kMostWorkers, std::max<rlim_t>(2, spare / (2 * kPerWorker))));
  if (workers < kMostWorkers) o.threads = o.threads == 0 ? workers : std::min(o.threads, workers);
  return {};
}

}  // namespace troot::fusefs
