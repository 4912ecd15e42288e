#include "pgproxy/auth/verifier_warmup.hpp"

#include <deque>
#include <doctest/doctest.h>

using namespace pgproxy;
using namespace pgproxy::auth;

namespace {

/// Runs jobs when it is told.
class Executor final : public io::Executor {
 public:
  std::unique_ptr<io::PendingJob> submit(std::unique_ptr<io::Job> job) override {
    jobs_.push_back({std::move(job), std::make_shared<bool>(true)});
    return std::make_unique<Pending>(jobs_.back().is_wanted);
  }
  unsigned thread_count() const override { return 1; }

  std::size_t waiting() const { return jobs_.size(); }
  void run_one() {
    REQUIRE_FALSE(jobs_.empty());
    const Entry entry = std::move(jobs_.front());
    jobs_.pop_front();
    if (*entry.is_wanted) entry.job->run();
    if (*entry.is_wanted) entry.job->on_done();
  }

 private:
  struct Entry {
    std::unique_ptr<io::Job> job;
    std::shared_ptr<bool> is_wanted;
  };
  struct Pending final : io::PendingJob {
    explicit Pending(std::shared_ptr<bool> of) : is_wanted(std::move(of)) {}
    ~Pending() override { *is_wanted = false; }
    std::shared_ptr<bool> is_wanted;
  };
  std::deque<Entry> jobs_;
};

const std::map<std::string, std::string, std::less<>> secrets = {
    {"ann", "secret"},
    {"bob", "other"},
    {"hashed", "md5c59ec932d911ffdf487595b5a2adf973"},
    {"nobody", ""},
};

}  // namespace

TEST_CASE("the verifiers of plain passwords are derived one after the other") {
  Executor executor;
  const auto cache = std::make_shared<VerifierCache>(4);
  const VerifierWarmup warmup(executor, cache, secrets);
  for (int count = 0; count < 2; ++count) {
    CHECK(executor.waiting() == 1);
    executor.run_one();
  }
  CHECK(executor.waiting() == 0);
  CHECK(cache->has("ann", "secret"));
  CHECK(cache->has("bob", "other"));
  CHECK_FALSE(cache->has("hashed", secrets.at("hashed")));
  CHECK_FALSE(cache->has("nobody", ""));
}

TEST_CASE("what is known is not derived again, and what is given up not at all") {
  Executor executor;
  const auto cache = std::make_shared<VerifierCache>(4);
  cache->of_password("ann", "secret");
  {
    const VerifierWarmup warmup(executor, cache, secrets);
    CHECK(executor.waiting() == 1);
  }
  executor.run_one();
  CHECK(executor.waiting() == 0);
  CHECK_FALSE(cache->has("bob", "other"));
  const VerifierWarmup warmup(executor, cache, {{"ann", "secret"}});
  CHECK(executor.waiting() == 0);
}
