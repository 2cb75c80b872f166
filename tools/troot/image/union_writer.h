// Objects of a union as entries of a tar, without a mount: through one of an ordinary user's,
// owners that the user namespace does not have would be lost.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "fusefs/overlay.h"
#include "tools/archive/stream/sink.h"
#include "tools/archive/tar/tar_writer.h"
#include "tools/archive/tree/pack.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// A lookup that is taken back at its end. Not thread-safe.
class UnionNode {
 public:
  [[nodiscard]] static Outcome<UnionNode> root(fusefs::Overlay& overlay);
  /// `path`: what messages call it.
  [[nodiscard]] static Outcome<UnionNode> find(fusefs::Overlay& overlay, const UnionNode& parent,
                                               const std::string& name, const std::string& path);
  UnionNode(UnionNode&& other) noexcept;
  UnionNode& operator=(UnionNode&&) = delete;
  ~UnionNode();

  [[nodiscard]] fusefs::NodeId id() const { return id_; }
  [[nodiscard]] const struct stat& attr() const { return attr_; }
  /// Of a directory: what lies in it, in order.
  [[nodiscard]] Outcome<std::vector<std::string>> names(const std::string& path) const;

 private:
  UnionNode(fusefs::Overlay& overlay, fusefs::NodeId id, const struct stat& attr)
      : overlay_(&overlay), id_(id), attr_(attr) {}
  fusefs::Overlay* overlay_;
  fusefs::NodeId id_;
  struct stat attr_;
};

/// What the tar is to be: in a layer some names mean something.
enum class MeantAs { kTree, kLayer };

/// Not thread-safe. Finish the sink after it.
class UnionWriter {
 public:
  UnionWriter(fusefs::Overlay& overlay, archive::Sink& sink, MeantAs meant,
              archive::Progress progress);

  /// Writes an object, without what lies in a directory. Of a file that has several names the
  /// second and later ones are hard links. The kind that it was written as: a socket is none that a
  /// tar has.
  [[nodiscard]] Outcome<archive::Kind> put(const UnionNode& node, const std::string& path);
  /// An empty file of the root's, by which a layer says something.
  [[nodiscard]] Done put_mark(const std::string& path);
  /// The root directory; no entry is counted for it.
  [[nodiscard]] Done put_root(const UnionNode& root);
  /// The mark at the end of the tar.
  [[nodiscard]] Outcome<archive::Packed> finish();

  /// A file with several names: those that were written, and how many there are.
  struct Linked {
    std::vector<std::string> names;
    nlink_t all = 0;
  };
  /// By inode number.
  [[nodiscard]] const std::map<std::uint64_t, Linked>& links() const { return links_; }
  [[nodiscard]] const archive::Packed& packed() const { return packed_; }

 private:
  [[nodiscard]] Outcome<archive::Entry> entry_of(const UnionNode& node, const std::string& path);
  [[nodiscard]] Done take_xattrs(const UnionNode& node, archive::Entry& entry);
  [[nodiscard]] Done put_whole(const archive::Entry& entry);
  [[nodiscard]] Done put_data(fusefs::NodeId id, const archive::Entry& entry);
  [[nodiscard]] std::vector<archive::Extent> data_of(fusefs::NodeId id, std::uint64_t size);

  fusefs::Overlay& overlay_;
  archive::TarWriter writer_;
  MeantAs meant_;
  archive::Progress progress_;
  std::map<std::uint64_t, Linked> links_;
  std::vector<std::byte> buffer_;
  archive::Packed packed_;
};

}  // namespace troot::cli
