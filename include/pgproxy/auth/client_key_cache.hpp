#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "pgproxy/auth/scram.hpp"

namespace pgproxy::auth {

/// SCRAM client keys derived from (password, salt, iterations), so that a pool of fifty does not
/// pay PBKDF2 fifty times. Bounded: when full it starts anew. Not thread safe: one per loop.
class ClientKeyCache {
 public:
  static constexpr std::size_t max_entries = 1000;

  /// The keys; derived on first use, which takes as long as the server's `iterations` say.
  /// `salt` is raw bytes. No SASLprep: see VerifierCache::of_password.
  ScramClientKeys keys(const std::string& password, const std::string& salt,
                       std::uint32_t iterations);

  std::size_t size() const { return entries_.size(); }

 private:
  struct Source {
    std::string password;
    std::string salt;
    std::uint32_t iterations = 0;
    auto operator<=>(const Source&) const = default;
  };

  std::map<Source, ScramClientKeys> entries_;
};

}  // namespace pgproxy::auth
