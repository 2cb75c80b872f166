// What it proves: whoever watches events gets each of them or hears how many are gone, and harms
// nobody by being slow, stopped or dead.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "fusefs/control/protocol.h"
#include "fusefs/control/socket.h"
#include "quota/quota.h"
#include "unit/control/control_fixture.h"

using namespace troot;
using namespace troot::fusefs;
using namespace std::chrono_literals;

namespace {

constexpr quota::ProjId kP{42};
constexpr std::int64_t kPage = 4096;

EventStream subscribe(const Served& served) {
  ControlReply reply;
  auto stream = EventStream::open(served.path, reply);
  REQUIRE(stream);
  REQUIRE(reply.error == 0);
  return std::move(*stream);
}

/// So many events: every second one BSOFTWARN, the others BSOFTBELOW.
void burst(const Served& served, int events) {
  quota::Quota& quota = *served.overlay->quota();
  REQUIRE(quota.set_limits(kP, {.bytes = {1, 0}, .inodes = {}}));
  for (int i = 0; i < events; i += 2) {
    auto held = quota.reserve(kP, {kPage, 0});
    REQUIRE(held);
    held->claim();
    quota.release(kP, {kPage, 0});
  }
}

struct Heard {
  std::uint64_t events = 0, lost = 0;
  std::map<std::string, std::string> last;
  bool ended = false;
};
/// Reads until so many were heard or lost, or the stream has ended.
Heard hear(EventStream& stream, std::uint64_t wanted) {
  Heard heard;
  while (heard.events + heard.lost < wanted && !heard.ended) {
    pollfd ready{stream.fd(), POLLIN, 0};
    REQUIRE(::poll(&ready, 1, 5000) == 1);
    const auto batch = stream.read();
    REQUIRE(batch);
    heard.ended = batch->ended;
    for (const auto& line : batch->lines) {
      if (const auto lost = line.find("lost"); lost != line.end()) {
        heard.lost += std::stoull(lost->second);
        continue;
      }
      ++heard.events;
      if (heard.last.contains("event"))
        CHECK(std::stoull(line.at("event")) > std::stoull(heard.last["event"]));
      heard.last = line;
    }
  }
  return heard;
}

}  // namespace

TEST_CASE("watch: an event's line") {
  Served served;
  auto stream = subscribe(served);
  burst(served, 2);
  const auto heard = hear(stream, 2);
  CHECK(heard.events == 2);
  const auto& grammar = kVerbs.at(static_cast<std::size_t>(Verb::kWatch));
  for (const auto& [key, value] : heard.last)
    CHECK(grammar.reply.find(key) != std::string_view::npos);
  CHECK(heard.last.at("code") == "BSOFTBELOW");
  CHECK(heard.last.at("number") == "10");
  CHECK(heard.last.at("project") == "42");
  CHECK(heard.last.at("used") == "0");
  CHECK(heard.last.at("soft") == "1");
  CHECK(heard.last.at("hard") == "0");
  CHECK(heard.last.at("timer") == "0");
}

TEST_CASE("watch: the total's events name no project") {
  Served served;
  auto stream = subscribe(served);
  CHECK(served.overlay->quota()->reserve(kP, {2 << 20, 0}).error() == EDQUOT);
  const auto heard = hear(stream, 1);
  CHECK(heard.last.at("code") == "BHARDWARN");
  CHECK_FALSE(heard.last.contains("project"));
}

TEST_CASE("watch: ten thousand events in a burst: each is heard, or said to be lost") {
  Served served;
  auto stream = subscribe(served);
  burst(served, 10000);
  const auto heard = hear(stream, 10000);
  CHECK(heard.events + heard.lost == 10000);
  CHECK(heard.events >= quota::EventRing::kCapacity);
  CHECK(heard.last.at("event") == "10000");
}

TEST_CASE("watch: one that never reads holds nobody up and is told what it missed") {
  Served served;
  auto stopped = subscribe(served);
  auto reader = subscribe(served);
  // The socket's buffer fills; then the ring goes round without it.
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 10; ++i) {
    burst(served, 2000);
    CHECK(served.ask("status").error == 0);
    const auto heard = hear(reader, 2000);
    CHECK(heard.events + heard.lost == 2000);
  }
  CHECK(std::chrono::steady_clock::now() - begun < 10s);
  const auto late = hear(stopped, 20000);
  CHECK(late.events + late.lost == 20000);
  CHECK(late.last.at("event") == "20000");
}

TEST_CASE("watch: subscribers that die are forgotten, and make room") {
  Served served;
  for (int round = 0; round < 20; ++round) {
    std::vector<EventStream> streams;
    for (int i = 0; i < 3; ++i) streams.push_back(subscribe(served));
    burst(served, 200);
  }
  burst(served, 2000);
  CHECK(served.ask("status").error == 0);
  auto stream = subscribe(served);
  burst(served, 2);
  CHECK(hear(stream, 2).events == 2);
}

TEST_CASE("watch: no more than sixteen, and the others are still answered") {
  Served served;
  std::vector<EventStream> streams;
  for (int i = 0; i < 16; ++i) streams.push_back(subscribe(served));
  ControlReply reply;
  const auto refused = EventStream::open(served.path, reply);
  REQUIRE(refused);
  CHECK(reply.error == EBUSY);
  for (int i = 0; i < 20; ++i) CHECK(served.ask("status").error == 0);
}

TEST_CASE("watch: a subscriber hears that the server ends") {
  Served served;
  auto stream = subscribe(served);
  burst(served, 2);
  served.server.reset();
  const auto heard = hear(stream, 3);  // of two
  CHECK(heard.events == 2);
  CHECK(heard.ended);
  CHECK(stream.read().error() == ECONNRESET);
  burst(served, 2);  // nobody is woken any more
}

TEST_CASE("watch: words that it does not know; a request after it ends the stream") {
  Served served;
  CHECK(served.ask("watch all").error == EINVAL);
  CHECK(served.raw("watch\nstatus\n", "never") == "ok\n");
  CHECK(served.ask("status").error == 0);
}

TEST_CASE("new-project gives out each id once") {
  Served served;
  CHECK(served.ask("new-project first=1000").value("project") == "1000");
  CHECK(served.ask("new-project first=1000").value("project") == "1001");
  CHECK(served.ask("new-project first=4294967294").value("project") == "4294967294");
  CHECK(served.ask("new-project first=4294967294").error == ENOSPC);
  for (const char* bad : {"new-project first=x", "new-project first=4294967296", "new-project 5"})
    CHECK(served.ask(bad).error == EINVAL);
}
