// A union on plain directories, driven through the facade, and short forms of what
// tests ask of it and of the disk.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "fusefs/overlay.h"
#include "unit/catch.h"
#include "unit/scratch.h"

namespace troot::tests {

using namespace fusefs;

inline void put(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
inline std::string get(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}
inline bool is_whiteout(const std::string& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0;
}
inline void mark(const std::string& path, const char* name, const std::string& value) {
  REQUIRE(::lsetxattr(path.c_str(), name, value.data(), value.size(), 0) == 0);
}
inline std::string xattr(const std::string& path, const char* name) {
  char value[256];
  const ssize_t n = ::lgetxattr(path.c_str(), name, value, sizeof value);
  return n < 0 ? "" : std::string(value, static_cast<std::size_t>(n));
}

struct Fixture {
  Scratch dir;
  std::string lower = dir.make("lower"), upper = dir.make("upper"), work = dir.make("work");
  Config config;
  std::unique_ptr<Overlay> overlay;
  Caller caller;

  Fixture() { lay_out(); }
  /// That of another process.
  explicit Fixture(const std::string& path) : dir(path) { lay_out(); }
  void lay_out() {
    config.lowers = {lower};
    config.upper = upper;
    config.work = work;
    config.upper_owner = std::pair<uid_t, gid_t>{0, 0};
  }
  Overlay& open() {
    overlay.reset();
    auto o = Overlay::open(config);
    if (!o) FAIL(o.error().message);
    overlay = std::move(*o);
    return *overlay;
  }
  /// The upper becomes the topmost lower; a fresh one takes its place.
  void rotate() {
    overlay.reset();
    config.lowers.insert(config.lowers.begin(), upper);
    const std::string n = std::to_string(config.lowers.size());
    config.upper = upper = dir.make("upper" + n);
    config.work = work = dir.make("work" + n);
    open();
  }
  NodeId id(const std::string& path) {
    NodeId at = kRootId;
    std::istringstream parts(path);
    for (std::string part; std::getline(parts, part, '/');) {
      auto e = overlay->lookup(at, part);
      if (!e) return 0;
      at = e->id;
    }
    return at;
  }
  int err(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    const NodeId parent = slash == std::string::npos ? kRootId : id(path.substr(0, slash));
    auto e = overlay->lookup(parent, slash == std::string::npos ? path : path.substr(slash + 1));
    return e ? 0 : e.error().value();
  }
  std::string read(NodeId node) {
    std::string text(1 << 20, '\0');
    auto n = overlay->read(node, 0, std::as_writable_bytes(std::span(text)));
    if (!n) return "error " + std::to_string(n.error().value());
    text.resize(*n);
    return text;
  }
  Result<Written> write(NodeId node, off_t at, const std::string& text) {
    return overlay->write(caller, node, at, std::as_bytes(std::span(text)), {});
  }
  NodeId create(NodeId parent, const std::string& name) {
    auto e = overlay->mknod(caller, parent, name, S_IFREG | 0644, 0);
    REQUIRE(e);
    return e->id;
  }
  std::set<std::string> list(NodeId node) {
    std::set<std::string> names;
    REQUIRE(overlay->readdir(node, 0, DirMode::kNames, [&](const DirItem& i) {
      if (i.name != "." && i.name != "..") REQUIRE(names.insert(std::string(i.name)).second);
      return true;
    }));
    return names;
  }
  quota::Usage used() { return overlay->quota()->total().used; }
  /// The invariant: what is counted from the disk is what was charged.
  void check_recount() {
    const quota::Usage before = used();
    REQUIRE(overlay->quota()->audit());
    const auto audit = overlay->quota()->audit();
    quota::Usage sum;
    for (const auto& p : *audit) sum = sum + p.used;
    CHECK(sum == before);
    overlay.reset();
    boost::filesystem::remove_all(work + "/troot/ledger");
    open();
    CHECK(used().bytes == before.bytes);
    CHECK(used().inodes == before.inodes);
  }
};

}  // namespace troot::tests
