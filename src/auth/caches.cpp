#include <array>

#include "auth/crypto.hpp"
#include "auth/scram_exchange.hpp"

#include "pgproxy/auth/client_key_cache.hpp"
#include "pgproxy/auth/random.hpp"
#include "pgproxy/auth/verifier_cache.hpp"
#include "pgproxy/base/assert.hpp"

namespace pgproxy::auth {
namespace {

ScramKey random_key() {
  ScramKey key{};
  fill_random(key);
  return key;
}

/// As long as PostgreSQL's.
constexpr std::size_t salt_bytes = 16;

/// The key is drawn when this process first asks: the same on every loop.
std::string salt_of(std::string_view user) {
  static const ScramKey process_key = random_key();
  const ScramKey key = hmac_sha256(process_key, user);
  return std::string(as_text(key).substr(0, salt_bytes));
}

}  // namespace

VerifierCache::VerifierCache(std::uint32_t iterations, bool has_verifiers)
    : iterations_(iterations), has_verifiers_(has_verifiers) {
  PGPROXY_ASSERT(iterations > 0);
}

bool VerifierCache::has(const std::string& user, std::string_view password) const {
  const std::lock_guard lock(mutex_);
  const auto at = entries_.find(user);
  return at != entries_.end() && at->second.password == password;
}

ScramVerifier VerifierCache::of_password(const std::string& user, std::string_view password) {
  {
    const std::lock_guard lock(mutex_);
    const auto at = entries_.find(user);
    if (at != entries_.end() && at->second.password == password) return at->second.verifier;
  }
  Entry entry{std::string(password), make_verifier(password, salt_of(user), iterations_)};
  const std::lock_guard lock(mutex_);
  return (entries_[user] = std::move(entry)).verifier;
}

ScramVerifier VerifierCache::mock(std::string_view user) const {
  // Nobody is ever shown these two, and no proof leads to a key that was drawn: one pair will do.
  static const ScramKey stored_key = random_key();
  static const ScramKey server_key = random_key();
  return {.iterations = iterations_,
          .salt = salt_of(user),
          .stored_key = stored_key,
          .server_key = server_key};
}

ScramClientKeys ClientKeyCache::keys(const std::string& password, const std::string& salt,
                                     std::uint32_t iterations) {
  Source source{password, salt, iterations};
  if (const auto at = entries_.find(source); at != entries_.end()) return at->second;
  if (entries_.size() >= max_entries) entries_.clear();
  const ScramClientKeys keys = derive_keys(password, salt, iterations);
  entries_.emplace(std::move(source), keys);
  return keys;
}

}  // namespace pgproxy::auth
