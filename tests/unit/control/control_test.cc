// What it proves: the control socket answers its words, outlives clients that misbehave, and ends
// at once.
#include <linux/fuse.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <set>
#include <thread>

#include "fusefs/control/protocol.h"
#include "fusefs/control/server.h"
#include "fusefs/control/socket.h"
#include "fusefs/control/verbs.h"
#include "unit/control/control_fixture.h"

using namespace troot;
using namespace troot::fusefs;

TEST_CASE("status tells the limits and the server") {
  const Served served;
  const auto reply = served.ask("status");
  CHECK(reply.error == 0);
  CHECK(reply.value("limit_bytes") == "1048576");
  CHECK(reply.value("used_inodes") != "");
  CHECK(reply.value("pid") == std::to_string(::getpid()));
  CHECK(reply.value("upper") == served.top + "/u");
  CHECK(reply.value("enforcing") == "on");
  CHECK(reply.value("nonsense") == "");
}

TEST_CASE("requests are counted by kind") {
  Served served;
  CHECK(served.ask("requests").lines.empty());
  served.requests.count(FUSE_LOOKUP);
  std::thread([&] { served.requests.count(FUSE_LOOKUP); }).join();
  served.requests.count(63);
  served.requests.count(4096);
  const auto reply = served.ask("requests");
  CHECK(reply.value("lookup") == "2");
  CHECK(reply.value("opcode-63") == "2");
  CHECK(reply.value("write") == "");
}

TEST_CASE("limits change live, those not named stay") {
  const Served served;
  CHECK(served.ask("limit bhard=2097152 ihard=10").error == 0);
  CHECK(served.ask("limit bsoft=4096").error == 0);
  const auto total = served.ask("status");
  CHECK(total.value("limit_bytes") == "2097152");
  CHECK(total.value("soft_bytes") == "4096");
  CHECK(total.value("limit_inodes") == "10");
  CHECK(served.ask("limit project=42 bhard=8192").error == 0);
  const auto report = served.ask("report");
  bool found = false;
  for (const auto& line : report.lines) {
    if (line.at("project") != "42") continue;
    found = true;
    CHECK(line.at("bhard") == "8192");
    CHECK(line.at("used_bytes") == "0");
  }
  CHECK(found);
}

TEST_CASE("inodes: derived from bytes for the total; for a project where it is asked") {
  const Served served;
  const auto total = [&] {
    const auto status = served.ask("status");
    return status.value("limit_inodes") + (status.value("limit_inodes_derived") == "1" ? "*" : "");
  };
  const auto project = [&] {
    const auto line = served.ask("report project=42").lines.at(0);
    return line.at("ihard") + (line.at("ihard_derived") == "1" ? "*" : "");
  };
  CHECK(total() == "1000*");
  CHECK(served.ask("limit bhard=8388608").error == 0);
  CHECK(total() == "2048*");
  CHECK(served.ask("limit ihard=5").error == 0);
  CHECK(total() == "5");
  CHECK(served.ask("limit ihard=0").error == 0);
  CHECK(total() == "0");
  CHECK(served.ask("limit inodes=derived").error == 0);
  CHECK(total() == "2048*");
  CHECK(served.ask("limit project=42 bhard=8388608 ihard=0").error == 0);
  CHECK(project() == "0");
  CHECK(served.ask("limit project=42 bhard=16777216 inodes=default").error == 0);
  CHECK(project() == "4096*");
  CHECK(served.ask("limit project=42 inodes=none").error == 0);
  CHECK(served.ask("limit project=42 bhard=8388608 inodes=default").error == 0);
  CHECK(project() == "0");
  CHECK(served.ask("limit project=42 inodes=many").error == EINVAL);
}

TEST_CASE("enforcement is switched, sync and quit are obeyed") {
  const Served served;
  CHECK(served.ask("enforce off").error == 0);
  CHECK(served.ask("status").value("enforcing") == "off");
  CHECK(served.ask("enforce on").error == 0);
  CHECK(served.ask("sync").error == 0);
  CHECK(served.quits == 0);
  CHECK(served.ask("quit").error == 0);
  for (int i = 0; i < 100 && served.quits == 0; ++i) ::usleep(10000);
  CHECK(served.quits == 1);
}

