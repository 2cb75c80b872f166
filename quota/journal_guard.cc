// The SIGBUS handler of quota/journal_guard.h. A signal handler may only look at what
// stands still: the slots are atomics, and a slot's other fields change only while it is free.
#include "quota/journal_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <cstdint>
#include <cstring>

#include "quota/base/mutex.h"

namespace troot::quota {
namespace {

struct Slot {
  std::atomic<std::uintptr_t> begin{0};  ///< 0: free
  std::size_t bytes = 0;
  char path[PATH_MAX] = {};
};
constexpr std::size_t kSlots = 8;  // a process has one mount; tests have a few
std::array<Slot, kSlots> g_slots;
struct sigaction g_before;

void on_bus_error(int signal, siginfo_t* info, void*) {
  const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (Slot& slot : g_slots) {
    const std::uintptr_t begin = slot.begin.load();
    if (begin == 0 || at < begin || at - begin >= slot.bytes) continue;
    void* const map = reinterpret_cast<void*>(begin);
    (void)::unlink(slot.path);
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    if (::mmap(map, slot.bytes, PROT_READ | PROT_WRITE, flags, -1, 0) == map) return;
  }
  // Not ours: as it would have been without us.
  (void)::sigaction(SIGBUS, &g_before, nullptr);
  if (info->si_code <= 0) (void)::raise(signal);  // sent by somebody; a fault comes again by itself
}

bool install() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  ::sigemptyset(&action.sa_mask);
  return ::sigaction(SIGBUS, &action, &g_before) == 0;
}

}  // namespace

bool guard_mapping(void* map, std::size_t bytes, const char* path) noexcept {
  static Mutex mutex;
  static const bool installed = install();
  const std::size_t length = std::strlen(path);
  if (!installed || length >= PATH_MAX) return false;
  MutexLock lock(mutex);
  for (Slot& slot : g_slots) {
    if (slot.begin.load() != 0) continue;
    slot.bytes = bytes;
    std::memcpy(slot.path, path, length + 1);
    slot.begin.store(reinterpret_cast<std::uintptr_t>(map));
    return true;
  }
  return false;
}

void unguard_mapping(const void* map) noexcept {
  for (Slot& slot : g_slots) {
    auto mine = reinterpret_cast<std::uintptr_t>(map);
    if (slot.begin.compare_exchange_strong(mine, 0)) return;
  }
}

}  // namespace troot::quota
