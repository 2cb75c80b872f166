// The RocksDB handle that the files of the ledger share: the open database behind Ledger, and what
// its answers mean. The only header with RocksDB in it; nobody but quota/ledger*.cc includes it.
//
// Thread-safety: one thread at a time, as Ledger. The free functions are pure.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/status.h>

#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <system_error>

#include "quota/base/fd.h"
#include "quota/base/result.h"
#include "quota/ledger.h"

namespace troot::quota {

/// What a failed call of RocksDB comes to: ENOSPC, ENOMEM, the errno that its text names, else EIO
/// (a damaged record has no number).
[[nodiscard]] int errno_of(const rocksdb::Status& status);
/// True where the bytes are at fault, and not the disk, the rights or the limits of the process.
[[nodiscard]] bool is_damage(const rocksdb::Status& status);
/// A Status of RocksDB as one of ours: errno_of() where it failed.
[[nodiscard]] Status checked(const rocksdb::Status& status);
[[nodiscard]] inline std::string_view view(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

/// Runs `body`; what RocksDB or the standard library throws becomes an errno: ENOMEM,
/// that of a std::system_error, else EIO.
template <typename Body>
auto guarded(Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM);
  } catch (const std::system_error& error) {
    const int value = error.code().value();
    return fail(value > 0 ? value : EIO);
  } catch (const std::exception&) {
    return fail(EIO);
  }
}

/// Removes the directory of a database with all in it. None there: no error.
[[nodiscard]] Status remove_database(const std::string& path);

/// The database, and the lock that keeps other processes away from it. Closed before it is
/// unlocked, so that nobody opens what is still open here.
struct Ledger::Db {
  Fd lock_fd;                          ///< held by flock(2) while it is open
  std::unique_ptr<rocksdb::DB> rocks;  ///< null: not opened yet, or closed to be replaced

  /// Makes `dir` where it is absent, and locks it. EBUSY: another process has it; ENOTDIR: it is a
  /// symlink or a file.
  [[nodiscard]] Status lock(const std::string& dir);

  /// The open database; EIO after a restart or mend that failed half-way.
  [[nodiscard]] Result<rocksdb::DB*> get() {
    if (!rocks) return fail(EIO);
    return rocks.get();
  }

  /// Whether open() makes a database, which must not be there then, or wants the one that is.
  enum class Want { kNew, kThere };
  [[nodiscard]] rocksdb::Status open(const std::string& path, Want want);

  /// Calls `visit(key, value)` for every key that begins with `prefix`, until it fails.
  template <typename Visit>
  Status each(char prefix, Visit&& visit) {
    TRY(open_db, get());
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    const std::unique_ptr<rocksdb::Iterator> it(open_db->NewIterator(options));
    const std::string start(1, prefix);
    for (it->Seek(start); it->Valid() && it->key().starts_with(start); it->Next()) {
      CHECK_OK(visit(view(it->key()), view(it->value())));
    }
    return checked(it->status());
  }
};

}  // namespace troot::quota
