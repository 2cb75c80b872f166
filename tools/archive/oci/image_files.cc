// Finds files in a directory or a tar (tools/archive/oci/image_files.h).
#include "tools/archive/oci/image_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "fusefs/base/posix.h"
#include "tools/archive/tar/tar_reader.h"
#include "tools/archive/tree/dir_chain.h"
#include "tools/archive/tree/entry_path.h"

namespace troot::archive {
namespace {

namespace posix = fusefs::posix;
constexpr std::size_t kMostMembers = 100'000;
constexpr int kMostLinks = 8;

/// `path` seen from the directory of `from`, without "." and ".."; nullopt: it leads out.
std::optional<std::string> resolved(std::string_view from, std::string_view path) {
  std::vector<std::string_view> names;
  const auto add = [&names](std::string_view rest) {
    while (!rest.empty()) {
      const std::size_t slash = rest.find('/');
      const std::string_view one = rest.substr(0, slash);
      rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
      if (one.empty() || one == ".") continue;
      if (one == ".." && names.empty()) return false;
      if (one == "..") {
        names.pop_back();
      } else {
        names.push_back(one);
      }
    }
    return true;
  };
  const std::size_t slash = from.rfind('/');
  if (path.starts_with('/') || !add(from.substr(0, slash == std::string_view::npos ? 0 : slash)) ||
      !add(path))
    return std::nullopt;
  std::string text;
  for (const std::string_view one : names) (text += text.empty() ? "" : "/") += one;
  return text;
}

/// What `source` gives, in a file without a name.
cli::Outcome<Fd> spilled(Source& source, int directory) {
  Fd fd(::openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd.valid()) return cli::failure_errno(source.name() + ": a file to keep it in meanwhile");
  std::uint64_t at = 0;
  for (;;) {
    TAKE(piece, source.read());
    if (piece.empty()) break;
    const auto n = posix::pwrite(fd.get(), piece, static_cast<off_t>(at));
    if (!n || *n < piece.size())
      return cli::failure_errno(source.name() + ": keeping it meanwhile",
                                n ? ENOSPC : n.error().value());
    at += *n;
  }
  NEED(source.finish());
  return fd;
}

/// Whether a file can be looked at where it lies.
bool lies_plain(int fd) {
  struct stat st;
  std::array<std::byte, 8> first{};
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return false;
  const ssize_t n = ::pread(fd, first.data(), first.size(), 0);
  return n > 0 &&
         compression_of(std::span(first).first(static_cast<std::size_t>(n))) == Compression::kNone;
}

}  // namespace

std::string ImageFiles::called(const std::string& file) const { return name_ + ": " + shown(file); }

cli::Outcome<ImageFiles> ImageFiles::open(const std::string& path, int spill,
                                          const Progress& progress) {
  ImageFiles files;
  files.name_ = path == "-" ? "standard input" : path;
  if (path != "-") {
    files.fd_.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    struct stat st;
    if (!files.fd_.valid() || ::fstat(files.fd_.get(), &st) != 0) return cli::failure_errno(path);
    files.is_directory_ = S_ISDIR(st.st_mode);
    if (files.is_directory_) return files;
  }
  if (path == "-" || !lies_plain(files.fd_.get())) {
    SourceOptions options;
    options.progress = progress;
    auto source = path == "-" ? Source::open(path, std::move(options))
                              : Source::take(std::move(files.fd_), path, std::move(options));
    if (!source) return tl::unexpected<cli::Problem>(source.error());
    TAKE(fd, spilled(*source, spill));
    files.fd_ = std::move(fd);
  }
  NEED(files.scan());
  return files;
}

cli::Done ImageFiles::scan() {
  TarReader reader(fd_.get(), name_);
  for (;;) {
    TAKE(entry, reader.next());
    if (entry == nullptr) break;
    const auto file = resolved("", entry->path);
    if (!file) return reader.refuse("its name leads out of the image");
    if (members_.size() + links_.size() >= kMostMembers)
      return reader.refuse("an image has not so many files; is it a tar of a root directory?");
    members_.erase(*file);
    links_.erase(*file);
    if (entry->kind == Kind::kFile) {
      if (entry->sparse) return reader.refuse("a sparse file, which an image has not");
      members_[*file] = {reader.position(), entry->size};
    } else if (entry->kind == Kind::kSymlink || entry->kind == Kind::kHardLink) {
      const bool from_root = entry->kind == Kind::kHardLink;
      const auto to = resolved(from_root ? "" : std::string_view(*file), entry->link);
      if (to) links_[*file] = *to;
    }
  }
  return {};
}

cli::Outcome<ImageFiles::Place> ImageFiles::find(const std::string& file) const {
  const auto absent = [&] {
    return cli::failure(called(file) +
                        ": not there; the image is not whole, make or fetch it again");
  };
  if (!is_directory_) {
    auto one = resolved("", file);
    for (int hop = 0; one && hop < kMostLinks; ++hop) {
      if (const auto it = members_.find(*one); it != members_.end()) {
        Fd fd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
        if (!fd.valid()) return cli::failure_errno(name_);
        return Place{std::move(fd), it->second};
      }
      const auto link = links_.find(*one);
      if (link == links_.end()) break;
      one = link->second;
    }
    return absent();
  }
  const auto names = parts_of(file, Absolute::kRefused);
  if (!names || names->empty()) return absent();
  DirChain chain(fd_.get());
  const auto reached = chain.walk({names->begin(), names->end() - 1});
  if (reached.error != 0) return absent();
  auto fd = posix::open_at(reached.fd, fusefs::CName(names->back()).get(), O_RDONLY | O_NONBLOCK);
  if (!fd)
    return fd.error() == ENOENT ? absent() : cli::failure_errno(called(file), fd.error().value());
  struct stat st;
  if (::fstat(fd->get(), &st) != 0) return cli::failure_errno(called(file));
  if (!S_ISREG(st.st_mode)) return cli::failure(called(file) + ": not a file");
  return Place{std::move(*fd), {0, static_cast<std::uint64_t>(st.st_size)}};
}

bool ImageFiles::has(std::string_view file) const { return find(std::string(file)).has_value(); }

cli::Outcome<std::uint64_t> ImageFiles::size(const std::string& file) const {
  TAKE(place, find(file));
  return place.range.length;
}

cli::Outcome<std::string> ImageFiles::text(const std::string& file, std::uint64_t most) const {
  TAKE(place, find(file));
  if (place.range.length > most)
    return cli::failure(called(file) + ": longer than " + std::to_string(most) +
                        " bytes, which no image has there");
  std::string text(place.range.length, '\0');
  const auto n = posix::pread(place.fd.get(), std::as_writable_bytes(std::span(text)),
                              static_cast<off_t>(place.range.offset));
  if (!n) return cli::failure_errno(called(file), n.error().value());
  if (*n != text.size()) return cli::failure(called(file) + ": cut off; fetch the image again");
  return text;
}

cli::Outcome<Source> ImageFiles::source(const std::string& file, SourceOptions options) const {
  TAKE(place, find(file));
  return Source::take(std::move(place.fd), called(file), std::move(options), place.range);
}

}  // namespace troot::archive
