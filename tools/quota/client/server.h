// A server's quota as the tools see it: rows, state, and requests with errors fit for
// a person.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fusefs/control/server.h"
#include "tools/quota/client/mounts.h"

namespace troot::quota_tools {

/// One of a project's two meters.
struct Meter {
  std::uint64_t used = 0;
  std::uint64_t soft = 0;  ///< 0: none
  std::uint64_t hard = 0;
  std::int64_t timer = 0;  ///< when grace ends, seconds since the epoch; 0: not running
  std::uint64_t peak = 0;
  std::optional<std::int64_t> grace_s;  ///< the project's own
  bool derived = false;                 ///< `hard` is not stated, it follows from that of bytes
};

struct Row {
  std::uint32_t project = 0;
  Meter bytes;
  Meter inodes;
  std::uint64_t failcnt = 0;
  std::uint64_t margin_bytes = 0;
  std::optional<std::uint32_t> parent;
};

struct State {
  bool enforcing = false;
  std::int64_t bytes_grace_s = 0;
  std::int64_t inodes_grace_s = 0;
  Row total;
};

class Server {
 public:
  explicit Server(Place place) : place_(std::move(place)) {}
  [[nodiscard]] const Place& place() const { return place_; }

  /// Sends a request; an error names the mount point.
  [[nodiscard]] cli::Outcome<fusefs::ControlReply> ask(const std::string& request) const;
  [[nodiscard]] cli::Done tell(const std::string& request) const;
  /// Ascending by id.
  [[nodiscard]] cli::Outcome<std::vector<Row>> rows() const;
  /// Zeros for a project never seen.
  [[nodiscard]] cli::Outcome<Row> row(std::uint32_t project) const;
  [[nodiscard]] cli::Outcome<State> state() const;

 private:
  Place place_;
};

/// Why a server could not be asked, as a line that names the mount point.
[[nodiscard]] cli::Problem unreachable(const Place& place, Errno error);

/// The server behind a path; with `word` a world's name where it is no path.
[[nodiscard]] cli::Outcome<Server> server_of(const std::string& path);
[[nodiscard]] cli::Outcome<Server> server_of_target(const std::string& word);

/// All servers that answer. One of the caller's that does not gets a line on stderr, which begins
/// with `tool`; those of other users, whom they would refuse, one line together if `verbose`.
[[nodiscard]] std::vector<Server> all_servers(const std::string& tool, bool verbose);

}  // namespace troot::quota_tools
