#include "pgproxy/pool/acquisition_test.hpp"

#include <algorithm>

#include "pgproxy/base/assert.hpp"
#include "pgproxy/base/log.hpp"

namespace pgproxy::pool {
namespace {

using std::chrono::milliseconds;

/// What is decided while a pool is on the stack is done behind it.
constexpr Duration soon = milliseconds(1);
/// How often it is looked whether all connections are idle again.
constexpr Duration settling_period = milliseconds(5);

/// The smallest that so many percent do not exceed.
Duration percentile(const std::vector<Duration>& sorted, std::size_t percent) {
  if (sorted.empty()) return Duration::zero();
  return sorted[std::max<std::size_t>(1, (sorted.size() * percent + 99) / 100) - 1];
}

}  // namespace

//  waiting -> running -> holding -> finished;  any -> finished
class AcquisitionTest::Acquirer final : public PoolClient {
 public:
  enum class State : std::uint8_t { waiting, running, holding, finished };

  Acquirer(AcquisitionTest& test, Pool& pool) : test_(test), pool_(pool) {}

  State state() const { return state_; }
  std::string server_name() const { return server_ != nullptr ? server_->host().name() : ""; }

  void start() {
    state_ = State::waiting;
    ServerConnection* server = pool_.checkout(*this);
    if (server == nullptr) return;
    --pool_.counters().server_assignment_count;
    run(*server, Duration::zero());
  }

  void stop_waiting() {
    if (state_ != State::waiting) return;
    state_ = State::finished;
    pool_.leave_queue(*this);
  }

  void give_back() {
    if (state_ != State::holding) return;
    state_ = State::finished;
    ServerConnection& server = *std::exchange(server_, nullptr);
    if (server.is_releasable()) return pool_.checkin(server);
    pool_.reset(server, true);  // health_query left a transaction open
  }

  /// The query is not waited for any longer.
  void give_up(bool cancels) {
    if (state_ != State::running) return;
    state_ = State::finished;
    pool_.reset(*std::exchange(server_, nullptr), cancels);
  }

  bool is_counted() const override { return false; }
  void on_server_granted(ServerConnection& server) override {
    run(server, pool_.loop().now() - queued_at);
  }
  void on_server_refused(const Error& error) override {
    state_ = State::finished;
    test_.on_failed("", error);
  }
  void on_reply(ServerConnection& /*server*/, Bytes /*first*/, Bytes /*second*/) override {}
  void on_reply_error(ServerConnection& /*server*/, const wire::ErrorFields& fields) override {
    error_ = {.sqlstate = std::string(fields.sqlstate),
              .message = "health_query: " + std::string(fields.message),
              .detail = std::string(fields.detail),
              .hint = std::string(fields.hint)};
  }
  void on_replies_done(ServerConnection& server) override {
    if (state_ != State::running) return;
    state_ = State::holding;
    if (error_) {
      const std::string name = server.host().name();
      return test_.on_failed(name, Error(*error_));
    }
    test_.on_answered(*this);
  }
  void on_server_drained(ServerConnection& /*server*/) override {}
  void on_server_lost(ServerConnection& server, const Error& error, bool /*was_told*/) override {
    server_ = nullptr;
    state_ = State::finished;
    test_.on_failed(server.host().name(), error);
  }

 private:
  void run(ServerConnection& server, Duration waited) {
    server_ = &server;
    state_ = State::running;
    test_.on_acquired(server, waited);
    server.query(*this, pool_.global().health_query);
  }

