// St_ino. A mount shows one st_dev, so objects of several file systems need numbers
// that no two of them share, and that stay the same over remounts in whatever order things are
// looked at: what was decided is kept in work/troot/numbers (docs/FORMAT.md, "Inode numbers").
//
// The top byte of a number tells (file system, top byte of its own number) apart. The first file
// system, the upper's, keeps its numbers as long as nobody else has taken the byte; others get the
// next byte that is free. When none is left, numbers are given out one by one.
//
// Thread-safe; what is known is answered without a lock.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "fusefs/base/posix.h"
#include "quota/base/mutex.h"

namespace troot::fusefs {

/// What its lines are to outlive: a power cut, or only the server.
enum class LinesOutlive { kPowerCut, kServer };

/// What has numbers of its own: a file system, or a place at which one shows once more what it
/// shows elsewhere too (a bind mount).
struct Realm {
  dev_t device = 0;
  std::uint64_t place = 0;                                      ///< 0: the file system itself
  Realm(dev_t d, std::uint64_t p = 0) : device(d), place(p) {}  // NOLINT: most have no place
  friend bool operator==(const Realm&, const Realm&) = default;
};

class Numbers {
 public:
  /// `first`: the file system that keeps its numbers.
  explicit Numbers(dev_t first);
  ~Numbers();
  Numbers(const Numbers&) = delete;
  Numbers& operator=(const Numbers&) = delete;

  /// Reads what was decided before, and keeps in `dir` what is decided from now on. Before the
  /// first number is asked for. Without it everything is forgotten in the end.
  [[nodiscard]] Status remember_in(Fd dir, LinesOutlive what);
  /// The number shown, if the file system and the top byte of `ino` were met before.
  [[nodiscard]] std::optional<std::uint64_t> known(const Realm& realm, std::uint64_t ino) const;
  /// The same for any. `identity` is asked for what names a file system that was not met yet, also
  /// after a reboot (identity_of). What cannot be written down holds for this mount only, with a
  /// line in the log.
  [[nodiscard]] std::uint64_t of(const Realm& realm, std::uint64_t ino,
                                 const std::function<std::string()>& identity);

 private:
  struct Device;
  using Devices = std::vector<Device*>;
  struct Exact {
    unsigned device;
    std::uint64_t ino;
    friend bool operator==(const Exact&, const Exact&) = default;
  };
  struct ExactHash {
    std::size_t operator()(const Exact& e) const noexcept {
      return std::hash<std::uint64_t>()(e.ino ^ (std::uint64_t{e.device} << 40));
    }
  };

  [[nodiscard]] Device* find(const Realm& realm) const;
  Device* add(const Realm& realm, const std::string& identity) REQUIRES(mutex_);
  void choose_byte(Device& device, unsigned high) REQUIRES(mutex_);
  [[nodiscard]] std::uint64_t one_by_one(const Device& device, std::uint64_t ino) REQUIRES(mutex_);
  void take_line(std::string_view line) REQUIRES(mutex_);
  void write_line(const std::string& line, LinesOutlive what) REQUIRES(mutex_);

  std::atomic<const Devices*> devices_;  ///< replaced by a longer copy, never changed
  Mutex mutex_;
  std::vector<std::unique_ptr<Device>> owned_ GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<const Devices>> tables_ GUARDED_BY(mutex_);  ///< readers may have any
  std::vector<std::string> identities_ GUARDED_BY(mutex_);  ///< by index; [0] is the first's: empty
  std::map<std::pair<unsigned, unsigned>, unsigned> bytes_ GUARDED_BY(mutex_);
  std::array<bool, 256> taken_ GUARDED_BY(mutex_){};
  std::unordered_map<Exact, std::uint64_t, ExactHash> exact_ GUARDED_BY(mutex_);
  std::uint64_t block_ GUARDED_BY(mutex_) = 0;      ///< of numbers given out one by one
  std::uint64_t next_ GUARDED_BY(mutex_) = 0;       ///< within it; 0: this mount has none yet
  std::uint64_t last_read_ GUARDED_BY(mutex_) = 0;  ///< of those that the file says
  Fd file_ GUARDED_BY(mutex_);
  Fd dir_ GUARDED_BY(mutex_);
  off_t end_ GUARDED_BY(mutex_) = 0;
  LinesOutlive most_ GUARDED_BY(mutex_) = LinesOutlive::kPowerCut;
  bool complained_ GUARDED_BY(mutex_) = false;
};

/// What tells the file system of an object from others, in other mounts and after a reboot too, as
/// far as it has something of the kind: its type and f_fsid of statfs(2), else the device number.
[[nodiscard]] std::string identity_of(dev_t device, int dirfd, const char* name);
/// The same for what shows at one mount point, by its STATX_MNT_ID. A remote file system is not
/// asked for anything: it may not answer.
[[nodiscard]] std::string mount_identity(std::uint64_t mount, dev_t device, int dirfd,
                                         const char* name);
/// What is added to it for a layer that shows what another shows too: its path.
[[nodiscard]] std::string layer_identity(const std::string& path);

}  // namespace troot::fusefs
