// What owns it: whose an object is said to be. Two ways: native (as on disk; a server with real
// root), and presented (every upper file belongs to the server's user; owner, mode and device live
// in override_stat). Pure functions.
#pragma once

#include <sys/stat.h>

#include "fusefs/config.h"
#include "fusefs/disk/format.h"

namespace troot::fusefs {

/// The overflow id: what cannot be named in the mount's user namespace (user_namespaces(7)).
inline constexpr std::uint32_t kNobody = 65534;

class Ids {
 public:
  explicit Ids(const Config& config) : config_(config) {}

  [[nodiscard]] bool presented() const { return config_.ownership == Ownership::kPresented; }
  /// An id as shown to the mount: squashed, or nobody where the world has no such id.
  [[nodiscard]] std::uint32_t shown(std::uint32_t id) const {
    if (config_.squash_to_root) return 0;
    return config_.id_count != 0 && id >= config_.id_count ? kNobody : id;
  }
  /// What an upper object with this owner and mode on disk is without an override_stat.
  [[nodiscard]] Override from_disk(uid_t uid, gid_t gid, mode_t mode) const;
  /// Whether the disk alone says `want`, given the owner of our upper objects on disk.
  [[nodiscard]] bool plain(const Override& want, uid_t disk_uid, gid_t disk_gid) const;
  /// The permission bits on disk of an object presented with `mode` (type included): never special
  /// bits, always enough for the server to open it again.
  [[nodiscard]] static mode_t disk_mode(mode_t mode);
  /// What is believed of an override_stat on an object with this owner and mode on disk. A server
  /// of root's takes it from root and from nobody else, and set-id bits only where nobody else may
  /// write: user xattrs are free to whoever may write to the object. nullopt: nothing.
  [[nodiscard]] static std::optional<Override> believed(Override said, uid_t server, uid_t owner,
                                                        mode_t disk);
  /// Whether the type lies on disk as itself; fifos, sockets and devices are regular placeholders.
  [[nodiscard]] static bool own_type(mode_t mode) {
    return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode);
  }

 private:
  const Config& config_;
};

}  // namespace troot::fusefs
