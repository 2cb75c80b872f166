// What the fuzzers try: one function a format. It is given any bytes, reads them as
// the format, writes what it read and reads that again: the same must come out. A broken promise
// ends the process (or, in the replay under ctest, is thrown), as a sanitizer's finding does.
#pragma once

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace troot::fuzz {

struct Target {
  std::string_view name;  ///< of its directory in tests/fuzz/corpus too
  void (*run)(std::string_view bytes);
};
/// All of them.
[[nodiscard]] std::span<const Target> targets();

/// What must hold whatever the bytes are. (Builtins, since clang 14 has no std::source_location.)
inline void must(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (holds) return;
  throw std::logic_error(std::string(file) + ":" + std::to_string(line) + ": a promise is broken");
}

// ---- tests/fuzz/xattr_targets.cc: fusefs/disk/format, fusefs/disk/acl
void override_stat(std::string_view bytes);
void project(std::string_view bytes);
void ranges(std::string_view bytes);
void redirect(std::string_view bytes);
void origin(std::string_view bytes);
void index(std::string_view bytes);
void link_record(std::string_view bytes);
void acl(std::string_view bytes);
// ---- tests/fuzz/work_targets.cc: fusefs/disk/numbers, fusefs/mount/kernel_index
void numbers(std::string_view bytes);
void kernel_index(std::string_view bytes);
// ---- tests/fuzz/ledger_targets.cc: quota/format, quota/journal, quota/limits_file
void ledger(std::string_view bytes);
void journal(std::string_view bytes);
void limits(std::string_view bytes);
// ---- tests/fuzz/boundary_targets.cc: fusefs/launch/options, fusefs/control/server,
// fusefs/serve/request
void options(std::string_view bytes);
void control(std::string_view bytes);
void request(std::string_view bytes);
// ---- tests/fuzz/archive_targets.cc: tools/archive
void tar_layer(std::string_view bytes);
void tar_rootfs(std::string_view bytes);
void frame(std::string_view bytes);
void image_config(std::string_view bytes);
void oci_layout(std::string_view bytes);
void docker_archive(std::string_view bytes);
void image_tar(std::string_view bytes);
// ---- tests/fuzz/tool_targets.cc: tools/
void projects(std::string_view bytes);
void subids(std::string_view bytes);
void world(std::string_view bytes);
void layer(std::string_view bytes);
void image(std::string_view bytes);
void mounts(std::string_view bytes);
void amounts(std::string_view bytes);

}  // namespace troot::fuzz
