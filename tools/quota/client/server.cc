// Asking a server, and turning its answers into rows.
#include "tools/quota/client/server.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "tools/troot/world/state.h"
#include "tools/troot/world/store.h"

namespace troot::quota_tools {
namespace {

using Line = std::map<std::string, std::string>;

template <typename Number>
std::optional<Number> value_of(const Line& line, const std::string& key) {
  const auto found = line.find(key);
  if (found == line.end()) return std::nullopt;
  Number value{};
  const char* const end = found->second.data() + found->second.size();
  if (std::from_chars(found->second.data(), end, value).ec != std::errc{}) return std::nullopt;
  return value;
}

std::uint64_t count_of(const Line& line, const std::string& key) {
  // Usage is signed on the wire; below zero it would be a mistake that `check` reports.
  return static_cast<std::uint64_t>(
      std::max<std::int64_t>(0, value_of<std::int64_t>(line, key).value_or(0)));
}

Row row_of(const Line& line) {
  Row row;
  row.project = value_of<std::uint32_t>(line, "project").value_or(0);
  row.bytes = {count_of(line, "used_bytes"),
               count_of(line, "bsoft"),
               count_of(line, "bhard"),
               value_of<std::int64_t>(line, "bytes_timer").value_or(0),
               count_of(line, "peak_bytes"),
               value_of<std::int64_t>(line, "bgrace"),
               false};
  row.inodes = {count_of(line, "used_inodes"),
                count_of(line, "isoft"),
                count_of(line, "ihard"),
                value_of<std::int64_t>(line, "inodes_timer").value_or(0),
                count_of(line, "peak_inodes"),
                value_of<std::int64_t>(line, "igrace"),
                count_of(line, "ihard_derived") != 0};
  row.failcnt = count_of(line, "failcnt");
  row.margin_bytes = count_of(line, "margin_bytes");
  row.parent = value_of<std::uint32_t>(line, "parent");
  return row;
}

}  // namespace

cli::Problem unreachable(const Place& place, Errno error) {
  switch (error.value()) {
    case EACCES:
      return {cli::Blame::kFailure,
              place.point + ": only the mount's owner and root may ask its server"};
    case EPERM:
      return {cli::Blame::kFailure,
              place.point + ": who listens at " + place.control + " is not the mount's owner"};
    case ETIMEDOUT:
      return {cli::Blame::kFailure,
              place.point +
                  ": its server does not answer; is it stopped? (kill -CONT lets it go "
                  "on)"};
    case ENOENT:
    case ECONNREFUSED:
      return {cli::Blame::kFailure, place.point + ": no server answers at " + place.control +
                                        "; is the mount from another container?"};
    default:
      return {cli::Blame::kFailure, place.point + ": " + std::strerror(error.value())};
  }
}

cli::Outcome<fusefs::ControlReply> Server::ask(const std::string& request) const {
  auto reply = fusefs::control_request(place_.control, request, {.owner = place_.owner});
  if (!reply) return tl::unexpected(unreachable(place_, reply.error()));
  if (reply->error != 0) return cli::failure(place_.point + ": " + reply->text);
  return std::move(*reply);
}

cli::Done Server::tell(const std::string& request) const {
  NEED(ask(request));
  return {};
}

cli::Outcome<std::vector<Row>> Server::rows() const {
  TAKE(reply, ask("report"));
  std::vector<Row> rows;
  rows.reserve(reply.lines.size());
  for (const Line& line : reply.lines) rows.push_back(row_of(line));
  return rows;
}

cli::Outcome<Row> Server::row(std::uint32_t project) const {
  TAKE(reply, ask("report project=" + std::to_string(project)));
  return reply.lines.empty() ? Row{} : row_of(reply.lines.front());
}

cli::Outcome<State> Server::state() const {
  TAKE(reply, ask("state"));
  State state;
  state.enforcing = reply.value("enforcing") == "on";
  Line all;
  for (const Line& line : reply.lines) {
    if (line.contains("used_bytes")) state.total = row_of(line);
    all.insert(line.begin(), line.end());
  }
  state.bytes_grace_s = value_of<std::int64_t>(all, "bgrace").value_or(0);
  state.inodes_grace_s = value_of<std::int64_t>(all, "igrace").value_or(0);
  return state;
}

cli::Outcome<Server> server_of(const std::string& path) {
  TAKE(place, find_place(path));
  return Server(std::move(place));
}

cli::Outcome<Server> server_of_target(const std::string& word) {
  const bool path = word.find('/') != std::string::npos || word == "." || word == ".." ||
                    ::access(word.c_str(), F_OK) == 0;
  if (path) return server_of(word);
  TAKE(store, cli::Store::of_user());
  TAKE(world, store.find(word));
  if (!cli::is_running(world))
    return cli::failure("the world '" + word + "' does not run (troot enter " + word +
                        " starts it)");
  return Server({word, word, world.run("control")});
}

std::vector<Server> all_servers(const std::string& tool, bool verbose) {
  std::vector<Server> servers;
  unsigned others = 0;
  for (const Mount& mount : trootfs_mounts()) {
    if (::geteuid() != 0 && mount.user && *mount.user != ::geteuid()) {
      ++others;
      continue;
    }
    auto server = server_of(mount.point);
    auto state = server ? server->state() : tl::unexpected(server.error());
    if (state) {
      servers.push_back(std::move(*server));
    } else {
      std::fprintf(stderr, "%s: %s\n", tool.c_str(), state.error().text.c_str());
    }
  }
  if (verbose && others != 0)
    std::fprintf(stderr, "%s: %u mounts of other users are left out\n", tool.c_str(), others);
  return servers;
}

}  // namespace troot::quota_tools
