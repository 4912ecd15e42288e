#include "app/capacity_guard.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "pgproxy/net/fd_watcher.hpp"
#include "pgproxy/net/loop.hpp"
#include "pgproxy/net/resolver.hpp"

namespace pgproxy::app {
namespace {

/// How often the load of pools is measured where no server is asked.
constexpr Duration measuring_period = std::chrono::seconds(60);

std::string key_of(const CapacityRow& row) {
  return row.kind + " " + row.name;
}

bool is_well(const CapacityRow& row) {
  return row.state == "fits";
}

}  // namespace

std::vector<config::ServerFacts> ask_servers(const config::Settings& settings,
                                             const config::CapacityPlan& plan) {
  if (plan.hosts.empty()) return {};
  net::UvLoop loop(net::SocketOptions::from(settings));
  net::UvFdWatcher watcher(loop);
  net::UvResolver resolver(loop);
  control::CapacityQuestions questions({loop, watcher, resolver}, settings, plan);
  std::vector<config::ServerFacts> answers;
  questions.ask([&](std::vector<config::ServerFacts> facts) {
    answers = std::move(facts);
    loop.stop();
  });
  loop.run();
  return answers;
}

config::CapacityVerdict ask_servers(const config::Settings& settings) {
  const config::CapacityPlan plan = config::plan_capacity(settings);
  if (settings.check == config::CapacityCheck::off) {
    return config::judge_capacity(settings, plan, {});
  }
  return config::judge_capacity(settings, plan, ask_servers(settings, plan));
}

std::string print_capacity(const config::CapacityVerdict& verdict) {
  std::string text;
  for (const CapacityRow& row : verdict.rows) {
    text += fmt::format("{} {}: {}: {}\n", row.kind, row.name, row.state, row.arithmetic);
    if (!row.hint.empty()) text += fmt::format("  hint: {}\n", row.hint);
  }
  return text;
}

CapacityGuard::CapacityGuard(control::Services services, const config::Settings& settings,
                             pool::Pools& pools)
    : services_(services),
      settings_(settings),
      pools_(pools),
      plan_(config::plan_capacity(settings)),
      questions_(std::make_unique<control::CapacityQuestions>(services, settings, plan_)),
      verdict_(config::judge_capacity(settings, plan_, {})),
      timer_(*this) {}

void CapacityGuard::ask(std::function<void(const config::CapacityVerdict&)> done) {
  if (settings_.check == config::CapacityCheck::off) return done(verdict_);
  questions_->ask([this, done = std::move(done)](const std::vector<config::ServerFacts>& facts) {
    take(config::judge_capacity(settings_, plan_, facts));
    done(verdict_);
  });
}

void CapacityGuard::start() {
  measure();
  services_.loop.timeouts().queue(period()).arm(timer_, services_.loop.now());
}

/// Servers of which nothing is planned any more have no limits.
void CapacityGuard::reload(const config::CapacityPlan& plan, config::CapacityVerdict verdict) {
  plan_ = plan;
  questions_ = std::make_unique<control::CapacityQuestions>(services_, settings_, plan_);
  const bool limits = settings_.check == config::CapacityCheck::enforce;
  std::erase_if(verdict_.limits, [&](const auto& known) {
    const bool is_planned = std::ranges::any_of(
        plan_.hosts, [&](const config::HostPlan& host) { return host.name() == known.first; });
    if (!is_planned || !limits) pools_.set_limits(known.first, {});
    return !is_planned;
  });
  take(std::move(verdict));
  services_.loop.timeouts().queue(period()).arm(timer_, services_.loop.now());
}

Duration CapacityGuard::period() const {
  const bool asks = settings_.check != config::CapacityCheck::off;
  const Duration interval = asks ? settings_.capacity_check_interval : Duration::zero();
  return interval > Duration::zero() ? interval : measuring_period;
}

void CapacityGuard::on_timeout(Timeout& /*timeout*/) {
  services_.loop.timeouts().queue(period()).arm(timer_, services_.loop.now());
  measure();
  const bool asks = settings_.capacity_check_interval > Duration::zero();
  if (asks && !questions_->is_asking()) ask([](const config::CapacityVerdict&) {});
}

void CapacityGuard::take(config::CapacityVerdict verdict) {
  // What a server said last holds until it says otherwise.
  for (const CapacityRow& server : std::vector(verdict.rows)) {
    if (server.state != "unknown") continue;
    for (const CapacityRow& row : verdict_.rows) {
      if (row.name.ends_with(" at " + server.name)) verdict.rows.push_back(row);
    }
  }
  for (auto& [name, limits] : verdict_.limits) verdict.limits.try_emplace(name, std::move(limits));
  std::map<std::string, Trouble> troubles;
  for (const CapacityRow& row : verdict.rows) {
    if (is_well(row)) continue;
    const auto known = troubles_.find(key_of(row));
    const bool is_news = known == troubles_.end() || known->second.state != row.state;
    troubles[key_of(row)] = is_news ? Trouble{row.state, services_.loop.wall_now()} : known->second;
    if (!is_news) continue;
    log::line(log::Level::warning, "capacity: {} {} is {}: {}; {}", row.kind, row.name, row.state,
              row.arithmetic, row.hint);
  }
  for (const auto& [key, trouble] : troubles_) {  // a limit that was taken away has no row any more
    if (!troubles.contains(key)) log::line(log::Level::log, "capacity: {} fits again", key);
  }
  troubles_ = std::move(troubles);
  verdict_ = std::move(verdict);
  limit_pools();
}

/// With check = report the pools do what the configuration says, whatever the servers allow.
void CapacityGuard::limit_pools() {
  if (settings_.check != config::CapacityCheck::enforce) return;
  using Limit = config::CapacityVerdict::Limit;
  const auto given = [](const Limit& limit) {
    return pool::GivenLimit{limit.connections, limit.planned, limit.hint};
  };
  const auto all = [&](const std::map<std::string, Limit>& limits) {
    std::map<std::string, pool::GivenLimit> result;
    for (const auto& [name, limit] : limits) result.emplace(name, given(limit));
    return result;
  };
  for (const auto& [name, limits] : verdict_.limits) {
    pools_.set_limits(name, {.connections = given(limits.connections),
                             .roles = all(limits.roles),
                             .databases = all(limits.databases)});
  }
}

void CapacityGuard::measure() {
  const TimePoint now = services_.loop.now();
  pools_.for_each([&](const pool::Pool& pool) {
    const PoolCounters& counters = pool.counters();
    Load& load = loads_[pool.database().config.name + "/" + pool.user().name];
    if (load.last_at != TimePoint{} && now > load.last_at) {
      const double seconds = std::chrono::duration<double>(now - load.last_at).count();
      load.peak_rps = std::max(
          load.peak_rps, static_cast<double>(counters.xact_count - load.last_count) / seconds);
    }
    if (counters.xact_count > 0) {
      load.mean_ms =
          static_cast<double>(counters.xact_time) / 1000 / static_cast<double>(counters.xact_count);
    }
    load.last_count = counters.xact_count;
    load.last_at = now;
  });
}

/// expected_rps is the entry's, whatever the number of its pools.
std::string CapacityGuard::in_words(const std::string& pool, const Load& load) const {
  const std::string entry = pool.substr(0, pool.rfind('/') + 1);
  double entry_rps = 0;
  for (const auto& [name, other] : loads_) {
    if (name.starts_with(entry)) entry_rps += other.peak_rps;
  }
  const double needed =
      std::ceil(load.peak_rps * load.mean_ms / 1000 / settings_.target_utilization);
  return fmt::format(
      "at most {:.1f} transactions/s (over {:g} s), of {:.2f} ms on average: expected_rps = "
      "{:.0f}, "
      "mean_transaction_ms = {:.2f}, pool_size = {:.0f}",
      load.peak_rps, std::chrono::duration<double>(period()).count(), load.mean_ms,
      std::ceil(entry_rps), load.mean_ms, std::max(1.0, needed));
}

/// Of "database/user", or of all of "database/*", each with its name.
std::string CapacityGuard::measured(const std::string& pool) const {
  if (!pool.ends_with("/*")) {
    const auto found = loads_.find(pool);
    return found != loads_.end() && found->second.peak_rps > 0 ? in_words(pool, found->second) : "";
  }
  std::string text;
  for (const auto& [name, load] : loads_) {
    if (load.peak_rps == 0 || !name.starts_with(pool.substr(0, pool.size() - 1))) continue;
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", name, in_words(name, load));
  }
  return text;
}

std::vector<CapacityRow> CapacityGuard::rows() const {
  std::vector<CapacityRow> rows = verdict_.rows;
  for (CapacityRow& row : rows) {
    if (row.kind == "pool") row.measured = measured(row.name);
  }
  return rows;
}

void CapacityGuard::describe_health(std::vector<HealthRow>& rows) const {
  for (const CapacityRow& row : verdict_.rows) {
    const auto trouble = troubles_.find(key_of(row));
    if (trouble == troubles_.end()) continue;
    rows.push_back({.kind = "capacity",
                    .name = key_of(row),
                    .state = row.state,
                    .reason = row.arithmetic,
                    .hint = row.hint,
                    .since = trouble->second.since});
  }
}

}  // namespace pgproxy::app
