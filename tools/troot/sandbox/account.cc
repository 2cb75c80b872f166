// Lines of passwd(5) and group(5), and the calls that change ids.
#include "tools/troot/sandbox/account.h"

#include <grp.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <sstream>

namespace troot::cli {
namespace {

constexpr std::size_t kNameField = 0, kUidField = 2, kGidField = 3, kHomeField = 5, kShellField = 6,
                      kMembersField = 3;

std::vector<std::string> split(const std::string& line, char separator) {
  std::vector<std::string> fields;
  std::istringstream in(line);
  for (std::string field; std::getline(in, field, separator);) fields.push_back(field);
  return fields;
}

std::optional<std::uint32_t> number_of(const std::string& text) {
  std::uint32_t id = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, id);
  // The highest is "no id" to the calls that take one.
  if (text.empty() || stop != end || error != std::errc() || id == UINT32_MAX) return std::nullopt;
  return id;
}

/// The first line with this number or, if it is none, with this name.
std::optional<std::vector<std::string>> line_of(const std::string& table, const std::string& word) {
  const auto id = number_of(word);
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    auto fields = split(line, ':');
    if (fields.size() <= kUidField) continue;
    const auto number = number_of(fields[kUidField]);
    if (number && (id ? number == id : fields[kNameField] == word)) return fields;
  }
  return std::nullopt;
}

std::string field(const std::vector<std::string>& fields, std::size_t index) {
  return index < fields.size() ? fields[index] : "";
}

std::vector<gid_t> groups_with(const std::string& member, const std::string& group) {
  std::vector<gid_t> found;
  std::istringstream lines(group);
  for (std::string line; std::getline(lines, line);) {
    const auto fields = split(line, ':');
    const auto gid = number_of(field(fields, kUidField));
    const auto members = split(field(fields, kMembersField), ',');
    if (gid && std::find(members.begin(), members.end(), member) != members.end())
      found.push_back(*gid);
  }
  return found;
}

/// The user; its groups are still to come.
Outcome<Account> user_of(const std::string& said, const std::string& passwd) {
  const auto line = line_of(passwd, said);
  Account account;
  if (line) {
    account.uid = *number_of((*line)[kUidField]);
    account.gid = number_of(field(*line, kGidField)).value_or(0);
    account.name = (*line)[kNameField];
    account.home = field(*line, kHomeField);
    account.shell = field(*line, kShellField);
  } else if (const auto uid = number_of(said)) {
    account.uid = *uid;
  } else {
    return failure("the world's /etc/passwd has no user '" + said + "'");
  }
  const bool root = account.uid == 0;
  if (account.name.empty()) account.name = root ? "root" : std::to_string(account.uid);
  if (account.home.empty()) account.home = root ? "/root" : "/";
  return account;
}

}  // namespace

Outcome<Account> account_of(const std::string& said, const std::string& passwd,
                            const std::string& group) {
  const std::size_t colon = said.find(':');
  if (said.empty()) {
    TAKE(root, user_of("0", passwd));
    root.gid = 0;
    return root;
  }
  TAKE(account, user_of(said.substr(0, colon), passwd));
  const std::string wanted = colon == std::string::npos ? "" : said.substr(colon + 1);
  if (wanted.empty()) {
    account.groups = groups_with(account.name, group);
    return account;
  }
  const auto line = line_of(group, wanted);
  const auto gid = line ? number_of((*line)[kUidField]) : number_of(wanted);
  if (!gid) return failure("the world's /etc/group has no group '" + wanted + "'");
  account.gid = *gid;
  return account;
}

Done become_account(const Account& account) {
  const std::string what = "become the user " + account.name + " (" + std::to_string(account.uid) +
                           ":" + std::to_string(account.gid) + ")";
  const auto refused = [&what] {
    if (errno != EINVAL) return failure_errno(what);
    return failure(what +
                   ": the world has no such id (more come from /etc/subuid and /etc/subgid)");
  };
  if (::setgroups(account.groups.size(), account.groups.data()) != 0) return refused();
  if (::setresgid(account.gid, account.gid, account.gid) != 0) return refused();
  if (::setresuid(account.uid, account.uid, account.uid) != 0) return refused();
  return {};
}

}  // namespace troot::cli
