// The text of quota/charges.h.
#include "quota/charges.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <sstream>

#include "quota/base/fd.h"
#include "quota/crc32.h"
#include "quota/small_file.h"

namespace troot::quota {
namespace {

constexpr unsigned kVersion = 1;
constexpr const char* kTitle = "troot-charges ";
constexpr const char* kSum = "sum ";

/// One line of a project. False: it is none.
bool parse_line(const std::string& line, Charges& charges) {
  unsigned long id = 0;
  long long bytes = 0, inodes = 0;
  int end = 0;
  const int read =
      std::sscanf(line.c_str(), "project %lu bytes=%lld inodes=%lld%n", &id, &bytes, &inodes, &end);
  if (read != 3 || static_cast<std::size_t>(end) != line.size()) return false;
  if (id > UINT32_MAX || bytes < 0 || inodes < 0) return false;
  return charges.emplace(static_cast<std::uint32_t>(id), Usage{bytes, inodes}).second;
}

}  // namespace

void add(Charges& sum, const Charges& more) {
  for (const auto& [id, usage] : more) sum[id] = sum[id] + usage;
}

std::string render_charges(const Charges& charges) {
  std::string text = kTitle + std::to_string(kVersion) + '\n';
  for (const auto& [id, usage] : charges) {
    if (usage == Usage{}) continue;
    text += "project " + std::to_string(id) + " bytes=" + std::to_string(usage.bytes) +
            " inodes=" + std::to_string(usage.inodes) + '\n';
  }
  return text + kSum + crc32_text(text) + '\n';
}

Result<std::optional<Charges>> parse_charges(const std::string& text) {
  const std::size_t last = text.rfind(kSum);
  if (last == std::string::npos ||
      text != text.substr(0, last) + kSum + crc32_text(text.substr(0, last)) + '\n')
    return std::optional<Charges>();
  std::istringstream in(text.substr(0, last));
  std::string line;
  std::getline(in, line);
  unsigned version = 0;
  if (!line.starts_with(kTitle) || std::sscanf(line.c_str(), "%*s %u", &version) != 1)
    return std::optional<Charges>();
  if (version > kVersion) return fail(EPROTONOSUPPORT);
  Charges charges;
  while (std::getline(in, line)) {
    if (!parse_line(line, charges)) return std::optional<Charges>();
  }
  return std::optional(std::move(charges));
}

Result<std::optional<Charges>> read_charges(const std::string& path) {
  TRY(text, read_file(path));
  return text ? parse_charges(*text) : std::optional<Charges>();
}

Status write_charges(const std::string& path, const Charges& charges) {
  const std::string text = render_charges(charges);
  const std::string tmp = path + ".tmp";
  (void)::unlink(tmp.c_str());
  Fd fd(::open(tmp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return fail_errno();
  Status status = write_all(fd.get(), text);
  fd.reset();
  if (status && ::rename(tmp.c_str(), path.c_str()) != 0) status = fail_errno();
  if (!status) ::unlink(tmp.c_str());
  return status;
}

}  // namespace troot::quota
