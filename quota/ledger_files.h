// How RocksDB reaches the ledger's files: without those that nobody reads, and with a look at what
// it believes unseen.
#pragma once

namespace rocksdb {
class Env;
}

namespace troot::quota {

/// The Env for rocksdb::Options. One for the process, never destroyed. Thread-safe.
[[nodiscard]] rocksdb::Env* lean_env();

}  // namespace troot::quota
