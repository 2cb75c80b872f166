// The table of sysctls that refuse user namespaces.
#include "tools/troot/sandbox/knobs.h"

#include <fstream>

namespace troot::cli {
namespace {

struct Knob {
  const char* path;
  long long refuses;  // the value that does
  const char* cure;
};

constexpr Knob kKnobs[] = {
    {"/proc/sys/kernel/unprivileged_userns_clone", 0,
     "sudo sysctl kernel.unprivileged_userns_clone=1"},
    {"/proc/sys/user/max_user_namespaces", 0, "sudo sysctl user.max_user_namespaces=28633"},
    {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1,
     "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"}};

}  // namespace

std::string refusing_knob_cure() {
  for (const Knob& knob : kKnobs) {
    std::ifstream in(knob.path);
    if (long long value = 0; in >> value && value == knob.refuses) return knob.cure;
  }
  return "";
}

std::string refusing_knob() {
  const std::string cure = refusing_knob_cure();
  return cure.empty() ? "" : " (" + cure + ")";
}

}  // namespace troot::cli
