// What [capacity] says, and whether sizes and timeouts go with it.
#include <algorithm>
#include <fmt/format.h>

#include "config/check.hpp"
#include "config/text.hpp"

#include "pgproxy/config/capacity.hpp"

namespace pgproxy::config {

namespace {

class CapacityChecker {
 public:
  CapacityChecker(const Settings& settings, const Origins& origins, Report& report)
      : settings_(settings), origins_(origins), report_(report) {}

  void check_shares() const {
    for (const auto& [name, value] :
         {std::pair("safety_margin", settings_.safety_margin),
          std::pair("target_utilization", settings_.target_utilization)}) {
      if (value > 0 || !is_usable(name)) continue;
      report_.problem(origin(name), fmt::format("{}: 0 would leave nothing", name),
                      fmt::format("{} = {}", name, name[0] == 's' ? "0.8" : "0.7"));
    }
  }

  void check_control() const {
    const bool is_coordinated = settings_.coordination == Coordination::advisory_lock;
    const bool is_asked = settings_.check != CapacityCheck::off;
    if (!is_asked && !is_coordinated) return;
    const std::string_view why = is_asked ? "check is not off" : "coordination = advisory_lock";
    const std::string_view at = is_asked ? "check" : "coordination";
    if (!is_usable(at)) return;
    if (settings_.control_user.empty()) {
      report_.problem(origin(at), fmt::format("control_user must be given in [capacity]: {}", why),
                      "control_user = pgproxy, after CREATE ROLE pgproxy LOGIN PASSWORD '...'; "
                      "GRANT pg_monitor TO pgproxy; or check = off with coordination = none for "
                      "servers that cannot be asked");
    }
    if (settings_.control_dbname.empty()) {
      report_.problem(origin(at),
                      fmt::format("control_dbname must be given in [capacity]: {}", why),
                      "control_dbname = postgres");
    }
  }

  /// What is asked of a server that says nothing would never end.
  void check_patience() const {
    if (settings_.server_connect_timeout > Duration::zero() ||
        !is_usable("server_connect_timeout")) {
      return;
    }
    const std::string_view why = settings_.check != CapacityCheck::off ? "check is not off"
                                 : settings_.coordination == Coordination::advisory_lock
                                     ? "coordination = advisory_lock"
                                 : settings_.verify_acquire ? "verify_acquire = 1"
                                                            : "";
    if (why.empty()) return;
    report_.problem(origin("server_connect_timeout"),
                    fmt::format("server_connect_timeout = 0 would wait for ever for a server that "
                                "says nothing: {}",
                                why),
                    "server_connect_timeout = 15");
  }

  void warn_of_what_is_off() const {
    const auto warn = [&](std::string_view name, bool is_off, std::string_view text) {
      if (is_off && is_usable(name)) report_.warning(origin(name), std::string(text));
    };
    warn("check", settings_.check == CapacityCheck::off,
         "check = off: nothing tells whether the servers have room for the pools");
    warn("verify_acquire", !settings_.verify_acquire,
         "verify_acquire = 0: pools are not filled at the start; what stands in the way of that is "
         "found by clients");
    warn("capacity_check_interval",
         settings_.capacity_check_interval == Duration::zero() &&
             settings_.check != CapacityCheck::off,
         "capacity_check_interval = 0: a limit that a server lowers is found by clients");
  }

  void check_plan() const {
    if (!is_usable("check") || settings_.check == CapacityCheck::off) return;
    if (settings_.target_utilization <= 0 || settings_.safety_margin <= 0) return;
    for (const char* name : {"default_pool_size", "instances"}) {
      if (!is_usable(name)) return;
    }
    for (const Problem& problem : plan_capacity(settings_).problems) {
      const Origin at{problem.file, problem.line};
      if (settings_.check == CapacityCheck::enforce) {
        report_.problem(at, problem.message, problem.hint);
      } else {
        report_.warning(at, problem.message + "; " + problem.hint);
      }
    }
  }

  /// A query that takes as long as a transaction does on average must not be cut off.
  void check_query_timeouts() const {
    for (const Database& database : settings_.databases) {
      const double mean = database.mean_transaction_ms.value_or(settings_.mean_transaction_ms);
      const Duration limit = database.query_timeout.value_or(settings_.query_timeout);
      const Duration least(static_cast<std::int64_t>(mean * 1000));
      if (limit == Duration::zero() || limit >= least) continue;
      report_.problem(origins_.of(origins_.databases, database.name),
                      fmt::format("database {}: query_timeout = {} is less than "
                                  "mean_transaction_ms = {:g}",
                                  in_quotes(database.name), print_seconds(limit), mean),
                      fmt::format("query_timeout = {}, or correct mean_transaction_ms",
                                  print_seconds(10 * least)));
    }
  }

 private:
  Origin origin(std::string_view name) const { return origins_.of(origins_.settings, name); }
  /// It was given, and understood.
  bool is_usable(std::string_view name) const {
    const auto given = origins_.settings.find(name);
    return given != origins_.settings.end() && given->second.usable;
  }

  const Settings& settings_;
  const Origins& origins_;
  Report& report_;
};

}  // namespace

void check_capacity(const Settings& settings, const Origins& origins, Report& report) {
  const CapacityChecker checker(settings, origins, report);
  checker.check_shares();
  checker.check_control();
  checker.check_patience();
  checker.warn_of_what_is_off();
  checker.check_plan();
  checker.check_query_timeouts();
}

}  // namespace pgproxy::config
