// SHA-256 by OpenSSL's libcrypto (tools/archive/stream/digest.h).
#include "tools/archive/stream/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <new>

namespace troot::archive {
namespace {

constexpr std::string_view kScheme = "sha256:";
constexpr std::size_t kHexDigits = 64;

}  // namespace

struct Sha256::Context {
  EVP_MD_CTX* of = EVP_MD_CTX_new();
  Context() {
    // Without memory there is nothing else that either could fail by.
    if (of == nullptr || EVP_DigestInit_ex(of, EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
  }
  ~Context() { EVP_MD_CTX_free(of); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(context_->of, bytes.data(), bytes.size()) != 1) throw std::bad_alloc();
}

std::string Sha256::finish() {
  unsigned char raw[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  if (EVP_DigestFinal_ex(context_->of, raw, &length) != 1) throw std::bad_alloc();
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text(kScheme);
  for (unsigned i = 0; i < length; ++i) {
    text += kDigits[raw[i] >> 4];
    text += kDigits[raw[i] & 15];
  }
  return text;
}

std::string digest_of(std::string_view bytes) {
  Sha256 sum;
  sum.update(std::as_bytes(std::span(bytes)));
  return sum.finish();
}

bool is_digest(std::string_view text) {
  if (!text.starts_with(kScheme)) return false;
  text.remove_prefix(kScheme.size());
  return text.size() == kHexDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace troot::archive
