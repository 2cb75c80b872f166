// What owns it: the names of one directory in memory, merged over the layers. A table of buckets in
// the order of the names' hashes, so that a name's hash is its directory cookie: a listing resumes
// at any cookie, after any change, in any server, and each name that stayed is seen exactly once.
// Names of one hash, however many, take the cookies that follow it.
//
// Thread-safety: guarded by the directory's lock; find and next_after under a shared one.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace troot::fusefs {

struct Inode;

/// One name. Allocated with its text behind it; freed by free_name.
struct Name {
  Name* next;                        ///< in its bucket
  std::atomic<Inode*> inode;         ///< when known to the kernel by this name
  std::uint64_t cookie;              ///< of the directory listing
  std::atomic<std::uint16_t> layer;  ///< the topmost layer that has it
  unsigned char d_type;              ///< as that layer's getdents said
  std::atomic<unsigned char>
      flags;  ///< a copy-up changes flags and layer under the inode's loc alone
  unsigned char length;
  char text[1];  ///< NUL-terminated

  static constexpr unsigned char kWhiteout =
      1;                                      ///< lies in the upper, hides what is below; not shown
  static constexpr unsigned char kBelow = 2;  ///< an object lies in a lower layer beneath
  static constexpr unsigned char kSealed =
      4;  ///< while loading: a whiteout in a lower layer was met

  [[nodiscard]] std::string_view view() const { return {text, length}; }
  [[nodiscard]] bool whiteout() const { return flags & kWhiteout; }
  [[nodiscard]] bool below() const { return flags & kBelow; }
  /// Whether taking the name away uncovers an object of a lower layer.
  [[nodiscard]] bool covers() const { return layer != 0 || below(); }
};
[[nodiscard]] Name* new_name(std::string_view text, std::uint16_t layer, unsigned char d_type,
                             unsigned char flags);
void free_name(Name* name) noexcept;

/// Cookies 1 and 2 are "." and ".."; names have larger ones, below 2^62.
inline constexpr std::uint64_t kDotCookie = 1, kDotDotCookie = 2, kFirstCookie = 16;

class NameTable {
 public:
  NameTable() = default;
  NameTable(const NameTable&) = delete;
  NameTable& operator=(const NameTable&) = delete;
  ~NameTable() { clear(); }

  /// Whiteouts are found too.
  [[nodiscard]] Name* find(std::string_view text) const noexcept;
  /// Makes sure that insert() does not throw. Throws std::bad_alloc.
  void reserve();
  /// Takes `name`, which must not be there. Throws std::bad_alloc, and frees it, where the table
  /// has no bucket yet and there is no memory for one.
  void insert(Name* name);
  /// Takes it out; the caller owns it again.
  void take(Name* name) noexcept;
  /// The name with the smallest cookie larger than `cookie`, or null.
  [[nodiscard]] Name* next_after(std::uint64_t cookie) const noexcept;
  [[nodiscard]] std::uint32_t size() const noexcept { return count_; }
  void clear() noexcept;
  void swap(NameTable& other) noexcept;
  /// Visits every name; the callback must not change the table.
  template <typename F>
  void each(F f) const {
    for (std::uint32_t b = 0; b < buckets(); ++b) {
      for (Name* n = table_[b]; n != nullptr;) {
        Name* next = n->next;
        f(n);
        n = next;
      }
    }
  }

 private:
  [[nodiscard]] std::uint32_t buckets() const { return table_ == nullptr ? 0 : 1U << bits_; }
  [[nodiscard]] std::uint32_t bucket(std::uint64_t cookie) const;
  void grow() noexcept;

  Name** table_ = nullptr;
  std::uint32_t count_ = 0;
  std::uint32_t bits_ = 0;
  std::uint64_t reach_ = 0;  ///< how far a name's cookie ever was from its hash
};

}  // namespace troot::fusefs