  AcquisitionTest& test_;
  Pool& pool_;
  State state_ = State::finished;
  ServerConnection* server_ = nullptr;
  std::optional<Error> error_;
};

AcquisitionTest::AcquisitionTest(Pools& pools, std::vector<PoolName> names, Done done)
    : pools_(pools),
      names_(std::move(names)),
      done_(std::move(done)),
      step_(*this),
      deadline_(*this) {}

AcquisitionTest::~AcquisitionTest() {
  leave_pool();
}

void AcquisitionTest::start() {
  PGPROXY_ASSERT(phase_ == Phase::resting && reports_.empty());
  arm(step_, soon);
}

void AcquisitionTest::arm(Timeout& timeout, Duration duration) {
  io::Loop& loop = pools_.context().loop;
  loop.timeouts().queue(duration).arm(timeout, loop.now());
}

void AcquisitionTest::on_timeout(Timeout& timeout) {
  if (&timeout == &deadline_) return on_deadline();
  switch (phase_) {
    case Phase::resting: return start_pool();
    case Phase::filling: return look_on();
    case Phase::settling: return settle();
  }
}

void AcquisitionTest::start_pool() {
  if (reports_.size() == names_.size()) {
    const Done done = std::move(done_);
    const std::vector<AcquisitionReport> reports = std::move(reports_);
    return done(reports);
  }
  report_ = {.pool = names_[reports_.size()]};
  DatabaseEntry* entry = pools_.find_database(report_.pool.database);
  if (entry == nullptr) {
    report_.outcome = AcquisitionReport::Outcome::failed;
    report_.error = Error{.sqlstate = "3D000",
                          .message = "no such database entry: " + report_.pool.database,
                          .hint = "Add it to [databases]."};
    return finish_pool();
  }
  if (!entry->config.user.empty()) report_.pool.user = entry->config.user;
  pool_ = &pools_.pool(*entry, pools_.user(report_.pool.user));
  if (!report_.pool.replica.empty()) pool_ = &pools_.replica_pool(*pool_, report_.pool.replica);
  pool_->set_login_listener(this);
  start_acquirers();
}

void AcquisitionTest::start_acquirers() {
  const config::PoolSettings& settings = pool_->settings();
  const bool may_wait = settings.on_exhausted == config::OnExhausted::queue;
  phase_ = Phase::filling;
  is_filled_ = is_acquired_ = false;
  report_.size = pool_->attainable_size();
  report_.acquirers = report_.size * (may_wait ? 2 : 1);
  if (report_.size == 0) return on_failed("", pool_->exhausted_error("verify_acquire"));
  for (std::uint32_t i = 0; i < report_.acquirers; ++i) {
    acquirers_.push_back(std::make_unique<Acquirer>(*this, *pool_));
  }
  const Duration limit = settings.query_wait_timeout;
  arm(deadline_, limit > Duration::zero() ? limit : pool_->global().server_connect_timeout);
  for (const auto& acquirer : acquirers_) {
    if (phase_ == Phase::filling) acquirer->start();
  }
  if (phase_ == Phase::filling) look_on();
}

void AcquisitionTest::on_acquired(const ServerConnection& server, Duration waited) {
  waits_.push_back(waited);
  connections_.insert(server.id());
}

void AcquisitionTest::on_answered(Acquirer& acquirer) {
  if (phase_ != Phase::filling || is_filled_) acquirer.give_back();
  if (phase_ == Phase::filling) look_on();
}

void AcquisitionTest::on_login_failed(const ServerHost& host, const Error& error) {
  login_failure_ = {host.name(), error};
  if (phase_ == Phase::filling) arm(step_, soon);
}

void AcquisitionTest::on_failed(const std::string& server, const Error& error) {
  if (phase_ != Phase::filling) return;
  if (server.empty() && login_failure_) {  // the reason behind it
    const auto [host, said] = *login_failure_;
    return fail(host, said);
  }
  fail(server, error);
}

/// Who has a connection keeps it until all are open, or nobody wants one.
void AcquisitionTest::look_on() {
  if (login_failure_ && failure_kind(login_failure_->second) != FailureKind::unreachable) {
    const auto [host, said] = *login_failure_;
    return fail(host, said);
  }
  std::size_t waiting = 0;
  std::size_t having = 0;
  for (const auto& acquirer : acquirers_) {
    waiting += acquirer->state() == Acquirer::State::waiting ? 1 : 0;
    having += acquirer->state() == Acquirer::State::running ||
                      acquirer->state() == Acquirer::State::holding
                  ? 1
                  : 0;
  }
  if (waiting == 0 && having == 0) return begin_to_settle();
  if (waiting == 0 && !std::exchange(is_acquired_, true)) {  // the queries may take so long
    arm(deadline_, pool_->global().server_connect_timeout);
  }
  if (is_filled_ || (having < report_.size && waiting > 0)) return;
  is_filled_ = true;
  for (const auto& acquirer : acquirers_) acquirer->give_back();
  if (phase_ == Phase::filling) arm(step_, soon);
}

void AcquisitionTest::on_deadline() {
  for (const auto& acquirer : acquirers_) {
    if (acquirer->state() != Acquirer::State::running) continue;
    return fail(acquirer->server_name(),
                {.sqlstate = "57014",
                 .message = "health_query was not answered in time",
                 .hint = "Look at the server's load, or give another health_query."});
  }
  on_failed("", pool_->exhausted_error("query_wait_timeout"));
}

/// Nobody wants a connection any more; what runs is waited for while the pool cleans up.
void AcquisitionTest::fail(const std::string& server, const Error& error) {
  const bool is_late = !deadline_.is_armed();
  begin_to_settle();
  report_.server = server;
  const std::string where = server.empty() ? "" : ", server " + server;
  report_.error =
      Error{.sqlstate = error.sqlstate,
            .message = fmt::format("pool {}{}: {}", report_.pool.text(), where, error.message),
            .detail = error.detail,
            .hint = error.hint.empty() ? remedy(error) : error.hint};
  const bool is_refused = error.sqlstate == "28P01" || error.sqlstate == "28000";
  report_.outcome = is_refused && lacks_secret() ? AcquisitionReport::Outcome::unverifiable
                                                 : AcquisitionReport::Outcome::failed;
  for (const auto& acquirer : acquirers_) acquirer->stop_waiting();
  for (const auto& acquirer : acquirers_) {
    acquirer->give_up(is_late);
    acquirer->give_back();
  }
}

/// What a client's login would bring: the password, or what it proves of a SCRAM secret.
bool AcquisitionTest::lacks_secret() const {
  const std::string secret = pool_->server_password();
  return (secret.empty() || secret.starts_with("SCRAM-SHA-256$")) && !pool_->proven_scram();
}

std::string AcquisitionTest::remedy(const Error& error) const {
  const std::string place = pool_->place_of_entry();
  if (error.sqlstate.starts_with("28")) {
    return fmt::format(
        "Correct the password of user {} in auth_file, or password= of the entry{}; or let the "
        "server's pg_hba.conf accept pgproxy.",
        report_.pool.user, place);
  }
  if (error.sqlstate == "3D000") {
    return fmt::format("Create database {} at the server, or correct dbname of the entry{}.",
                       pool_->server_database(), place);
  }
  if (failure_kind(error) == FailureKind::full) return pool_->exhausted_error("").hint;
  if (failure_kind(error) == FailureKind::unreachable) {
    return fmt::format("Check that the server runs, and host and port of the entry{}.", place);
  }
  return fmt::format("See the server's log, and the entry of database {}{}.", report_.pool.database,
                     place);
}

void AcquisitionTest::begin_to_settle() {
  phase_ = Phase::settling;
  settle_by_ = pools_.context().loop.now() + 2 * pool_->global().server_connect_timeout;
  deadline_.disarm();
  arm(step_, soon);
}

void AcquisitionTest::settle() {
  const bool is_quiet = pool_->idle_count() == pool_->server_count();
  if (is_quiet || pools_.context().loop.now() >= settle_by_) return finish_pool();
  arm(step_, settling_period);
}

void AcquisitionTest::finish_pool() {
  leave_pool();
  std::ranges::sort(waits_);
  report_.opened = static_cast<std::uint32_t>(connections_.size());
  report_.p50 = percentile(waits_, 50);
  report_.p99 = percentile(waits_, 99);
  report_.max = percentile(waits_, 100);
  reports_.push_back(std::move(report_));
  waits_.clear();
  connections_.clear();
  login_failure_.reset();
  phase_ = Phase::resting;
  arm(step_, soon);
}

void AcquisitionTest::leave_pool() {
  if (pool_ == nullptr) return;
  phase_ = Phase::settling;
  pool_->set_login_listener(nullptr);
  for (const auto& acquirer : acquirers_) acquirer->stop_waiting();
  for (const auto& acquirer : acquirers_) {
    acquirer->give_up(true);
    acquirer->give_back();
  }
  // A client that brings the secret is not to wait for attempt_interval.
  if (report_.outcome == AcquisitionReport::Outcome::unverifiable) pool_->forget_login_error();
  acquirers_.clear();
  pool_ = nullptr;
}

}  // namespace pgproxy::pool
