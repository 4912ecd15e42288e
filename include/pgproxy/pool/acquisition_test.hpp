#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pgproxy/base/result.hpp"
#include "pgproxy/base/time.hpp"
#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/pool/pools.hpp"

namespace pgproxy::pool {

/// A pool by the entry of its database and its user at the server.
struct PoolName {
  std::string database;
  std::string user;
  std::string replica = {};  ///< "host:port" of the standby that it is for; empty: for none
  /// For people.
  std::string text() const {
    return database + "/" + user + (replica.empty() ? "" : " at " + replica);
  }
};

/// How one pool stood the test.
struct AcquisitionReport {
  enum class Outcome : std::uint8_t {
    passed,
    failed,
    unverifiable,  ///< no secret for the server is known before a client has logged in with it
  };
  PoolName pool;
  std::string server;  ///< where it failed, "host:port"; empty: passed, or not known
  Outcome outcome = Outcome::passed;
  std::uint32_t size = 0;       ///< connections that the pool can have, other pools' aside
  std::uint32_t opened = 0;     ///< different connections that were acquired
  std::uint32_t acquirers = 0;  ///< that wanted one, and had it in:
  Duration p50{};
  Duration p99{};
  Duration max{};
  /// Why it did not pass: names pool and server; SQLSTATE and words are the server's where it said
  /// something, the hint is the remedy.
  std::optional<Error> error;
};

/// Fills pools under contention, one after the other: twice as many acquirers as a pool can have
/// connections want one (with on_exhausted = reject: as many), as its clients would; each runs
/// health_query on it and gives it back. Nobody does so before all connections are open, or nobody
/// waits. A pool fails with its first login that is refused; when somebody waits for as long as
/// its query_wait_timeout (server_connect_timeout where that is off), or a query takes longer than
/// server_connect_timeout. Counters and episodes of the pools are about clients only: they do not
/// tell of the test. On the loop's thread; ends before the pools do.
class AcquisitionTest final : private TimeoutListener, private LoginListener {
 public:
  using Done = std::function<void(const std::vector<AcquisitionReport>&)>;

  /// `done` hears the reports in the order of `names`, once, when nothing is on the stack; all
  /// connections are idle then. It may destroy the test.
  AcquisitionTest(Pools& pools, std::vector<PoolName> names, Done done);
  /// Gives up: `done` hears nothing any more.
  ~AcquisitionTest();
  AcquisitionTest(const AcquisitionTest&) = delete;
  AcquisitionTest& operator=(const AcquisitionTest&) = delete;

  void start();

 private:
  class Acquirer;
  enum class Phase : std::uint8_t { resting, filling, settling };

  void on_timeout(Timeout& timeout) override;
  void on_login_failed(const ServerHost& host, const Error& error) override;
  void start_pool();
  void start_acquirers();
  void on_acquired(const ServerConnection& server, Duration waited);
  void on_answered(Acquirer& acquirer);
  void on_failed(const std::string& server, const Error& error);
  void look_on();
  void on_deadline();
  void fail(const std::string& server, const Error& error);
  void begin_to_settle();
  void settle();
  void finish_pool();
  bool lacks_secret() const;
  std::string remedy(const Error& error) const;
  void arm(Timeout& timeout, Duration duration);
  void leave_pool();

  Pools& pools_;
  std::vector<PoolName> names_;
  Done done_;
  std::vector<AcquisitionReport> reports_;
  Phase phase_ = Phase::resting;
  Pool* pool_ = nullptr;
  AcquisitionReport report_;
  std::vector<std::unique_ptr<Acquirer>> acquirers_;
  std::vector<Duration> waits_;
  std::set<std::uint64_t> connections_;  ///< by id
  /// The last login that failed: host, and what was said.
  std::optional<std::pair<std::string, Error>> login_failure_;
  bool is_filled_ = false;    ///< who has a connection need not keep it
  bool is_acquired_ = false;  ///< nobody waits any more
  TimePoint settle_by_{};
  Timeout step_;
  Timeout deadline_;
};

}  // namespace pgproxy::pool
