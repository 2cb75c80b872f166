// Fuzzing what the ledger's directory holds: records, the journal, the list of
// limits. RocksDB's own files are RocksDB's to check.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "fuzz/target.h"
#include "quota/format.h"
#include "quota/journal.h"
#include "quota/limits_file.h"
#include "unit/scratch.h"

namespace troot::fuzz {

using namespace quota;

namespace {

const tests::Scratch& scratch() {
  static const tests::Scratch dir;
  return dir;
}

/// Numbers and text taken off the front of the input.
class Input {
 public:
  explicit Input(std::string_view bytes) : bytes_(bytes) {}
  template <typename T>
  T number() {
    T value{};
    std::memcpy(&value, bytes_.data(), std::min(sizeof value, bytes_.size()));
    bytes_.remove_prefix(std::min(sizeof value, bytes_.size()));
    return value;
  }
  std::string_view text(std::size_t most) {
    const std::string_view taken = bytes_.substr(0, most);
    bytes_.remove_prefix(taken.size());
    return taken;
  }
  [[nodiscard]] bool empty() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
};

/// What can be said to a journal is what is left in it.
void say_and_find(std::string_view bytes, Journal& journal) {
  journal.restart();
  const Epoch epoch = journal.enter();
  std::vector<Intent> said;
  for (Input in(bytes); !in.empty() && said.size() < 100;) {
    Intent intent;
    intent.kind = in.number<std::uint8_t>();
    intent.key = {in.number<std::uint64_t>(), in.number<std::int64_t>()};
    intent.dir = {in.number<std::uint64_t>(), in.number<std::int64_t>()};
    intent.name = in.text(in.number<std::uint8_t>());
    must(journal.say(epoch, intent.kind, intent.key, intent.dir, intent.name) != 0);
    said.push_back(intent);
  }
  journal.leave(epoch);
  const auto left = journal.left();
  must(left.complete && left.intents.size() == said.size());
  for (std::size_t i = 0; i < said.size(); ++i) {
    const Intent &a = left.intents[i], &b = said[i];
    must(a.kind == b.kind && a.key == b.key && a.dir == b.dir && a.name == b.name);
  }
}

constexpr off_t kEntriesAt = 4096;

/// Puts bytes into the file at `at`, as damage would, and takes them away again.
class Damage {
 public:
  Damage(const std::string& path, off_t at, std::string_view bytes)
      : fd_(::open(path.c_str(), O_RDWR | O_CLOEXEC)), at_(at), before_(bytes.size(), '\0') {
    must(fd_ >= 0);
    const auto size = static_cast<ssize_t>(bytes.size());
    must(::pread(fd_, before_.data(), before_.size(), at_) == size);
    must(::pwrite(fd_, bytes.data(), bytes.size(), at_) == size);
  }
  ~Damage() {
    (void)!::pwrite(fd_, before_.data(), before_.size(), at_);
    ::close(fd_);
  }
  Damage(const Damage&) = delete;
  Damage& operator=(const Damage&) = delete;

 private:
  const int fd_;
  const off_t at_;
  std::string before_;
};

std::unique_ptr<Journal> open_journal(const std::string& path) {
  auto opened = Journal::open(path, "upper", "boot");
  must(opened.has_value());
  return std::move(*opened);
}

void must_be_sound(const Journal::Left& left) {
  for (const Intent& intent : left.intents) must(intent.name.size() <= 255);
}

void put_file(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

void ledger(std::string_view bytes) {
  if (const auto key = format::parse_inode_key(bytes)) must(format::inode_key(*key) == bytes);
  if (const auto id = format::parse_project_key(bytes)) must(format::project_key(*id) == bytes);
  if (const auto record = format::decode_inode(bytes)) must(format::encode(*record) == bytes);
  if (const auto record = format::decode_project(ProjId{7}, bytes)) {
    const std::string text = format::encode(*record);
    const auto again = format::decode_project(ProjId{7}, text);
    must(again && format::encode(*again) == text && again->own == record->own);
  }
  const auto meta = format::decode_meta(bytes);
  if (meta && meta->version <= format::kVersion) must(format::encode(*meta) == bytes);
}

void journal(std::string_view bytes) {
  bytes = bytes.substr(0, 16 << 10);
  static const std::string path = scratch() / "journal";
  static const std::unique_ptr<Journal> open = open_journal(path);
  say_and_find(bytes, *open);
  {
    const Damage damage(path, kEntriesAt, bytes);
    must_be_sound(open->left());
  }
  // As the next server finds it, from the head on.
  static const std::string other = scratch() / "other";
  open_journal(other)->restart();
  const Damage damage(other, 0, bytes);
  must_be_sound(open_journal(other)->left());
}

void limits(std::string_view bytes) {
  spdlog::set_level(spdlog::level::off);
  static const std::string path = scratch() / "limits.txt";
  put_file(path, bytes);
  const auto read = read_settings(path, "upper");
  (void)settings_are_whole(path, "upper");
  if (!read || !*read) return;
  const std::string text = render_settings("upper", **read);
  must(write_settings(path, text).has_value() && settings_are_whole(path, "upper"));
  const auto again = read_settings(path, "upper");
  must(again && *again && render_settings("upper", **again) == text);
  must(append_settings(path, "upper", render_total((*read)->total)).has_value());
  const auto longer = read_settings(path, "upper");
  must(longer && *longer && render_settings("upper", **longer) == text);
}

}  // namespace troot::fuzz
