#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "pgproxy/auth/scram.hpp"

namespace pgproxy::auth {

/// SCRAM verifiers made from plain passwords, one per user, so that a login storm does not pay
/// PBKDF2 each time. Thread safe: what takes long is done without a lock. Also makes the mock
/// verifiers of unknown users.
/// Salts are derived from the user's name with a key drawn once per process: known and unknown
/// users alike show one salt for the life of the process, on every loop.
class VerifierCache {
 public:
  /// PostgreSQL's and PgBouncer's default of scram_iterations.
  static constexpr std::uint32_t default_iterations = 4096;

  /// `iterations`: PBKDF2 rounds of the verifiers made here, at least 1 (setting scram_iterations).
  /// `has_verifiers`: what is stored for users are SCRAM secrets, at least in part. To change one
  /// of them later, make a new cache.
  explicit VerifierCache(std::uint32_t iterations = default_iterations, bool has_verifiers = false);
  std::uint32_t iterations() const { return iterations_; }
  bool has_verifiers() const { return has_verifiers_; }

  /// The verifier of a plain `password`; derived (a millisecond or so) when the user has none yet
  /// or another password than last time. Holds one entry per name ever given: known users only.
  ScramVerifier of_password(const std::string& user, std::string_view password);
  /// Whether of_password() has it already.
  bool has(const std::string& user, std::string_view password) const;

  /// A verifier that no password satisfies; looks from outside as that of a known user does.
  ScramVerifier mock(std::string_view user) const;

 private:
  struct Entry {
    std::string password;
    ScramVerifier verifier;
  };

  const std::uint32_t iterations_;
  const bool has_verifiers_;
  mutable std::mutex mutex_;  ///< guards what follows
  std::unordered_map<std::string, Entry> entries_;
};

}  // namespace pgproxy::auth
