// How the parts of the server's threads are put together, begin and end.
#include "fusefs/serve/workers.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include "fusefs/serve/affinity.h"

namespace troot::fusefs {
namespace {

/// A bound for a server that is in deep trouble: so many requests may hang at once before everybody
/// waits. Not less than the kernel may have in the background (ops.cc).
constexpr unsigned kMostWorkers = 512;

void install_wake_signal() noexcept {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  (void)::sigaction(kWakeSignal, &action, nullptr);
}

Readers::Limits limits(const std::vector<unsigned>& cpus, unsigned most) noexcept {
  return {std::max(1u, static_cast<unsigned>(cpus.size())), most != 0 ? most : kMostWorkers};
}

/// One thread is left for /dev/fuse.
std::optional<unsigned> ring_threads(unsigned most) noexcept {
  return most != 0 ? std::optional(most - 1) : std::nullopt;
}

}  // namespace

Workers::Workers(fuse_session* session, Device& device, RequestCounts& counts, Wishes wishes,
                 std::function<void()> ended)
    : cpus_(usable_cpus()),
      serving_(session, counts, forgets_, bell_),
      readers_(limits(cpus_, wishes.most), bell_, aside_, std::move(ended)),
      seat_(device, readers_, wishes.follow, cpus_),
      rings_(device, ring_threads(wishes.most), kRequestBytes,
             [this](const RequestInfo& info, std::span<const std::byte> request, auto& progress) {
               serving_.serve(info, request, &progress);
             }),
      drain_({device, serving_, aside_, forgets_, readers_}),
      loop_({device, serving_, aside_, forgets_, readers_, seat_}),
      keeper_(readers_, seat_, rings_, bell_) {}

Status Workers::start() {
  install_wake_signal();
  try {
    drain_.reserve();
    keeper_.start();
  } catch (const std::system_error& e) {
    return fail(e.code().value());
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM);
  }
  return readers_.start([this](Worker& worker) { loop_.run(worker); });
}

void Workers::stop() noexcept {
  readers_.stop();
  seat_.stop();
  keeper_.stop();
  rings_.stop();
  readers_.join();
}

}  // namespace troot::fusefs
