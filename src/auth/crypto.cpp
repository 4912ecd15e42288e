#include "auth/crypto.hpp"

#include <array>
#include <limits>
#include <memory>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "pgproxy/base/assert.hpp"

namespace pgproxy::auth {
namespace {

struct FreeOpenSsl {
  void operator()(EVP_MD* md) const { EVP_MD_free(md); }
  void operator()(EVP_MAC* mac) const { EVP_MAC_free(mac); }
  void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
};
template <class T>
using Owned = std::unique_ptr<T, FreeOpenSsl>;

const EVP_MD* sha256_digest() {
  static const Owned<EVP_MD> digest(EVP_MD_fetch(nullptr, "SHA256", nullptr));
  PGPROXY_ASSERT(digest);
  return digest.get();
}

/// Knows its digest already: keying it again fetches nothing.
Owned<EVP_MAC_CTX> make_hmac_context() {
  const Owned<EVP_MAC> mac(EVP_MAC_fetch(nullptr, "HMAC", nullptr));
  PGPROXY_ASSERT(mac);
  Owned<EVP_MAC_CTX> context(EVP_MAC_CTX_new(mac.get()));
  PGPROXY_ASSERT(context);
  std::array<char, 7> name = {"SHA256"};
  const std::array<OSSL_PARAM, 2> params = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name.data(), 0),
      OSSL_PARAM_construct_end()};
  PGPROXY_ASSERT(EVP_MAC_CTX_set_params(context.get(), params.data()) == 1);
  return context;
}

}  // namespace

ScramKey sha256(Bytes data) {
  ScramKey out{};
  PGPROXY_ASSERT(
      EVP_Digest(data.data(), data.size(), out.data(), nullptr, sha256_digest(), nullptr) == 1);
  return out;
}

ScramKey hmac_sha256(Bytes key, std::string_view text) {
  thread_local const Owned<EVP_MAC_CTX> context = make_hmac_context();
  ScramKey out{};
  std::size_t length = 0;
  const Bytes data = as_bytes(text);
  const bool done = EVP_MAC_init(context.get(), key.data(), key.size(), nullptr) == 1 &&
                    EVP_MAC_update(context.get(), data.data(), data.size()) == 1 &&
                    EVP_MAC_final(context.get(), out.data(), &length, out.size()) == 1;
  PGPROXY_ASSERT(done && length == out.size());
  return out;
}

ScramKey pbkdf2_sha256(std::string_view password, std::string_view salt, std::uint32_t iterations) {
  constexpr std::size_t max_int = std::numeric_limits<int>::max();
  PGPROXY_ASSERT(password.size() <= max_int && salt.size() <= max_int && iterations <= max_int);
  ScramKey out{};
  const Bytes salt_bytes = as_bytes(salt);
  PGPROXY_ASSERT(PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                                   salt_bytes.data(), static_cast<int>(salt_bytes.size()),
                                   static_cast<int>(iterations), sha256_digest(),
                                   static_cast<int>(out.size()), out.data()) == 1);
  return out;
}

std::string md5_hex(std::string_view text) {
  static const Owned<EVP_MD> digest(EVP_MD_fetch(nullptr, "MD5", nullptr));
  if (!digest) return {};
  std::array<std::uint8_t, 16> hash{};
  PGPROXY_ASSERT(
      EVP_Digest(text.data(), text.size(), hash.data(), nullptr, digest.get(), nullptr) == 1);
  std::string hex;
  for (const std::uint8_t byte : hash) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

std::string encode_base64(Bytes bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // EVP_EncodeBlock ends with a NUL
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes.data(),
                                     static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(length));
  return out;
}

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     as_bytes(text).data(), static_cast<int>(text.size()));
  if (length < 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  if (static_cast<std::size_t>(length) < padding) return std::nullopt;
  out.resize(static_cast<std::size_t>(length) - padding);
  // EVP_DecodeBlock skips white space and stops at '-'; only one spelling of a value is right.
  if (encode_base64(as_bytes(out)) != text) return std::nullopt;
  return out;
}

}  // namespace pgproxy::auth
