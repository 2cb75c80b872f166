// The files of an image by their names: of a directory (an OCI layout), or of a tar of them
// (`podman save`, `docker save`), compressed or not. No symlink leads out of either.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tools/archive/stream/source.h"

namespace troot::archive {

/// Thread-safe once it is open.
class ImageFiles {
 public:
  /// `path`: a directory, a file, or "-". `spill`: a directory where a tar that comes by a pipe, or
  /// compressed, is kept meanwhile without a name.
  [[nodiscard]] static cli::Outcome<ImageFiles> open(const std::string& path, int spill,
                                                     const Progress& progress);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool has(std::string_view file) const;
  /// A small file, whole; one that is longer than `most` is a problem.
  [[nodiscard]] cli::Outcome<std::string> text(const std::string& file, std::uint64_t most) const;
  [[nodiscard]] cli::Outcome<std::uint64_t> size(const std::string& file) const;
  [[nodiscard]] cli::Outcome<Source> source(const std::string& file, SourceOptions options) const;

 private:
  struct Place {
    Fd fd;
    Range range;
  };
  [[nodiscard]] cli::Outcome<Place> find(const std::string& file) const;
  [[nodiscard]] cli::Done scan();
  [[nodiscard]] std::string called(const std::string& file) const;

  std::string name_;
  Fd fd_;  ///< the directory or the tar
  bool is_directory_ = false;
  std::map<std::string, Range, std::less<>> members_;      ///< of a tar
  std::map<std::string, std::string, std::less<>> links_;  ///< of a tar: to other members
};

}  // namespace troot::archive
