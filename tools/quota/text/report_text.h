// The reports of repquota and quota as text, to the character as quota-tools print
// them. Pure: rows in, text out.
#pragma once

#include <string>
#include <vector>

#include "tools/quota/client/projects.h"
#include "tools/quota/client/server.h"
#include "tools/quota/text/amounts.h"

namespace troot::quota_tools {

enum class Format { kDefault, kCsv, kXml };

struct ReportOptions {
  Format format = Format::kDefault;
  Units units;
  bool verbose = false;    ///< rows without usage too
  bool numeric = false;    ///< no names
  bool by_id = false;      ///< ascending ids; else named ones first, in the order of /etc/projid
  bool truncate = false;   ///< names to 9 characters
  bool raw_grace = false;  ///< the end of grace in seconds since the epoch
};

/// Without the frame that XML has around all mounts.
[[nodiscard]] std::string report_text(const Place& place, const State& state, std::vector<Row> rows,
                                      const Projects& names, const ReportOptions& options,
                                      std::int64_t now);

struct QuotaOptions {
  Units units;
  bool verbose = false;
  bool quiet = false;  ///< only what is over
  bool raw_grace = false;
  bool one_line = false;  ///< no line break after a long device
  bool show_point = false;
  bool hide_device = false;
};
/// One project on one mount.
struct QuotaRow {
  Place place;
  Row row;
};
struct QuotaText {
  std::string text;
  bool over = false;
};
[[nodiscard]] QuotaText quota_text(const std::vector<QuotaRow>& rows, std::uint32_t project,
                                   const Projects& names, const QuotaOptions& options,
                                   std::int64_t now);

}  // namespace troot::quota_tools
