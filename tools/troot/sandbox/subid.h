// The grammar of /etc/subuid and /etc/subgid (subuid(5)). Pure: text in, ranges out.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

namespace troot::cli {

/// `count` ids of the host from `first` on.
struct IdRange {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  friend bool operator==(const IdRange&, const IdRange&) = default;
};

/// The ranges of the lines that belong to `user`, by name or number. Lines that are not
/// `OWNER:FIRST:COUNT`, or that name ids past 32 bits or none, are left out, as newuidmap leaves
/// them out.
[[nodiscard]] std::vector<IdRange> parse_subids(std::string_view text, std::string_view user,
                                                uid_t uid);

/// How many ids all of them hold.
[[nodiscard]] std::uint32_t total(const std::vector<IdRange>& ranges);

/// The first `count` ids of `ranges`.
[[nodiscard]] std::vector<IdRange> truncated(const std::vector<IdRange>& ranges,
                                             std::uint32_t count);

}  // namespace troot::cli
