#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/config/capacity.hpp"
#include "pgproxy/control/capacity_questions.hpp"
#include "pgproxy/pool/pools.hpp"

namespace pgproxy::app {

/// Asks each server of the plan once, as control_user of `settings`, on a loop of its own, and
/// waits for the answers; in the plan's order.
std::vector<config::ServerFacts> ask_servers(const config::Settings& settings,
                                             const config::CapacityPlan& plan);
/// Asks each server of the configuration once, on a loop of its own, and waits for the answers:
/// for --check. With check = off nobody is asked.
config::CapacityVerdict ask_servers(const config::Settings& settings);
/// The arithmetic, a line for each row, and what would fit where something does not.
std::string print_capacity(const config::CapacityVerdict& verdict);

/// Keeps the pools to what the servers allow: asks them at the start and every
/// capacity_check_interval, and has the pools do what on_overcommit says. On the loop's thread.
class CapacityGuard final : private TimeoutListener {
 public:
  /// All of these outlive the object.
  CapacityGuard(control::Services services, const config::Settings& settings, pool::Pools& pools);

  /// Asks all servers; `done` is called once, with what they said. With check = off nobody is
  /// asked.
  void ask(std::function<void(const config::CapacityVerdict&)> done);
  /// Goes on asking, and measuring what the pools do.
  void start();

  /// The settings are others now, with this plan, and the servers said so of it.
  void reload(const config::CapacityPlan& plan, config::CapacityVerdict verdict);

  /// SHOW CAPACITY.
  std::vector<CapacityRow> rows() const;
  void describe_health(std::vector<HealthRow>& rows) const;

 private:
  /// The load of a pool so far.
  struct Load {
    std::uint64_t last_count = 0;
    TimePoint last_at{};
    double peak_rps = 0;
    double mean_ms = 0;
  };

  struct Trouble {
    std::string state;
    WallTime since{};
  };

  void on_timeout(Timeout& timeout) override;
  void take(config::CapacityVerdict verdict);
  void limit_pools();
  void measure();
  std::string in_words(const std::string& pool, const Load& load) const;
  std::string measured(const std::string& pool) const;
  Duration period() const;

  control::Services services_;
  const config::Settings& settings_;
  pool::Pools& pools_;
  config::CapacityPlan plan_;
  std::unique_ptr<control::CapacityQuestions> questions_;
  config::CapacityVerdict verdict_;
  std::map<std::string, Trouble> troubles_;  ///< what does not fit, by kind and name
  std::map<std::string, Load> loads_;        ///< by "database/user"
  Timeout timer_;
};

}  // namespace pgproxy::app
