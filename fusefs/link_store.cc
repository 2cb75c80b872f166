// What owns it: see link_store.h.
#include "fusefs/link_store.h"

#include <spdlog/spdlog.h>

#include <cstdio>
#include <vector>

#include "fusefs/core.h"
#include "fusefs/escape.h"

namespace troot::fusefs {
namespace {

CName file_name(const quota::InodeKey& key) {
  char text[40];
  std::snprintf(text, sizeof text, "%llx-%llx", static_cast<unsigned long long>(key.ino),
                static_cast<unsigned long long>(key.birth_ns));
  return CName(text);
}

std::optional<quota::InodeKey> parse_name(std::string_view name) {
  const std::size_t dash = name.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto ino = parse_u64(name.substr(0, dash));
  const auto birth = parse_u64(name.substr(dash + 1));
  if (!ino || !birth) return std::nullopt;
  return quota::InodeKey{*ino, static_cast<std::int64_t>(*birth)};
}

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

Status LinkStore::open(Fd dir) {
  dir_ = std::move(dir);
  std::vector<std::string> names;
  CHECK_OK(posix::list(dir_.get(), [&](const DirName& d) {
    names.emplace_back(d.name);
    return true;
  }));
  MutexLock lock(mutex_);
  for (const std::string& name : names) {
    const auto key = parse_name(name);
    const auto record = key ? read_record(dir_.get(), name.c_str()) : std::nullopt;
    if (record) {
      records_[*key] = *record;
    } else {
      spdlog::warn("work/troot/links/{}: not a record of a symlink; removed", escape_value(name));
      remove_tree(dir_.get(), name.c_str());
    }
  }
  return {};
}

std::optional<LinkRecord> LinkStore::get(const quota::InodeKey& key) const {
  MutexLock lock(mutex_);
  const auto it = records_.find(key);
  if (it == records_.end()) return std::nullopt;
  return it->second;
}

Status LinkStore::put(const quota::InodeKey& key, const LinkRecord& record) {
  const std::string name = file_name(key).get(), temporary = name + ".new",
                    text = encode_link(record);
  MutexLock lock(mutex_);
  TRY(fd, posix::create(dir_.get(), temporary.c_str(), O_WRONLY | O_TRUNC, 0600));
  TRY(n, posix::pwrite(fd.get(), std::as_bytes(std::span(text)), 0));
  if (n != text.size()) return fail(ENOSPC);
  CHECK_OK(posix::rename(dir_.get(), temporary.c_str(), dir_.get(), name.c_str()));
  records_[key] = record;
  return {};
}

void LinkStore::erase(const quota::InodeKey& key) noexcept {
  MutexLock lock(mutex_);
  if (records_.erase(key) != 0) (void)posix::unlink(dir_.get(), file_name(key).get());
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
    const auto key = parse_name(name);
    if (!key || !records_.contains(*key)) (void)posix::unlink(fd->get(), name.c_str());
  }
}

}  // namespace troot::fusefs
