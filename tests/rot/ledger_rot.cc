// The ledger's directory damaged in every way that a disk has: a flipped bit, a cut,
// a write that was lost. Whatever it is, usage and limits are right, after a count that is told, or
// what the journal names is looked at.
#include <sys/stat.h>

#include "quota/quota.h"
#include "rot/rot.h"
#include "unit/catch.h"
#include "unit/scratch.h"

namespace troot::quota {
namespace {

using tests::Damage, tests::Files, tests::Lines;

constexpr std::int64_t kPage = 4096;

/// What a right ledger says.
struct Truth {
  std::map<std::uint64_t, InodeRecord> files;
  std::map<std::uint32_t, Limits> limits;
  Limits total;

  [[nodiscard]] std::map<std::uint32_t, Usage> usage() const {
    std::map<std::uint32_t, Usage> sums;
    for (const auto& [_, record] : files) {
      Usage& sum = sums[to_u32(record.project)];
      sum = sum + Usage{record.bytes, 1};
    }
    return sums;
  }
};

struct State {
  std::string name;
  Truth truth;
  Files files;
};

OpenOptions in(const std::string& dir) {
  OpenOptions options;
  options.dir = dir;
  options.upper_uuid = "upper-1";
  options.clock = [] { return Seconds{1'000'000}; };
  return options;
}

/// Counts what the truth has.
void count(Quota& quota, const Truth& truth) {
  REQUIRE(quota.begin_recount());
  for (const auto& [ino, record] : truth.files) quota.count({ino, 7}, record);
  REQUIRE(quota.end_recount());
}

/// Makes states, one after the other, in one directory.
class History {
 public:
  History() {
    for (int session = 0; session < 12; ++session) live(session);
  }
  [[nodiscard]] const std::vector<State>& states() const { return states_; }
  [[nodiscard]] std::vector<Files> before(std::size_t state) const {
    std::vector<Files> older;
    for (std::size_t i = 0; i < state; ++i) older.push_back(states_[i].files);
    return older;
  }

 private:
  void live(int session) {
    auto opened = Quota::open(in(dir_.path()));
    REQUIRE(opened);
    Quota& quota = **opened;
    if (session == 0) count(quota, truth_);
    REQUIRE(quota.recount() == Recount::kNotNeeded);
    const auto number = static_cast<std::uint32_t>(session);
    set(quota, 7, {.bytes = {0, 4096ULL * (100 + number)}, .inodes = {}});
    if (session == 1) set(quota, 8, {.bytes = {kPage, 90 * kPage}, .inodes = {0, 50}});
    if (session % 2 == 1) {
      truth_.total = {.bytes = {0, 4096ULL * (1000 + number)}, .inodes = {}};
      REQUIRE(quota.set_total_limits(truth_.total));
    }
    for (std::uint32_t i = 0; i < 4; ++i) make(quota, 7 + i % 2, (i + 1) * kPage);
    REQUIRE(quota.flush(Quota::Sync::kToKernel));
    remove(quota, truth_.files.begin()->first);
    {
      // A file comes and has not been told of: as if killed in the middle.
      const Change change(quota.journal());
      const InodeKey key{next_, 7};
      REQUIRE(quota.journal()->say(change.epoch(), Intent::kLook, key, {2, 7}, "a-file") != 0);
      Truth then = truth_;
      then.files[next_] = {ProjId{7}, kPage};
      REQUIRE(quota.flush(Quota::Sync::kToKernel));
      if (session == 1 || session == 11) keep("killed", std::move(then));
      make(quota, 7, kPage);
    }
    REQUIRE(quota.close());
    if (session < 2 || session > 8) keep("closed", truth_);
  }
  void set(Quota& quota, std::uint32_t id, const Limits& limits) {
    truth_.limits[id] = limits;
    REQUIRE(quota.set_limits(ProjId{id}, limits));
  }
  void make(Quota& quota, std::uint32_t id, std::int64_t bytes) {
    const InodeRecord record{ProjId{id}, bytes};
    auto held = quota.reserve(record.project, {bytes, 1});
    REQUIRE(held);
    held->claim();
    quota.record({next_, 7}, record);
    truth_.files[next_++] = record;
  }
  void remove(Quota& quota, std::uint64_t ino) {
    const InodeRecord record = truth_.files.at(ino);
    quota.release(record.project, {record.bytes, 1});
    quota.erase({ino, 7});
    truth_.files.erase(ino);
  }
  void keep(const std::string& name, Truth truth) {
    states_.push_back({name, std::move(truth), tests::read_files(dir_.path())});
    states_.back().files.erase("lock");
  }

