#include "pgproxy/auth/random.hpp"

#include <array>
#include <bit>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "pgproxy/base/assert.hpp"

namespace pgproxy::auth {

void fill_random(std::span<std::uint8_t> bytes) {
  PGPROXY_ASSERT(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1);
}

std::uint64_t random_u64() {
  std::array<std::uint8_t, 8> bytes{};
  fill_random(bytes);
  return std::bit_cast<std::uint64_t>(bytes);
}

bool equal_in_constant_time(Bytes a, Bytes b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace pgproxy::auth
