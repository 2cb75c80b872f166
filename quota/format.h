// The bytes of the ledger's keys and records (docs/FORMAT.md, "The ledger"). Pure, so thread-safe.
// Decoding takes any bytes and never reads past them; it returns nothing where they are not of that
// kind, too few or too many.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "quota/state.h"
#include "quota/types.h"

namespace troot::quota::format {

/// The version of everything in this file, kept in the meta record. A higher one is not opened.
/// 1: names, targets of symlinks and small xattrs were not charged; it is counted anew.
inline constexpr std::uint32_t kVersion = 2;

inline constexpr char kInodeSpace = 'i';            ///< 'i' ino birth: inode records
inline constexpr char kProjectSpace = 'p';          ///< 'p' id: project records
inline constexpr std::string_view kTotalKey = "t";  ///< the total, as a project record
inline constexpr std::string_view kMetaKey = "m";
inline constexpr std::string_view kBatchKey = "b";  ///< the last batch
inline constexpr char kSessionSpace = 's';          ///< 's' session: what was written to one log

/// Whether the last server closed the ledger.
enum class Mark : std::uint8_t { kOpen = 0, kClean = 1 };

/// What the ledger says of itself.
struct Meta {
  std::uint32_t version = kVersion;
  Mark mark = Mark::kOpen;
  std::string upper_uuid;
  std::string boot_id;  ///< of the boot in which the ledger was last opened
};

/// What every batch says of itself.
struct Batch {
  std::uint32_t number = 0;
  std::uint32_t oldest_session = 0;  ///< the first whose record must be there
  std::uint32_t session = 0;         ///< the one that wrote it: each open begins one
};
/// What it says of its session.
struct Session {
  std::uint32_t before = 0;  ///< the last batch of the session before
  std::uint32_t last = 0;    ///< the last of this one
};

[[nodiscard]] std::string session_key(std::uint32_t session);
[[nodiscard]] std::string inode_key(const InodeKey& key);
[[nodiscard]] std::string project_key(ProjId id);
[[nodiscard]] std::optional<InodeKey> parse_inode_key(std::string_view bytes);
[[nodiscard]] std::optional<ProjId> parse_project_key(std::string_view bytes);

[[nodiscard]] std::string encode(const InodeRecord& record);
[[nodiscard]] std::string encode(const ProjectRecord& record);
[[nodiscard]] std::string encode(const Meta& meta);
[[nodiscard]] std::optional<InodeRecord> decode_inode(std::string_view bytes);
/// The id is not in the bytes but in the key.
[[nodiscard]] std::optional<ProjectRecord> decode_project(ProjId id, std::string_view bytes);
[[nodiscard]] std::string encode(const Batch& batch);
[[nodiscard]] std::optional<Batch> decode_batch(std::string_view bytes);
[[nodiscard]] std::string encode(const Session& session);
[[nodiscard]] std::optional<Session> decode_session(std::string_view bytes);
/// Of a newer version only `version` is filled.
[[nodiscard]] std::optional<Meta> decode_meta(std::string_view bytes);

}  // namespace troot::quota::format
