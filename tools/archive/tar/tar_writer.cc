// Writes entries by libarchive (tools/archive/tar/tar_writer.h).
#include "tools/archive/tar/tar_writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <optional>

#include "fusefs/disk/acl.h"
#include "tools/archive/tar/acl_text.h"
#include "tools/archive/tar/raw_locale.h"

namespace troot::archive {
namespace {

constexpr int kTarBlock = 256 * 1024;
constexpr std::size_t kZeros = std::size_t{1} << 20;

mode_t type_of(Kind kind) {
  switch (kind) {
    case Kind::kDirectory:
      return AE_IFDIR;
    case Kind::kSymlink:
      return AE_IFLNK;
    case Kind::kFifo:
      return AE_IFIFO;
    case Kind::kCharacter:
      return AE_IFCHR;
    case Kind::kBlock:
      return AE_IFBLK;
    default:
      return AE_IFREG;
  }
}

}  // namespace

struct TarWriter::Writer {
  Sink& sink;
  ::archive* of = archive_write_new();
  archive_entry* entry = archive_entry_new();
  std::string path;
  std::uint64_t size = 0, at = 0;  ///< of the file being written
  std::optional<cli::Problem> problem;
  bool opened = false;

  explicit Writer(Sink& to) : sink(to) {}
  ~Writer() {
    archive_entry_free(entry);
    // It would end the archive: into a sink that failed, or of which the rest is missing.
    if (of != nullptr) archive_write_fail(of);
    archive_write_free(of);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  static la_ssize_t put(::archive* a, void* self, const void* bytes, std::size_t length) {
    auto& me = *static_cast<Writer*>(self);
    const auto done = me.sink.write({static_cast<const std::byte*>(bytes), length});
    if (done) return static_cast<la_ssize_t>(length);
    me.problem = done.error();
    archive_set_error(a, EIO, "unwritable");
    return ARCHIVE_FATAL;
  }
  [[nodiscard]] tl::unexpected<cli::Problem> failed() const {
    if (problem) return tl::unexpected<cli::Problem>(*problem);
    const char* const why = of != nullptr ? archive_error_string(of) : nullptr;
    return cli::failure(shown(path) + ": " + (why != nullptr ? why : "no memory"));
  }
  [[nodiscard]] cli::Done open() {
    opened = true;
    if (of == nullptr || entry == nullptr || archive_write_set_format_pax(of) != ARCHIVE_OK ||
        archive_write_set_format_option(of, "pax", "xattrheader", "SCHILY") != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(of, kTarBlock) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(of, 1) != ARCHIVE_OK ||
        archive_write_open(of, this, nullptr, &Writer::put, nullptr) != ARCHIVE_OK) {
      return failed();
    }
    return {};
  }
  void fill(const Entry& from);
  [[nodiscard]] cli::Done put_data(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const la_ssize_t n = archive_write_data(of, bytes.data(), bytes.size());
      if (n <= 0) return failed();
      bytes = bytes.subspan(static_cast<std::size_t>(n));
      at += static_cast<std::uint64_t>(n);
    }
    return {};
  }
  /// libarchive counts the bytes of holes and drops them.
  [[nodiscard]] cli::Done put_hole(std::uint64_t to) {
    static const std::vector<std::byte> zeros(kZeros);
    while (at < to)
      NEED(put_data(std::span(zeros).first(std::min<std::uint64_t>(kZeros, to - at))));
    return {};
  }
};

void TarWriter::Writer::fill(const Entry& from) {
  archive_entry_clear(entry);
  archive_entry_set_pathname(entry, from.path.c_str());
  archive_entry_set_mode(entry, type_of(from.kind) | from.mode);
  archive_entry_set_uid(entry, from.uid);
  archive_entry_set_gid(entry, from.gid);
  archive_entry_set_mtime(entry, from.mtime.tv_sec, from.mtime.tv_nsec);
  archive_entry_set_size(entry, from.kind == Kind::kFile ? static_cast<la_int64_t>(from.size) : 0);
  if (from.kind == Kind::kSymlink) archive_entry_set_symlink(entry, from.link.c_str());
  if (from.kind == Kind::kHardLink) {
    archive_entry_set_hardlink(entry, from.link.c_str());
    return;
  }
  if (from.kind == Kind::kCharacter || from.kind == Kind::kBlock) {
    archive_entry_set_rdevmajor(entry, major(from.rdev));
    archive_entry_set_rdevminor(entry, minor(from.rdev));
  }
  for (const Extent& e : from.data)
    archive_entry_sparse_add_entry(entry, static_cast<la_int64_t>(e.offset),
                                   static_cast<la_int64_t>(e.length));
  for (const auto& [name, value] : from.xattrs) {
    // Both ways of saying it: tar reads the one, container programs the other.
    if (fusefs::is_acl(name)) (void)add_acl(entry, name, value);
    archive_entry_xattr_add_entry(entry, name.c_str(), value.data(), value.size());
  }
}

TarWriter::TarWriter(Sink& sink) : writer_(std::make_unique<Writer>(sink)) {}
TarWriter::~TarWriter() = default;

cli::Done TarWriter::begin(const Entry& entry) {
  Writer& w = *writer_;
  const LocaleScope scope(writing_locale());
  w.path = entry.path;
  if (!w.opened) NEED(w.open());
  w.fill(entry);
  w.size = entry.kind == Kind::kFile ? entry.size : 0;
  w.at = 0;
  const int rc = archive_write_header(w.of, w.entry);
  // A name that is no UTF-8 is written as it is, with a warning.
  if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) return w.failed();
  return {};
}

cli::Done TarWriter::data(const Piece& piece) {
  Writer& w = *writer_;
  if (piece.offset < w.at || piece.offset > w.size || piece.bytes.size() > w.size - piece.offset)
    return cli::failure(shown(w.path) + ": its data does not fit its size");
  NEED(w.put_hole(piece.offset));
  return w.put_data(piece.bytes);
}

cli::Done TarWriter::end() {
  Writer& w = *writer_;
  NEED(w.put_hole(w.size));
  const LocaleScope scope(writing_locale());
  if (archive_write_finish_entry(w.of) != ARCHIVE_OK) return w.failed();
  return {};
}

cli::Done TarWriter::finish() {
  Writer& w = *writer_;
  if (!w.opened) NEED(w.open());
  if (archive_write_close(w.of) != ARCHIVE_OK) return w.failed();
  return {};
}

}  // namespace troot::archive
