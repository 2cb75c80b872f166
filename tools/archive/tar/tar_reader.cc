// Reads entries by libarchive (tools/archive/tar/tar_reader.h).
#include "tools/archive/tar/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "fusefs/disk/acl.h"
#include "tools/archive/tar/acl_text.h"
#include "tools/archive/tar/raw_locale.h"

namespace troot::archive {
namespace {

constexpr std::uint64_t kTarUnit = 512;
constexpr std::size_t kFileBlock = 64 * 1024;
constexpr long kSecond = 1'000'000'000;

std::string text(const char* from) { return from != nullptr ? from : ""; }

timespec time_of(archive_entry* e) {
  if (!archive_entry_mtime_is_set(e)) return {};
  // Times before 1970 may come with a negative fraction.
  const long ns = archive_entry_mtime_nsec(e);
  const bool odd = ns < 0 || ns >= kSecond;
  return {archive_entry_mtime(e), odd ? 0 : ns};
}

void take_xattrs(archive_entry* e, Entry& entry) {
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  Acls acls = acls_of(e);
  if (!acls.access.empty()) entry.xattrs.emplace_back(fusefs::kAccessAcl, acls.access);
  if (!acls.standard.empty()) entry.xattrs.emplace_back(fusefs::kDefaultAcl, acls.standard);
  archive_entry_xattr_reset(e);
  while (archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK) {
    if (name == nullptr) continue;
    std::erase_if(entry.xattrs, [&](const auto& x) { return x.first == name; });
    entry.xattrs.emplace_back(name, std::string(static_cast<const char*>(value), size));
  }
  // tar may write an ACL twice: as text with names, and as it is.
  entry.lost_acl = acls.kept == AclKept::kLost &&
                   std::none_of(entry.xattrs.begin(), entry.xattrs.end(),
                                [](const auto& x) { return fusefs::is_acl(x.first); });
}

/// nullopt: what no file system here has.
std::optional<Kind> kind_of(archive_entry* e) {
  if (archive_entry_hardlink(e) != nullptr) return Kind::kHardLink;
  switch (archive_entry_filetype(e)) {
    case AE_IFREG:
      return Kind::kFile;
    case AE_IFDIR:
      return Kind::kDirectory;
    case AE_IFLNK:
      return Kind::kSymlink;
    case AE_IFIFO:
      return Kind::kFifo;
    case AE_IFCHR:
      return Kind::kCharacter;
    case AE_IFBLK:
      return Kind::kBlock;
    default:
      return std::nullopt;
  }
}

}  // namespace

struct TarReader::Reader {
  Source* source = nullptr;
  int fd = -1;
  std::string name;
  ::archive* of = archive_read_new();
  archive_entry* current = nullptr;
  Entry entry;
  std::optional<cli::Problem> problem;  ///< of the source, which libarchive cannot carry
  std::uint64_t entry_end = 0;
  bool opened = false, marked = false;

