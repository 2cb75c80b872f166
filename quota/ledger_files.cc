// Implements ledger_files.h.
#include "quota/ledger_files.h"

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/table.h>

#include <array>
#include <filesystem>
#include <memory>
#include <string>

namespace troot::quota {
namespace {

/// RocksDB writes its options to a file on every open, syncs it twice and reads it back: half of
/// the time of an open. Ours are in the code. It goes on where that file cannot be made.
class LeanFileSystem : public rocksdb::FileSystemWrapper {
 public:
  LeanFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  [[nodiscard]] const char* Name() const override { return "LeanFileSystem"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override {
    const std::string name = std::filesystem::path(path).filename();
    if (name.starts_with("OPTIONS-")) return rocksdb::IOStatus::NotSupported();
    return FileSystemWrapper::NewWritableFile(path, options, file, debug);
  }
  /// RocksDB believes two things of a table before it looks at any checksum: how blocks are summed
  /// up, in the footer, and the last word of the properties, by which it may abort.
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path,
                                        const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                        rocksdb::IODebugContext* debug) override {
    auto status = FileSystemWrapper::NewRandomAccessFile(path, options, file, debug);
    std::uint64_t bytes = 0;
    if (!status.ok() || !path.ends_with(".sst")) return status;
    status = GetFileSize(path, options.io_options, &bytes, debug);
    std::array<char, kFooter_bytes> footer{};
    if (!status.ok() || bytes < footer.size()) return status;
    rocksdb::Slice read;
    const auto get = [&](std::uint64_t at, std::size_t count) {
      status = (*file)->Read(at, count, options.io_options, &read, footer.data(), debug);
      return status.ok() && read.size() == count;
    };
    if (!get(bytes - footer.size(), footer.size())) return status;
    const char sums = read[0];
    // The directory of the table's parts, of which the properties are the last.
    std::uint64_t directory = 0;
    for (std::size_t i = 1, shift = 0; i < 10; ++i, shift += 7) {
      directory |= static_cast<std::uint64_t>(read[i] & 0x7f) << shift;
      if ((read[i] & 0x80) == 0) break;
    }
    const bool known = sums >= rocksdb::kCRC32c && sums <= rocksdb::kXXH3;
    if (known && directory >= kTrailer_bytes + 1 && directory < bytes) {
      if (!get(directory - kTrailer_bytes - 1, 1)) return status;
      if ((read[0] & 0x80) == 0) return status;
    }
    return rocksdb::IOStatus::Corruption("the end of a table is damaged");
  }

 private:
  static constexpr std::size_t kFooter_bytes = 53;
  static constexpr std::size_t kTrailer_bytes = 5;  ///< of a block
};

}  // namespace

rocksdb::Env* lean_env() {
  // Never destroyed: RocksDB's threads may look at it until the process ends.
  static rocksdb::Env* const env =
      rocksdb::NewCompositeEnv(std::make_shared<LeanFileSystem>()).release();
  return env;
}

}  // namespace troot::quota