TEST_CASE("wrong requests get an error that names them") {
  const Served served;
  for (const char* wrong :
       {"", "frob", "status x", "limit bhard=12Q", "limit bhard=-1", "limit size=1",
        "limit project=x bhard=1", "limit bhard=1 bhard=2", "enforce", "enforce maybe",
        "enforce on off", "limit bhard=9223372036854775808", "quit now"}) {
    const auto reply = served.ask(wrong);
    INFO(wrong);
    CHECK(reply.error == EINVAL);
    CHECK(reply.text != "");
  }
  CHECK(served.ask("limit bhard=12Q").text.find("bhard=12Q") != std::string::npos);
  CHECK(served.ask("limit project=0 bhard=4096").error == EINVAL);
  CHECK(served.ask("status").value("limit_bytes") == "1048576");
}

TEST_CASE("bad clients harm nobody") {
  const Served served;
  CHECK(served.raw(std::string(100000, 'x'), "\n\n").starts_with("error "));
  CHECK(served.raw(std::string("\0\xff\x80 \x01=\n", 7), "\n\n").starts_with("error "));
  const auto silent = connect_socket(served.path);
  const auto half = connect_socket(served.path);
  REQUIRE(silent);
  REQUIRE(half);
  CHECK(::send(*half, "stat", 4, MSG_NOSIGNAL) == 4);
  CHECK(served.ask("status").error == 0);
  CHECK(::send(*half, "us\n", 3, MSG_NOSIGNAL) == 3);
  char first[2]{};
  CHECK(::recv(*half, first, 2, MSG_WAITALL) == 2);
  CHECK(std::string(first, 2) == "ok");
  ::close(*half);  // without having read the rest
  CHECK(served.ask("status").error == 0);
  ::close(*silent);
}

TEST_CASE("several requests go through one connection") {
  const Served served;
  const std::string got = served.raw("status\nfrob\nsync\n", "ok\n\n");
  CHECK(got.starts_with("ok\n"));
  CHECK(got.find("\n\nerror 22 ") != std::string::npos);
}

TEST_CASE("many clients at once are all answered") {
  const Served served;
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 40; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 5; ++n) {
        if (const auto reply = control_request(served.path, "status"); reply && reply->error == 0)
          ++answered;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(answered == 200);
}

TEST_CASE("the socket is private, may lie deep, replaces a stale one and goes away") {
  std::string path;
  {
    const Served served(std::string(120, 'd') + "/control");
    path = served.path;
    struct stat st {};
    REQUIRE(::stat(path.c_str(), &st) == 0);
    CHECK((st.st_mode & 07777) == 0600);
    CHECK(served.ask("status").error == 0);
    const auto second = ControlServer::start(path, {*served.overlay, served.requests}, [] {});
    REQUIRE_FALSE(second);
    CHECK(second.error() == EADDRINUSE);
  }
  CHECK(::access(path.c_str(), F_OK) != 0);
  const auto nobody = control_request(path, "status");
  REQUIRE_FALSE(nobody);
  CHECK(nobody.error() == ENOENT);
}

TEST_CASE("values survive their escapes") {
  for (const std::string value :
       {"", "plain", "with blank", "new\nline\ttab", "back\\slash\\040", "\x7f\x01\xc3\xa9"}) {
    CHECK(unescape_value(escape_value(value)) == value);
    CHECK(escape_value(value).find_first_of(" \n\t") == std::string::npos);
  }
}

TEST_CASE("the verbs of quota: grace, timers, parents, peaks, the ledger's check") {
  const Served served;
  CHECK(served.ask("grace bytes=60").error == 0);
  CHECK(served.ask("grace project=7 inodes=5").error == 0);
  CHECK(served.ask("state").value("bgrace") == "60");
  CHECK(served.ask("state").value("enforcing") == "on");
  const auto row = served.ask("report project=7");
  CHECK(row.value("bgrace") == "60");
  CHECK(row.value("igrace") == "5");
  CHECK(served.ask("parent project=7 parent=6").error == 0);
  CHECK(served.ask("report project=7").value("parent") == "6");
  CHECK(served.ask("parent project=6 parent=7").error == ELOOP);
  CHECK(served.ask("parent project=7 none").error == 0);
  CHECK(served.ask("report project=7").value("parent").empty());
  CHECK(served.ask("timer project=7 bytes=5").error == 0);
  CHECK(served.ask("reset-peak project=7").error == 0);
  CHECK(served.ask("check").value("differences") == "0");
  for (const char* bad : {"grace bytes=x", "grace project=-1", "timer bytes=1", "parent project=7",
                          "reset-peak", "limit project=0 bhard=1", "check now", "state all",
                          "report project=x", "timer project=7 hours=1"}) {
    INFO(bad);
    CHECK(served.ask(bad).error == EINVAL);
  }
}