  explicit Reader(Source& from) : source(&from), name(from.name()) {}
  Reader(int from, std::string called) : fd(from), name(std::move(called)) {}
  ~Reader() { archive_read_free(of); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  static la_ssize_t more(::archive* a, void* self, const void** bytes) {
    auto& me = *static_cast<Reader*>(self);
    const auto piece = me.source->read();
    if (!piece) {
      me.problem = piece.error();
      archive_set_error(a, EIO, "unreadable");
      return ARCHIVE_FATAL;
    }
    *bytes = piece->data();
    return static_cast<la_ssize_t>(piece->size());
  }
  [[nodiscard]] tl::unexpected<cli::Problem> refuse(const std::string& why) const {
    return cli::failure(name + ": " + shown(entry.path) + ": " + why);
  }
  /// What libarchive says went wrong, in the entry or behind it.
  [[nodiscard]] tl::unexpected<cli::Problem> failed() const {
    if (problem) return tl::unexpected<cli::Problem>(*problem);
    const char* const why = archive_error_string(of);
    const std::string says = why != nullptr ? why : "cannot be read";
    if (entry.path.empty()) {
      return cli::failure(name + ": no tar archive: " + says);
    }
    return cli::failure(name + ": at or behind the entry " + shown(entry.path) + ": " + says +
                        "; the archive is cut off or damaged, fetch it again");
  }
  [[nodiscard]] cli::Done open() {
    opened = true;
    if (of == nullptr) return cli::failure_errno(name, ENOMEM);
    const bool good =
        archive_read_support_format_tar(of) == ARCHIVE_OK &&
        (source != nullptr ? archive_read_open(of, this, nullptr, &Reader::more, nullptr)
                           : archive_read_open_fd(of, fd, kFileBlock)) == ARCHIVE_OK;
    return good ? cli::Done() : failed();
  }
  [[nodiscard]] std::uint64_t position() const {
    return static_cast<std::uint64_t>(archive_filter_bytes(of, 0));
  }
  [[nodiscard]] cli::Done fill();
};

cli::Done TarReader::Reader::fill() {
  entry = Entry{};
  entry.path = text(archive_entry_pathname(current));
  const auto kind = kind_of(current);
  if (!kind) return refuse("neither a file, a directory, a link nor a device");
  entry.kind = *kind;
  entry.link = text(*kind == Kind::kHardLink ? archive_entry_hardlink(current)
                                             : archive_entry_symlink(current));
  const std::int64_t uid = archive_entry_uid(current), gid = archive_entry_gid(current);
  constexpr std::int64_t kMostId = UINT32_MAX - 1LL;
  if (uid < 0 || uid > kMostId || gid < 0 || gid > kMostId)
    return refuse("its owner " + std::to_string(uid) + ":" + std::to_string(gid) +
                  " is none that Linux has");
  entry.uid = static_cast<uid_t>(uid);
  entry.gid = static_cast<gid_t>(gid);
  entry.mode = archive_entry_perm(current) & 07777;
  const std::int64_t size = archive_entry_size_is_set(current) ? archive_entry_size(current) : 0;
  if (size < 0) return refuse("its size is negative");
  entry.size = static_cast<std::uint64_t>(size);
  entry.mtime = time_of(current);
  entry.sparse = archive_entry_sparse_count(current) > 0;
  if (*kind == Kind::kCharacter || *kind == Kind::kBlock)
    entry.rdev = makedev(static_cast<unsigned>(archive_entry_rdevmajor(current)),
                         static_cast<unsigned>(archive_entry_rdevminor(current)));
  unsigned long set = 0, clear = 0;
  archive_entry_fflags(current, &set, &clear);
  entry.lost_flags = set != 0;
  take_xattrs(current, entry);
  // An ACL and the mode are one thing: the group's bits are those of the mask.
  for (const auto& [xattr, value] : entry.xattrs) {
    const auto bits = xattr == fusefs::kAccessAcl ? fusefs::acl_mode(value) : std::nullopt;
    if (bits) entry.mode = (entry.mode & ~static_cast<mode_t>(0777)) | *bits;
  }
  return {};
}

TarReader::TarReader(Source& source) : reader_(std::make_unique<Reader>(source)) {}
TarReader::TarReader(int fd, std::string name)
    : reader_(std::make_unique<Reader>(fd, std::move(name))) {}
TarReader::~TarReader() = default;

cli::Outcome<const Entry*> TarReader::next() {
  Reader& r = *reader_;
  const LocaleScope scope(reading_locale());
  if (!r.opened) NEED(r.open());
  if (r.current != nullptr && archive_read_data_skip(r.of) < ARCHIVE_WARN) return r.failed();
  r.entry_end = r.position();
  const int rc = archive_read_next_header(r.of, &r.current);
  if (rc == ARCHIVE_EOF) {
    r.marked = r.position() >= r.entry_end + kTarUnit;
    r.current = nullptr;
    return nullptr;
  }
  if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) return r.failed();
  const std::string warning = rc == ARCHIVE_WARN ? text(archive_error_string(r.of)) : "";
  NEED(r.fill());
  // That a name is not ASCII is no fault.
  if (!warning.empty() && warning.find("can't be converted") == std::string::npos)
    return r.refuse(warning);
  return &r.entry;
}

cli::Outcome<Piece> TarReader::data() {
  Reader& r = *reader_;
  const LocaleScope scope(reading_locale());
  const void* bytes = nullptr;
  std::size_t size = 0;
  la_int64_t offset = 0;
  for (;;) {
    const int rc = archive_read_data_block(r.of, &bytes, &size, &offset);
    if (rc == ARCHIVE_EOF) return Piece{};
    if (rc != ARCHIVE_OK) return r.failed();
    if (offset < 0) return r.refuse("its map of holes is damaged");
    if (size != 0)
      return Piece{static_cast<std::uint64_t>(offset),
                   std::span(static_cast<const std::byte*>(bytes), size)};
  }
}

tl::unexpected<cli::Problem> TarReader::refuse(const std::string& why) const {
  return reader_->refuse(why);
}
std::uint64_t TarReader::position() const { return reader_->position(); }
bool TarReader::ended_by_mark() const { return reader_->marked; }

}  // namespace troot::archive
