#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pgproxy/auth/verifier_cache.hpp"
#include "pgproxy/io/executor.hpp"

namespace pgproxy::auth {

/// Derives the verifiers of plain passwords before their users log in for the first time: that
/// login takes no longer than one of a user who does not exist. One job for each, so that others'
/// have their turn in between; given up when destroyed. Lives on one loop.
class VerifierWarmup {
 public:
  /// `secrets`: what is stored, by user; those that are no plain passwords are left out.
  VerifierWarmup(io::Executor& executor, std::shared_ptr<VerifierCache> cache,
                 const std::map<std::string, std::string, std::less<>>& secrets);
  ~VerifierWarmup();
  VerifierWarmup(const VerifierWarmup&) = delete;
  VerifierWarmup& operator=(const VerifierWarmup&) = delete;

 private:
  class Derivation;

  void derive_next();

  io::Executor& executor_;
  std::shared_ptr<VerifierCache> cache_;
  std::vector<std::pair<std::string, std::string>> left_;  ///< user, password
  std::unique_ptr<io::PendingJob> derivation_;
};

}  // namespace pgproxy::auth