namespace {

/// kAlways: without those that may be absent.
enum class Keys { kAll, kAlways };
/// The keys that the table's `reply` names.
std::set<std::string> keys_of(std::string_view reply, Keys wanted) {
  std::set<std::string> keys;
  std::string key;
  int optional = 0;
  for (const char c : std::string(reply) + " ") {
    if (std::isalpha(static_cast<unsigned char>(c)) || c == '_') {
      key += c;
      continue;
    }
    if (!key.empty() && (wanted == Keys::kAll || optional == 0)) keys.insert(key);
    key.clear();
    optional += c == '[' || c == '{' ? 1 : c == ']' || c == '}' ? -1 : 0;
  }
  return keys;
}

}  // namespace

TEST_CASE("each request of the grammar is answered as the grammar says") {
  const Served served;
  CHECK(served.ask("limit project=7 bhard=4096").error == 0);
  CHECK(served.ask("parent project=8 parent=7").error == 0);
  std::filesystem::create_directory(served.top + "/s");
  const std::map<Verb, std::string> samples{{Verb::kStatus, "status"},
                                            {Verb::kReport, "report"},
                                            {Verb::kState, "state"},
                                            {Verb::kLimit, "limit project=7 isoft=5"},
                                            {Verb::kGrace, "grace bytes=60 inodes=60"},
                                            {Verb::kTimer, "timer project=7 inodes=9"},
                                            {Verb::kParent, "parent project=8 none"},
                                            {Verb::kResetPeak, "reset-peak project=7"},
                                            {Verb::kCheck, "check"},
                                            {Verb::kCheckObjects, "check objects"},
                                            {Verb::kNewProject, "new-project first=100"},
                                            {Verb::kEnforce, "enforce on"},
                                            {Verb::kRefresh, "refresh"},
                                            {Verb::kSnapshot, "snapshot dir=" + served.top + "/s"},
                                            {Verb::kSync, "sync"},
                                            {Verb::kRequests, "requests"},
                                            {Verb::kQuit, "quit"}};
  for (const VerbGrammar& grammar : kVerbs) {
    if (grammar.verb == Verb::kWatch) continue;  // control_watch.cc
    const auto sample = samples.find(grammar.verb);
    REQUIRE(sample != samples.end());
    INFO(sample->second);
    CHECK(grammar_of(words_of(sample->second)) == &grammar);
    const auto reply = served.ask(sample->second);
    CHECK(reply.error == 0);
    std::set<std::string> seen;
    for (const auto& line : reply.lines) {
      for (const auto& [key, value] : line) seen.insert(key);
    }
    const auto all = keys_of(grammar.reply, Keys::kAll);
    const auto always = keys_of(grammar.reply, Keys::kAlways);
    CHECK(std::ranges::includes(all, seen));
    CHECK(std::ranges::includes(seen, always));
    CHECK(served.ask(sample->second + " sauce=1").error == EINVAL);
  }
}

TEST_CASE("what is meant by a request is found in the grammar") {
  for (const char* known :
       {"check", " check ", "check repair", "parent project=1 none", "enforce off", "refresh",
        "limit inodes=none bhard=1", "new-project", "report project=1"}) {
    INFO(known);
    CHECK(grammar_of(words_of(known)) != nullptr);
  }
  for (const char* unknown :
       {"", " ", "chec", "checks", "check now", "check repair=1", "limit none", "limit inodes",
        "enforce on=1", "parent project=1 ID", "quit =", "status [", "enforce |"}) {
    INFO(unknown);
    CHECK(grammar_of(words_of(unknown)) == nullptr);
  }
  CHECK(takes_long("check objects"));
  CHECK(takes_long("refresh "));
  CHECK_FALSE(takes_long("check "));
  CHECK_FALSE(takes_long("refreshed"));
  CHECK(why_not_known(words_of("check now")).find("objects") != std::string::npos);
  CHECK(why_not_known(words_of("frob")).find(" new-project ") != std::string::npos);
}
