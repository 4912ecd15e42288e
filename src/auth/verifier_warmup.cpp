#include "pgproxy/auth/verifier_warmup.hpp"

#include "auth/secret.hpp"

namespace pgproxy::auth {

class VerifierWarmup::Derivation final : public io::Job {
 public:
  Derivation(VerifierWarmup& warmup, std::pair<std::string, std::string> user)
      : warmup_(warmup), cache_(warmup.cache_), user_(std::move(user)) {}

  void run() override { cache_->of_password(user_.first, user_.second); }
  void on_done() override { warmup_.derive_next(); }

 private:
  VerifierWarmup& warmup_;  ///< may be gone by the time of run()
  const std::shared_ptr<VerifierCache> cache_;
  const std::pair<std::string, std::string> user_;
};

VerifierWarmup::VerifierWarmup(io::Executor& executor, std::shared_ptr<VerifierCache> cache,
                               const std::map<std::string, std::string, std::less<>>& secrets)
    : executor_(executor), cache_(std::move(cache)) {
  for (const auto& [user, secret] : secrets) {
    if (parse_secret(&secret).kind == Secret::Kind::plain) left_.emplace_back(user, secret);
  }
  derive_next();
}

VerifierWarmup::~VerifierWarmup() = default;

void VerifierWarmup::derive_next() {
  while (!left_.empty() && cache_->has(left_.back().first, left_.back().second)) left_.pop_back();
  if (left_.empty()) return derivation_.reset();
  auto user = std::move(left_.back());
  left_.pop_back();
  derivation_ = executor_.submit(std::make_unique<Derivation>(*this, std::move(user)));
}

}  // namespace pgproxy::auth
