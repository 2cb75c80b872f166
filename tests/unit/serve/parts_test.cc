// The small parts between the threads that serve: the keeper's sleep, requests that were left
// aside, and waiting for FORGETs.
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <thread>

#include "fusefs/serve/aside.h"
#include "fusefs/serve/forgets.h"
#include "fusefs/serve/keeper_bell.h"
#include "unit/catch.h"

using namespace troot::fusefs;
using namespace std::chrono_literals;

TEST_CASE("a keeper for whom something moved does not sleep", "[serve]") {
  KeeperBell bell;
  int asked = 0;
  bell.sleep_unless([&] { return ++asked == 1; });
  CHECK(asked == 1);
}

TEST_CASE("a bell that rings while the keeper looks once more is not lost", "[serve]") {
  KeeperBell bell;
  bell.ring_if_asleep();  // nobody sleeps
  bell.sleep_unless([&] {
    bell.ring_if_asleep();
    return false;
  });
}

TEST_CASE("the keeper's last look may take a lock under which others ring", "[serve]") {
  KeeperBell bell;
  std::mutex roles;
  std::atomic<bool> looks{false}, held{false}, woken{false};
  std::thread reader([&] {
    while (!looks) std::this_thread::yield();
    const std::lock_guard lock(roles);
    held = true;
    bell.ring();
  });
  bell.sleep_unless([&] {
    looks = true;
    while (!held) std::this_thread::yield();
    const std::lock_guard lock(roles);
    return false;
  });
  woken = true;
  reader.join();
  CHECK(woken);
}

TEST_CASE("requests left aside are taken oldest first, and some are left in the device",
          "[serve]") {
  AsideQueue queue;
  queue.reserve();
  Aside one;
  CHECK_FALSE(queue.take(one));
  std::array<std::byte, 3> request{};
  int put = 0;
  for (; !queue.full(); ++put) {
    request[0] = static_cast<std::byte>(put);
    REQUIRE(queue.put(request, put));
  }
  CHECK(put == 64);
  CHECK_FALSE(queue.empty());
  for (int i = 0; i < put; ++i) {
    REQUIRE(queue.take(one));
    CHECK(one.fd == i);
    CHECK(one.size == request.size());
    CHECK(one.bytes[0] == static_cast<std::byte>(i));
  }
  CHECK(queue.empty());
  CHECK_FALSE(queue.take(one));
}

TEST_CASE("who waits for FORGETs waits while they run", "[serve]") {
  Forgets forgets;
  std::atomic<bool> ended{false};
  forgets.begin();
  std::thread server([&] {
    std::this_thread::sleep_for(20ms);
    forgets.count_request();
    ended = true;
    forgets.end();
  });
  forgets.await_hurried([&] { return forgets.some_run(); });
  CHECK(ended);
  server.join();
  CHECK(forgets.requests() == 1);
}
