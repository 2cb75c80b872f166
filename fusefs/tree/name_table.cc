// What owns it: see name_table.h.
#include "fusefs/tree/name_table.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace troot::fusefs {
namespace {

constexpr unsigned kHashBits = 62;
/// Hashes are so far apart that a few names of one do not meet those of the next.
constexpr std::uint64_t kHashStep = 16;
/// Room above the largest hash for more names of it than a table holds.
constexpr std::uint64_t kLastHash = (std::uint64_t{1} << kHashBits) - (std::uint64_t{1} << 33);

/// A hash whose value is part of the protocol (cookies outlive the server), so it must never
/// change.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325ULL;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  h ^= h >> 32;  // the finaliser spreads FNV's weak high bits
  h *= 0xd6e8feb86659fd93ULL;
  h ^= h >> 32;
  h *= 0xd6e8feb86659fd93ULL;
  h ^= h >> 32;
  h = (h >> (64 - kHashBits)) & ~(kHashStep - 1);
  return std::clamp(h, kFirstCookie, kLastHash);
}

}  // namespace

Name* new_name(std::string_view text, std::uint16_t layer, unsigned char d_type,
               unsigned char flags) {
  void* memory = std::malloc(offsetof(Name, text) + text.size() + 1);
  if (memory == nullptr) throw std::bad_alloc();
  Name* n = new (memory) Name;
  n->next = nullptr;
  n->inode.store(nullptr, std::memory_order_relaxed);
  n->cookie = hash_of(text);
  n->layer = layer;
  n->d_type = d_type;
  n->flags = flags;
  n->length = static_cast<unsigned char>(text.size());
  std::memcpy(n->text, text.data(), text.size());
  n->text[text.size()] = '\0';
  return n;
}

void free_name(Name* name) noexcept { std::free(name); }

std::uint32_t NameTable::bucket(std::uint64_t cookie) const {
  return bits_ == 0 ? 0 : static_cast<std::uint32_t>(cookie >> (kHashBits - bits_));
}

Name* NameTable::find(std::string_view text) const noexcept {
  if (count_ == 0) return nullptr;
  const std::uint64_t h = hash_of(text), last = h + reach_;
  for (std::uint32_t b = bucket(h); b <= bucket(last); ++b) {
    for (Name* n = table_[b]; n != nullptr && n->cookie <= last; n = n->next) {
      if (n->cookie >= h && n->view() == text) return n;
    }
  }
  return nullptr;
}

void NameTable::reserve() {
  if (table_ == nullptr) grow();
  if (table_ == nullptr) throw std::bad_alloc();
}

void NameTable::insert(Name* name) {
  if (count_ >= buckets()) grow();
  if (table_ == nullptr) {
    free_name(name);
    throw std::bad_alloc();
  }
  // Buckets are kept in the order of cookies; a name gets the first from its hash on that is free,
  // which may lie in the next bucket.
  const std::uint64_t h = hash_of(name->view());
  std::uint64_t cookie = h;
  std::uint32_t b = bucket(h);
  Name** at = &table_[b];
  while (*at != nullptr && (*at)->cookie < h) at = &(*at)->next;
  while (*at != nullptr && (*at)->cookie == cookie) {
    at = &(*at)->next;
    if (bucket(++cookie) != b) at = &table_[b = bucket(cookie)];
  }
  reach_ = std::max(reach_, cookie - h);
  name->cookie = cookie;
  name->next = *at;
  *at = name;
  ++count_;
}

void NameTable::take(Name* name) noexcept {
  for (Name** at = &table_[bucket(name->cookie)]; *at != nullptr; at = &(*at)->next) {
    if (*at != name) continue;
    *at = name->next;
    name->next = nullptr;
    --count_;
    return;
  }
}

Name* NameTable::next_after(std::uint64_t cookie) const noexcept {
  if (count_ == 0) return nullptr;
  for (std::uint32_t b = bucket(cookie < kFirstCookie ? kFirstCookie : cookie); b < buckets();
       ++b) {
    for (Name* n = table_[b]; n != nullptr; n = n->next) {
      if (n->cookie > cookie) return n;
    }
  }
  return nullptr;
}

void NameTable::clear() noexcept {
  each([](Name* n) { free_name(n); });
  std::free(table_);
  table_ = nullptr;
  count_ = bits_ = 0;
  reach_ = 0;
}

void NameTable::swap(NameTable& other) noexcept {
  std::swap(table_, other.table_);
  std::swap(count_, other.count_);
  std::swap(bits_, other.bits_);
  std::swap(reach_, other.reach_);
}

void NameTable::grow() noexcept {
  const std::uint32_t bits = table_ == nullptr ? 2 : bits_ + 1;
  auto** bigger = static_cast<Name**>(std::calloc(std::size_t{1} << bits, sizeof(Name*)));
  if (bigger == nullptr) return;  // longer chains, but right
  const std::uint32_t old = buckets();
  Name** table = table_;
  table_ = bigger;
  bits_ = bits;
  for (std::uint32_t b = 0; b < old; ++b) {
    // A chain splits into two buckets and keeps its order.
    Name** tail[2] = {nullptr, nullptr};
    for (Name* n = table[b]; n != nullptr;) {
      Name* next = n->next;
      Name**& t = tail[bucket(n->cookie) & 1U];
      if (t == nullptr) t = &table_[bucket(n->cookie)];
      *t = n;
      n->next = nullptr;
      t = &n->next;
      n = next;
    }
  }
  std::free(table);
}

}  // namespace troot::fusefs
