// Tars made byte by byte, so that they may say anything, and trees to unpack them to.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "fusefs/base/posix.h"
#include "fusefs/base/remove_tree.h"
#include "tools/archive/stream/digest.h"
#include "tools/archive/tree/unpack.h"
#include "unit/catch.h"
#include "unit/scratch.h"

namespace troot::tests {

/// An entry as it is to stand in the tar.
struct TarEntry {
  std::string path;
  char type = '0';
  std::string data;
  std::string link;
  std::map<std::string, std::string> pax;
  unsigned mode = 0644, uid = 0, gid = 0, major = 0, minor = 0;
  std::string raw_size;  ///< in place of the data's length
};
inline TarEntry entry(std::string path, char type = '0', std::string data = "",
                      std::string link = "") {
  TarEntry e;
  e.path = std::move(path);
  e.type = type;
  e.data = std::move(data);
  e.link = std::move(link);
  if (type == '5') e.mode = 0755;
  return e;
}

class TarBytes {
 public:
  TarBytes& add(const TarEntry& e) {
    if (!e.pax.empty() || e.path.size() > 100 || e.link.size() > 100) {
      auto records = e.pax;
      if (e.path.size() > 100) records["path"] = e.path;
      if (e.link.size() > 100) records["linkpath"] = e.link;
      std::string body;
      for (const auto& [key, value] : records) body += record(key, value);
      TarEntry head = entry("pax", 'x', body);
      header(head);
    }
    header(e);
    return *this;
  }
  TarBytes& add(std::string path, char type = '0', std::string data = "", std::string link = "") {
    return add(entry(std::move(path), type, std::move(data), std::move(link)));
  }
  [[nodiscard]] std::string cut() const { return bytes_; }  ///< without the mark at the end
  [[nodiscard]] std::string whole() const { return bytes_ + std::string(1024, '\0'); }

 private:
  static std::string record(const std::string& key, const std::string& value) {
    const std::string rest = " " + key + "=" + value + "\n";
    std::size_t length = rest.size() + 1;
    while (std::to_string(length).size() + rest.size() != length) ++length;
    return std::to_string(length) + rest;
  }
  void header(const TarEntry& e) {
    char h[512] = {};
    const auto put = [&h](std::size_t at, std::size_t size, const std::string& text) {
      std::memcpy(h + at, text.data(), std::min(size, text.size()));
    };
    const auto octal = [&](std::size_t at, std::size_t size, unsigned long long value) {
      char text[32];
      std::snprintf(text, sizeof text, "%0*llo", static_cast<int>(size - 1), value);
      put(at, size - 1, text);
    };
    put(0, 100, e.path);
    octal(100, 8, e.mode);
    octal(108, 8, e.uid);
    octal(116, 8, e.gid);
    octal(124, 12, e.data.size());
    if (!e.raw_size.empty()) put(124, 12, e.raw_size);
    octal(136, 12, 1'000'000'000);
    h[156] = e.type;
    put(157, 100, e.link);
    put(257, 8, std::string("ustar\00000", 8));
    octal(329, 8, e.major);
    octal(337, 8, e.minor);
    std::memset(h + 148, ' ', 8);
    unsigned sum = 0;
    for (const char c : h) sum += static_cast<unsigned char>(c);
    octal(148, 7, sum);
    bytes_.append(h, sizeof h);
    bytes_ += e.data;
    bytes_.append((512 - e.data.size() % 512) % 512, '\0');
  }
  std::string bytes_;
};

/// A descriptor that gives `bytes`.
inline Fd memory_file(const std::string& bytes) {
  Fd fd(::memfd_create("archive", MFD_CLOEXEC));
  REQUIRE(::pwrite(fd.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return fd;
}

/// A tree that archives are unpacked to, beside a file that nothing may touch.
class Unpacker {
 public:
  Unpacker() {
    outside_ = scratch_ / "outside";
    std::FILE* f = std::fopen(outside_.c_str(), "w");
    std::fputs("untouched", f);
    std::fclose(f);
    scratch_.make("tree");
    root_.reset(::open(tree().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  [[nodiscard]] std::string tree() const { return scratch_ / "tree"; }
  [[nodiscard]] std::string outside() const { return outside_; }
  [[nodiscard]] int root() const { return root_.get(); }
  [[nodiscard]] std::string operator/(const std::string& path) const { return tree() + "/" + path; }

  /// Deeper than what Boost removes.
  ~Unpacker() {
    const Fd at(::open(scratch_.path().c_str(), O_RDONLY | O_DIRECTORY));
    fusefs::remove_tree(at.get(), "tree");
  }
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;

  cli::Outcome<archive::Unpacked> take(const std::string& bytes,
                                       archive::SourceOptions from = archive::SourceOptions()) {
    auto source = archive::Source::take(memory_file(bytes), "a.tar", std::move(from));
    if (!source) return tl::unexpected<cli::Problem>(source.error());
    return archive::unpack(*source, root_.get(), options);
  }
  /// The message of a refusal, after which nothing is there.
  std::string refused(const std::string& bytes,
                      archive::SourceOptions from = archive::SourceOptions()) {
    const auto result = take(bytes, std::move(from));
    if (result) return "taken";
    CHECK(boost::filesystem::is_empty(tree()));
    CHECK(fusefs::posix::list_xattr(root_.get(), ".").value_or("?").find("user.") ==
          std::string::npos);
    char text[32] = {};
    std::FILE* f = std::fopen(outside_.c_str(), "r");
    CHECK(std::fgets(text, sizeof text, f) != nullptr);
    std::fclose(f);
    CHECK(std::string(text) == "untouched");
    return result.error().text;
  }
  [[nodiscard]] std::string xattr(const std::string& path, const char* name) const {
    return fusefs::posix::get_xattr(AT_FDCWD, (*this / path).c_str(), name).value_or("(none)");
  }
  [[nodiscard]] struct stat stat(const std::string& path) const {
    struct stat st {};
    CHECK(::lstat((*this / path).c_str(), &st) == 0);
    return st;
  }
  [[nodiscard]] std::string text(const std::string& path) const {
    std::string out(65536, '\0');
    const Fd fd(::open((*this / path).c_str(), O_RDONLY | O_NOFOLLOW));
    const ssize_t n = ::read(fd.get(), out.data(), out.size());
    out.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    return out;
  }

  archive::UnpackOptions options;

 private:
  Scratch scratch_;
  std::string outside_;
  Fd root_;
};

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace troot::tests