  tests::Scratch dir_;
  Truth truth_;
  std::uint64_t next_ = 100;
  std::vector<State> states_;
};

/// The journal is two megabytes, nearly all of it never written: what is, and a little beside it.
std::vector<std::size_t> worth(const std::string& path, const std::string& bytes) {
  std::vector<std::size_t> places;
  const bool journal = path == "journal";
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    const bool near = bytes[at] != 0 || (at > 0 && bytes[at - 1] != 0);
    if (!journal || near || at < 96 || at % 65536 == 0) places.push_back(at);
  }
  return places;
}

std::map<std::uint32_t, Usage> usage_in(const Quota& quota) {
  std::map<std::uint32_t, Usage> sums;
  for (const ProjectReport& report : quota.report()) {
    if (report.used != Usage{}) sums[to_u32(report.id)] = report.used;
  }
  return sums;
}

bool is_right(const Quota& quota, const Truth& truth) {
  if (usage_in(quota) != truth.usage() || quota.total().limits != truth.total) return false;
  for (const auto& [id, limits] : truth.limits) {
    if (quota.project(ProjId{id}).limits != limits) return false;
  }
  return true;
}

/// As the file system does it. False: a count is needed.
bool recover(Quota& quota, const Truth& truth) {
  const auto intents = quota.intents();
  if (!intents) return false;
  std::vector<Amendment> amendments;
  for (const Intent& intent : *intents) {
    const auto file = truth.files.find(intent.key.ino);
    Amendment amendment{intent.key, std::nullopt};
    if (file != truth.files.end()) amendment.record = file->second;
    amendments.push_back(amendment);
  }
  const Status amended = quota.amend(amendments);
  if (!amended) {
    REQUIRE(amended.error() == EIO);
    return false;
  }
  REQUIRE(quota.end_recovery());
  return true;
}

/// Opens what is in `dir`. Empty: it is as it should be.
std::string judge(const std::string& dir, const Truth& truth, Lines& lines) {
  auto opened = Quota::open(in(dir));
  if (!opened) return "not opened: errno " + std::to_string(opened.error().value());
  Quota& quota = **opened;
  const Recount found = quota.recount();
  bool counted = false;
  if (found != Recount::kNotNeeded && !recover(quota, truth)) {
    count(quota, truth);
    counted = true;
  }
  const std::string told = lines.take();
  const std::string how = " (found " + std::to_string(static_cast<int>(found)) +
                          (counted ? ", counted" : "") + ")\n" + told;
  // The file system tells of every count of something; of a damaged ledger the ledger does.
  if (counted && told.empty() && found != Recount::kNewLedger) return "not told" + how;
  if (!is_right(quota, truth)) return "usage or limits are wrong" + how;
  const auto audit = quota.audit();
  // A record that cannot be read: that is told, and the next open counts.
  if (!audit && audit.error() != EIO) return "the sums are wrong" + how;
  return {};
}

void rot(const State& state, const std::vector<Damage>& damages) {
  const tests::Scratch dir;
  Lines lines;
  std::size_t wrong = 0;
  for (const Damage& damage : damages) {
    Files files = state.files;
    damage.make(files);
    INFO(state.name << ": " << damage.what);  // what it was if RocksDB aborts
    tests::write_files(dir.path(), files);
    std::string verdict = judge(dir.path(), state.truth, lines);
    // Once more: what was made of the damage is right, too.
    if (verdict.empty()) verdict = judge(dir.path(), state.truth, lines);
    INFO(verdict);
    CHECK(verdict.empty());
    if (!verdict.empty() && ++wrong == 20) break;
  }
}

Files of_the_database(const Files& files) {
  Files database;
  for (const auto& [path, bytes] : files) {
    if (path.starts_with("db/")) database[path] = bytes;
  }
  return database;
}

TEST_CASE("the ledger's directory: each byte flipped, each length cut, each file as it was") {
  const History history;
  const auto& states = history.states();
  for (std::size_t i = 0; i < states.size(); ++i) {
    const auto older = history.before(i);
    auto damages = tests::every_damage(states[i].files, older, worth);
    const bool killed = states[i].name == "killed";
    for (std::size_t k = 0; k < older.size(); ++k) {
      damages.push_back({"the whole database as of state " + std::to_string(k),
                         [database = of_the_database(older[k])](Files& files) {
                           std::erase_if(files,
                                         [](const auto& f) { return f.first.starts_with("db/"); });
                           files.insert(database.begin(), database.end());
                         }});
    }
    rot(states[i], tests::sampled(std::move(damages), 250, killed ? "journal" : ""));
  }
}

TEST_CASE("limits.txt, with a bit flipped, where the database is lost: limits are right, or told") {
  const History history;
  const State& state = history.states().back();
  Files rest = state.files;
  std::erase_if(rest, [](const auto& file) { return file.first != "limits.txt"; });
  const tests::Scratch dir;
  Lines lines;
  std::size_t told = 0;
  for (std::size_t at = 0; at < 8 * rest.at("limits.txt").size(); at += 5) {
    Files files = rest;
    files["limits.txt"][at / 8] ^= static_cast<char>(1U << at % 8);
    tests::write_files(dir.path(), files);
    const auto quota = Quota::open(in(dir.path()));
    INFO("bit " << at % 8 << " of byte " << at / 8);
    REQUIRE(quota);
    const std::string said = lines.take();
    const bool named = said.find("limits.txt:") != std::string::npos;
    told += named;
    count(**quota, state.truth);
    if (!is_right(**quota, state.truth)) CHECK(named);
  }
  CHECK(told > rest.at("limits.txt").size() / 2);
}

}  // namespace
}  // namespace troot::quota
