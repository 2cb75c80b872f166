// The filter's rules.
#include "tools/troot/sandbox/seccomp.h"

#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <memory>

namespace troot::cli {
namespace {

using Filter = std::unique_ptr<void, decltype(&::seccomp_release)>;

// In an ABI that lacks one of these libseccomp leaves the rule out. setfsuid and setfsgid return
// the id before, which is 0 as well.
constexpr std::initializer_list<int> kFaked = {
    SCMP_SYS(chown),       SCMP_SYS(chown32),   SCMP_SYS(fchown),      SCMP_SYS(fchown32),
    SCMP_SYS(lchown),      SCMP_SYS(lchown32),  SCMP_SYS(fchownat),    SCMP_SYS(setuid),
    SCMP_SYS(setuid32),    SCMP_SYS(setgid),    SCMP_SYS(setgid32),    SCMP_SYS(setreuid),
    SCMP_SYS(setreuid32),  SCMP_SYS(setregid),  SCMP_SYS(setregid32),  SCMP_SYS(setresuid),
    SCMP_SYS(setresuid32), SCMP_SYS(setresgid), SCMP_SYS(setresgid32), SCMP_SYS(setfsuid),
    SCMP_SYS(setfsuid32),  SCMP_SYS(setfsgid),  SCMP_SYS(setfsgid32),  SCMP_SYS(setgroups),
    SCMP_SYS(setgroups32), SCMP_SYS(capset)};

/// The kernel looks at the lower half of the word alone.
int refuse_ioctl(scmp_filter_ctx filter, std::uint64_t request) {
  const scmp_arg_cmp same{1, SCMP_CMP_MASKED_EQ, 0xffffffff, request};
  return ::seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1, &same);
}

/// A cgroup namespace made inside belongs to the world's user namespace: the cgroup that the caller
/// is in could be mounted by it, writable, and with it all of the caller's processes in there be
/// ended. Without one no cgroup file system can be mounted. clone3(2) has its flags in memory,
/// where a filter cannot look: who uses it asks clone(2) when the kernel does not have it.
int refuse_cgroup_namespaces(scmp_filter_ctx filter) {
  constexpr std::uint64_t kFlag = CLONE_NEWCGROUP;
  const scmp_arg_cmp asked{0, SCMP_CMP_MASKED_EQ, kFlag, kFlag};
  for (const int call : {SCMP_SYS(unshare), SCMP_SYS(clone)}) {
    const int rc = ::seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), call, 1, &asked);
    if (rc != 0) return rc;
  }
  return ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

int add_other_abis(scmp_filter_ctx filter) {
  const auto add = [filter](std::uint32_t arch) {
    const int rc = ::seccomp_arch_add(filter, arch);
    return rc == -EEXIST ? 0 : rc;
  };
  switch (::seccomp_arch_native()) {
    case SCMP_ARCH_X86_64:
      if (const int rc = add(SCMP_ARCH_X86); rc != 0) return rc;
      return add(SCMP_ARCH_X32);
    case SCMP_ARCH_AARCH64:
      return add(SCMP_ARCH_ARM);
    default:
      return 0;
  }
}

int build_and_load(scmp_filter_ctx filter, IdMode ids) {
  if (const int rc = ::seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0); rc != 0) return rc;
  // A call of an ABI that the filter does not know runs as it would without a filter.
  if (const int rc = ::seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW); rc != 0) {
    return rc;
  }
  if (const int rc = add_other_abis(filter); rc != 0) return rc;
  for (const std::uint64_t request : {TIOCSTI, TIOCLINUX}) {
    if (const int rc = refuse_ioctl(filter, request); rc != 0) return rc;
  }
  if (ids != IdMode::kRoot) {
    if (const int rc = refuse_cgroup_namespaces(filter); rc != 0) return rc;
  }
  if (ids == IdMode::kOne) {
    for (const int call : kFaked) {
      if (const int rc = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(0), call, 0); rc != 0) return rc;
    }
  }
  return ::seccomp_load(filter);
}

}  // namespace

Done load_filter(IdMode ids) {
  const Filter filter(::seccomp_init(SCMP_ACT_ALLOW), &::seccomp_release);
  if (filter == nullptr) return failure("seccomp: out of memory");
  if (const int rc = build_and_load(filter.get(), ids); rc != 0) {
    return failure_errno("seccomp filter (the kernel needs CONFIG_SECCOMP_FILTER)", -rc);
  }
  return {};
}

}  // namespace troot::cli
