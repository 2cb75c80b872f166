// What owns it: see numbers.h.
#include "fusefs/disk/numbers.h"

#include <spdlog/spdlog.h>
#include <sys/statfs.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>

#include "fusefs/disk/format.h"

namespace troot::fusefs {
namespace {

constexpr const char* kFile = "numbers";
constexpr std::string_view kTitle = "troot-numbers 1";
constexpr unsigned kTopShift = 56;
constexpr std::uint64_t kLow = (std::uint64_t{1} << kTopShift) - 1;
/// The top byte of numbers that are given out one by one.
constexpr unsigned kOneByOne = 0xff;
/// A mount gives out numbers in a block of its own, so that a line that a power cut took along
/// leads to a gap, not to a number that two objects have.
constexpr unsigned kBlockShift = 32;
constexpr std::uint64_t kBlocks = std::uint64_t{1} << (kTopShift - kBlockShift);
/// Values of Device::byte: not asked yet, or the byte and one.
constexpr std::uint16_t kUnknown = 0;

constexpr unsigned top_of(std::uint64_t ino) { return static_cast<unsigned>(ino >> kTopShift); }

Result<std::string> read_all(int fd) {
  std::string text;
  std::array<char, 65536> buffer{};
  for (;;) {
    TRY(n, posix::pread(fd, std::as_writable_bytes(std::span(buffer)),
                        static_cast<off_t>(text.size())));
    if (n == 0) return text;
    text.append(buffer.data(), n);
  }
}

}  // namespace

struct Numbers::Device {
  explicit Device(const Realm& r) : realm(r) {}
  Realm realm;
  unsigned index = 0;
  std::array<std::atomic<std::uint16_t>, 256> byte{};  ///< by the top byte of its own numbers
};

Numbers::Numbers(dev_t first) {
  MutexLock lock(mutex_);
  tables_.push_back(std::make_unique<const Devices>());
  devices_.store(tables_.back().get(), std::memory_order_release);
  Device* device = add(first, "");
  bytes_[{0, 0}] = 0;
  taken_[0] = true;
  choose_byte(*device, 0);
}

Numbers::~Numbers() = default;

Status Numbers::remember_in(Fd dir, LinesOutlive what) {
  MutexLock lock(mutex_);
  most_ = what;
  auto file = posix::open_at(dir.get(), kFile, O_RDWR);
  if (!file && !(file.error() == ENOENT)) return fail(file.error());
  dir_ = std::move(dir);
  if (!file) return {};
  TRY(text, read_all(file->get()));
  const std::size_t whole = text.rfind('\n') + 1;
  const std::string_view lines(text.data(), whole);
  if (whole != 0 && lines.substr(0, lines.find('\n')) != kTitle) {
    spdlog::warn("work/troot/{}: not of this version; st_ino may change with this mount", kFile);
    dir_.reset();
    return {};
  }
  // A line that was not finished does not count.
  if (whole != text.size()) CHECK_OK(posix::truncate(file->get(), static_cast<off_t>(whole)));
  for (std::size_t at = 0; at < whole;) {
    const std::size_t end = lines.find('\n', at);
    take_line(lines.substr(at, end - at));
    at = end + 1;
  }
  file_ = std::move(*file);
  end_ = static_cast<off_t>(whole);
  return {};
}

void Numbers::take_line(std::string_view line) {
  std::istringstream words{std::string(line)};
  std::string kind, first, second, third;
  words >> kind >> first >> second >> third;
  const auto a = parse_u64(first), b = parse_u64(second), c = parse_u64(third);
  if (kind == "device" && a && *a == identities_.size() && !second.empty()) {
    identities_.push_back(second);
  } else if (kind == "byte" && a && b && c && *a < kOneByOne && *b < identities_.size() &&
             *c <= 0xff && !taken_[*a]) {
    taken_[*a] = true;
    bytes_[{static_cast<unsigned>(*b), static_cast<unsigned>(*c)}] = static_cast<unsigned>(*a);
  } else if (kind == "block" && a && *a > block_ && *a < kBlocks - 1) {
    block_ = *a;
  } else if (kind == "number" && a && b && c && *b < identities_.size() && *a > last_read_ &&
             *a >> kBlockShift != 0 && *a >> kBlockShift <= block_) {
    // In the order they were given out: so no two lines say the same number, and none one to come.
    last_read_ = *a;
    exact_.emplace(Exact{static_cast<unsigned>(*b), *c}, *a);
  } else if (line != kTitle) {
    spdlog::warn("work/troot/{}: a line that says nothing is passed over", kFile);
  }
}

void Numbers::write_line(const std::string& line, LinesOutlive what) {
  if (!dir_.valid()) return;
  const auto write = [&]() REQUIRES(mutex_) -> Status {
    std::string text = line + "\n";
    if (!file_.valid()) {
      TRY(made, posix::create(dir_.get(), kFile, O_RDWR | O_TRUNC, 0600));
      file_ = std::move(made);
    }
    // Also where a server died before its first line was there.
    if (end_ == 0) text = std::string(kTitle) + "\n" + text;
    TRY(n, posix::pwrite(file_.get(), std::as_bytes(std::span(text)), end_));
    if (n != text.size()) return fail(ENOSPC);
    end_ += static_cast<off_t>(n);
    const bool sync = what == LinesOutlive::kPowerCut && most_ == LinesOutlive::kPowerCut;
    return sync ? posix::fsync(file_.get(), true) : Status{};
  };
  const Status status = write();
  if (status || complained_) return;
  complained_ = true;
  spdlog::warn("work/troot/{}: {}; some st_ino may change with the next mount", kFile,
               std::strerror(status.error().value()));
}

Numbers::Device* Numbers::find(const Realm& realm) const {
  for (Device* each : *devices_.load(std::memory_order_acquire)) {
    if (each->realm == realm) return each;
  }
  return nullptr;
}

std::optional<std::uint64_t> Numbers::known(const Realm& realm, std::uint64_t ino) const {
  const Device* const found = find(realm);
  if (found == nullptr) return std::nullopt;
  const std::uint16_t byte = found->byte[top_of(ino)].load(std::memory_order_acquire);
  if (byte == kUnknown || byte == kOneByOne + 1U) return std::nullopt;
  return (ino & kLow) | (std::uint64_t{byte - 1U} << kTopShift);
}

std::uint64_t Numbers::of(const Realm& realm, std::uint64_t ino,
                          const std::function<std::string()>& identity) {
  if (const auto number = known(realm, ino)) return *number;
  // Asked without the lock: a file system that hangs must hold only those who look at it.
  const std::string name = find(realm) == nullptr ? identity() : "";
  MutexLock lock(mutex_);
  Device* found = find(realm);
  if (found == nullptr) found = add(realm, name);
  if (found->byte[top_of(ino)].load(std::memory_order_relaxed) == kUnknown)
    choose_byte(*found, top_of(ino));
  if (const auto number = known(realm, ino)) return *number;
  return one_by_one(*found, ino);
}

Numbers::Device* Numbers::add(const Realm& realm, const std::string& identity) {
  const auto in_use = [&](std::size_t index) REQUIRES(mutex_) {
    return std::any_of(owned_.begin(), owned_.end(),
                       [&](const auto& each) { return each->index == index; });
  };
  // Clones of one file system bear one name: they are told apart by their order.
  std::string name = identity;
  std::size_t index = 0;
  for (unsigned copy = 2; !owned_.empty(); ++copy) {
    const auto it = std::find(identities_.begin() + 1, identities_.end(), name);
    index = static_cast<std::size_t>(it - identities_.begin());
    if (it == identities_.end() || !in_use(index)) break;
    name = identity + "#" + std::to_string(copy);
  }
  if (index == identities_.size()) {
    identities_.push_back(name);
    // The line of its first byte follows, and takes this one to the disk.
    if (index != 0) write_line("device " + encode_u64(index) + " " + name, LinesOutlive::kServer);
  }
  owned_.push_back(std::make_unique<Device>(realm));
  Device* const made = owned_.back().get();
  made->index = static_cast<unsigned>(index);
  auto longer = std::make_unique<Devices>(*tables_.back());
  longer->push_back(made);
  devices_.store(longer.get(), std::memory_order_release);
  tables_.push_back(std::move(longer));
  return made;
}

void Numbers::choose_byte(Device& device, unsigned high) {
  const auto it = bytes_.find({device.index, high});
  unsigned byte = kOneByOne;
  if (it != bytes_.end()) {
    byte = it->second;
  } else {
    const auto free = std::find(taken_.begin(), taken_.begin() + kOneByOne, false);
    byte = static_cast<unsigned>(free - taken_.begin());
    if (device.index == 0 && high != kOneByOne && !taken_[high]) byte = high;
    if (byte != kOneByOne) {
      taken_[byte] = true;
      bytes_[{device.index, high}] = byte;
      write_line(
          "byte " + encode_u64(byte) + " " + encode_u64(device.index) + " " + encode_u64(high),
          LinesOutlive::kPowerCut);
    }
  }
  device.byte[high].store(static_cast<std::uint16_t>(byte + 1), std::memory_order_release);
}

std::uint64_t Numbers::one_by_one(const Device& device, std::uint64_t ino) {
  const auto [it, fresh] = exact_.try_emplace(Exact{device.index, ino}, 0);
  if (fresh) {
    if (next_ == 0 || (next_ >> kBlockShift) != 0) {
      next_ = 1;
      write_line("block " + encode_u64(++block_), LinesOutlive::kPowerCut);
    }
    it->second = (block_ << kBlockShift) | next_++;
    write_line(
        "number " + encode_u64(it->second) + " " + encode_u64(device.index) + " " + encode_u64(ino),
        LinesOutlive::kServer);
  }
  return (std::uint64_t{kOneByOne} << kTopShift) | it->second;
}

std::string identity_of(dev_t device, int dirfd, const char* name) {
  struct statfs fs {};
  const Fd object(::openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  std::uint64_t id = 0;
  if (object.valid() && ::fstatfs(object.get(), &fs) == 0) {
    static_assert(sizeof fs.f_fsid == sizeof id);
    std::memcpy(&id, &fs.f_fsid, sizeof id);
  }
  const std::string type = encode_u64(static_cast<std::uint64_t>(fs.f_type));
  return id != 0 ? "fsid-" + type + "-" + encode_u64(id)
                 : "dev-" + type + "-" + encode_u64(static_cast<std::uint64_t>(device));
}

namespace {

/// FNV-1a: a path as one word of fixed length.
std::string word_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return encode_u64(hash);
}

bool is_remote(std::string_view type) {
  for (const std::string_view kind :
       {"fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "lustre"}) {
    if (type.starts_with(kind)) return true;
  }
  return false;
}

}  // namespace

std::string mount_identity(std::uint64_t mount, dev_t device, int dirfd, const char* name) {
  std::ifstream table("/proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    std::uint64_t id = 0;
    std::string parent, number, root, point, word, type, source;
    words >> id >> parent >> number >> root >> point;
    if (id != mount) continue;
    while (words >> word && word != "-") {
    }
    words >> type >> source;
    if (is_remote(type)) return "remote-" + word_of(type + ' ' + source + ' ' + point);
    return identity_of(device, dirfd, name) + "-at-" + word_of(point);
  }
  return identity_of(device, dirfd, name) + "-mount-" + encode_u64(mount);
}

std::string layer_identity(const std::string& path) { return "-in-" + word_of(path); }

}  // namespace troot::fusefs
