// SHA-256 as OCI images name their blobs by it: "sha256:" and 64 hexadecimal digits.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace troot::archive {

/// Takes bytes and says their digest. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);
  /// "sha256:HEX" of all bytes so far. Once.
  [[nodiscard]] std::string finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

[[nodiscard]] std::string digest_of(std::string_view bytes);
/// Whether a text is a digest of this kind, so that its hexadecimal digits may be a file's name.
[[nodiscard]] bool is_digest(std::string_view text);

}  // namespace troot::archive
