// Implements link_store.h.
#include "fusefs/disk/link_store.h"

#include <spdlog/spdlog.h>

#include <cstdio>
#include <utility>
#include <vector>

#include "fusefs/base/escape.h"
#include "fusefs/base/remove_tree.h"

namespace troot::fusefs {
namespace {

constexpr std::string_view kHead = "troot-link 1\n";

std::string key_name(const quota::InodeKey& key) {
  char text[40];
  std::snprintf(text, sizeof text, "%llx-%llx", static_cast<unsigned long long>(key.ino),
                static_cast<unsigned long long>(key.birth_ns));
  return text;
}

std::string swapped(std::string text, char line, char word, char new_line, char new_word) {
  for (char& c : text) c = c == line ? new_line : c == word ? new_word : c;
  return text;
}

/// INO-BIRTH and the lines of the record behind a comma each.
std::string file_name(const quota::InodeKey& key, const LinkRecord& record) {
  return key_name(key) + ',' +
         swapped(encode_link(record).substr(kHead.size()), '\n', ' ', ',', '=');
}

std::optional<quota::InodeKey> parse_key(std::string_view name) {
  const std::size_t dash = name.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto ino = parse_u64(name.substr(0, dash));
  const auto birth = parse_u64(name.substr(dash + 1));
  if (!ino || !birth) return std::nullopt;
  return quota::InodeKey{*ino, static_cast<std::int64_t>(*birth)};
}

/// The record that a file of an earlier version holds.
std::optional<LinkRecord> read_record(int dirfd, const char* name) {
  // What lies there may be a fifo.
  const auto fd = posix::open_at(dirfd, name, O_RDONLY | O_NONBLOCK);
  if (!fd) return std::nullopt;
  char text[512];
  const auto n = posix::pread(fd->get(), std::as_writable_bytes(std::span(text)), 0);
  if (!n) return std::nullopt;
  return parse_link({text, *n});
}

}  // namespace

std::optional<quota::InodeKey> LinkStore::take(const std::string& name) {
  const std::size_t comma = name.find(',');
  const auto key = parse_key(std::string_view(name).substr(0, comma));
  if (!key) return std::nullopt;
  const bool old = comma == std::string::npos;
  const auto record =
      old ? read_record(dir_.get(), name.c_str())
          : parse_link(std::string(kHead) + swapped(name.substr(comma + 1), ',', '=', '\n', ' '));
  if (!record || (!old && name != file_name(*key, *record))) return std::nullopt;
  // Beside a name, the file of an earlier version was to go.
  if (!old || !records_.contains(*key)) records_[*key] = {*record, name};
  return key;
}

Result<std::vector<std::string>> LinkStore::load(Fd dir) {
  dir_ = std::move(dir);
  std::vector<std::string> names;
  CHECK_OK(posix::list(dir_.get(), [&](const DirName& d) {
    names.emplace_back(d.name);
    return true;
  }));
  MutexLock lock(mutex_);
  std::erase_if(
      names, [this](const std::string& name) REQUIRES(mutex_) { return take(name).has_value(); });
  return names;
}

Status LinkStore::open(Fd dir) {
  TRY(garbage, load(std::move(dir)));
  for (const std::string& name : garbage) {
    spdlog::warn("work/troot/links/{}: not a record of a symlink; removed", escape_value(name));
    remove_tree(dir_.get(), name.c_str());
  }
  return {};
}

Status LinkStore::read(Fd dir) {
  TRY(garbage, load(std::move(dir)));
  for (const std::string& name : garbage)
    spdlog::warn("links/{} of a sealed layer: not a record of a symlink", escape_value(name));
  return {};
}

void LinkStore::hand_over(LinkStore& to) {
  MutexLock lock(mutex_);
  MutexLock other(to.mutex_);
  to.dir_ = std::move(dir_);
  to.records_ = std::exchange(records_, {});
  to.donor_ = std::exchange(donor_, std::nullopt);
}

std::optional<LinkRecord> LinkStore::get(const quota::InodeKey& key) const {
  MutexLock lock(mutex_);
  const auto it = records_.find(key);
  if (it == records_.end()) return std::nullopt;
  return it->second.record;
}

Status LinkStore::make(const std::string& name) {
  const auto donor = donor_ ? records_.find(*donor_) : records_.begin();
  if (donor != records_.end()) {
    const Status linked =
        posix::link(dir_.get(), donor->second.name.c_str(), dir_.get(), name.c_str());
    // Left by an erase that failed.
    if (linked || linked.error() == EEXIST) return {};
    if (linked.error() == ENOSPC || linked.error() == EDQUOT) return linked;
  }
  // The first, or one more than a file may have names, or no hard links here.
  TRY(fd, posix::create(dir_.get(), name.c_str(), O_WRONLY, 0600));
  return {};
}

Status LinkStore::put(const quota::InodeKey& key, const LinkRecord& record) {
  const std::string name = file_name(key, record);
  MutexLock lock(mutex_);
  const auto it = records_.find(key);
  if (it != records_.end() && it->second.name == name) return {};
  const bool named = it != records_.end() && it->second.name.find(',') != std::string::npos;
  if (named) {
    CHECK_OK(posix::rename(dir_.get(), it->second.name.c_str(), dir_.get(), name.c_str()));
  } else {
    CHECK_OK(make(name));
    if (it != records_.end()) (void)posix::unlink(dir_.get(), it->second.name.c_str());
    donor_ = key;
  }
  records_[key] = {record, name};
  return {};
}

void LinkStore::erase(const quota::InodeKey& key) noexcept {
  MutexLock lock(mutex_);
  const auto it = records_.find(key);
  if (it == records_.end()) return;
  (void)posix::unlink(dir_.get(), it->second.name.c_str());
  records_.erase(it);
  if (donor_ == key) donor_.reset();
}

void LinkStore::tidy() {
  if (!dir_.valid()) return;
  MutexLock lock(mutex_);
  auto fd = posix::open_at(dir_.get(), ".", O_RDONLY | O_DIRECTORY);
  if (!fd) return;
  std::vector<std::string> files;
  (void)posix::list(fd->get(), [&](const DirName& d) {
    files.emplace_back(d.name);
    return true;
  });
  for (const std::string& name : files) {
    const auto key = parse_key(std::string_view(name).substr(0, name.find(',')));
    const auto it = key ? records_.find(*key) : records_.end();
    if (it == records_.end() || it->second.name != name)
      (void)posix::unlink(fd->get(), name.c_str());
  }
}

}  // namespace troot::fusefs
