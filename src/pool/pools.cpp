#include "pgproxy/pool/pools.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "pgproxy/base/text.hpp"

namespace pgproxy::pool {
namespace {

/// What no event tells is looked after so often.
constexpr Duration house_period = std::chrono::seconds(1);
/// A limit that has not kept anybody from connecting for so long is no obstacle any more.
constexpr Duration limit_quiet_time = std::chrono::seconds(10);

}  // namespace

Pools::Pools(io::Loop& loop, const config::Settings& settings,
             std::shared_ptr<const io::TlsContext> server_tls)
    : context_{.loop = loop, .settings = settings, .server_tls = std::move(server_tls)},
      stats_timer_(*this),
      house_timer_(*this) {
  add_entries();
  time_statistics();
  loop.timeouts().queue(house_period).arm(house_timer_, loop.now());
}

Pools::~Pools() {
  shutting_down_ = true;
}

/// Entries with a forced user need no client to know their pool.
void Pools::open_minimum() {
  for (const auto& [name, database] : databases_) {
    if (database->config.user.empty()) continue;
    Pool& forced = pool(*database, user(database->config.user));
    if (forced.settings().min_pool_size > 0) forced.grow();
  }
}

void Pools::hold_growth(bool is_held) {
  if (std::exchange(is_growth_held_, is_held) == is_held) return;
  log::line(log::Level::warning, "pools {}",
            is_held ? "open no connection: other instances have taken this one's place "
                      "(coordination); those that are open go on"
                    : "open connections again");
  if (is_held) return;
  for (const auto& [key, pool] : pools_) pool->grow();
}

DatabaseEntry* Pools::find_database(std::string_view name) {
  if (const auto at = databases_.find(name); at != databases_.end()) return at->second.get();
  if (!context_.settings.auto_database) return nullptr;
  config::Database database = *context_.settings.auto_database;
  database.name = name;
  log::line(log::Level::log, "registered new auto-database: {}", name);
  const Budget budget = budget_of(database);
  auto& slot = databases_[std::string(name)];
  slot = std::make_unique<DatabaseEntry>(
      DatabaseEntry{.config = std::move(database), .server_budget = budget, .is_auto = true});
  return slot.get();
}

UserEntry& Pools::user(std::string_view name) {
  if (const auto at = users_.find(name); at != users_.end()) return *at->second;
  auto& slot = users_[std::string(name)];
  slot = std::make_unique<UserEntry>(UserEntry{std::string(name), budget_of_user(name)});
  return *slot;
}

Pool& Pools::pool(DatabaseEntry& database, UserEntry& user) {
  auto& slot = pools_[{&database, &user}];
  if (slot == nullptr) {
    slot = std::make_unique<Pool>(
        *this, context_, lock_, database, user,
        config::effective_settings(context_.settings, database.config, user.name));
    slot->set_hold(hold_of(database));
  }
  return *slot;
}

Pool& Pools::replica_pool(Pool& home, std::string_view server) {
  const auto found = hosts_.find(server);
  PGPROXY_ASSERT(found != hosts_.end());
  ServerHost& host = *found->second;
  auto& slot = pools_[{&home.database(), &home.user(), &host}];
  if (slot == nullptr) {
    slot = std::make_unique<Pool>(*this, context_, lock_, home.database(), home.user(),
                                  replica_settings(home.database(), home.settings()), &host);
    slot->set_hold(home.hold());
  }
  return *slot;
}

void Pools::set_role(const io::ServerAddress& server, ServerRole role, std::uint32_t timeline) {
  ServerHost& known = host(server);
  if (!known.set_role(role, timeline)) return;
  for_each_even_retired([&](Pool& pool) {
    if (pool.uses(known)) pool.on_role_changed();
  });
}

bool Pools::evict_for(const Pool& pool, const PoolHost& wanted) {
  return std::ranges::any_of(pools_, [&](const auto& entry) {
    Pool& other = *entry.second;
    return &other != &pool && !other.has_waiters() && other.evict_idle(pool, wanted);
  });
}

void Pools::on_capacity_freed(const Pool& origin) {
  has_starving_ = false;  // whoever still is says so again
  if (Pool* const owed = std::exchange(owed_, nullptr)) owed->grow();
  for (const auto& [key, pool] : pools_) {
    if (pool.get() != &origin && pool->has_waiters()) pool->grow();
  }
}

void Pools::keep_house() {
  for (const auto& [key, pool] : pools_) pool->keep_house();
  bury_retired();
  enforce_limits();
  end_bites(limit_quiet_time);
  context_.loop.timeouts().queue(house_period).arm(house_timer_, context_.loop.now());
}

ServerHost& Pools::host(const io::ServerAddress& address) {
  const std::string name = server_name(address.host, address.port);
  if (const auto at = hosts_.find(name); at != hosts_.end()) return *at->second;
  auto& slot = hosts_[name];
  HostListener& listener = *this;
  slot = std::make_unique<ServerHost>(context_.loop, context_.settings, listener, address);
  return *slot;
}

void Pools::on_host_changed(ServerHost& host, HostState /*before*/) {
  if (shutting_down_) return;
  for_each_even_retired([&](Pool& pool) {
    if (pool.uses(host)) pool.on_host_changed(host);
  });
}

/// Whoever has clients waiting first; one login is enough to know.
bool Pools::start_attempt(ServerHost& host) {
  if (shutting_down_) return false;
  for (const bool only_waiting : {true, false}) {
    for (const auto& [key, pool] : pools_) {
      if (only_waiting && !pool->has_waiters()) continue;
      if (pool->uses(host) && pool->attempt(host)) return true;
    }
  }
  return false;
}

void Pools::on_check_done(const io::ServerAddress& address, Duration latency, const Error* error,
                          bool is_silent) {
  ServerHost& checked = host(address);
  if (error == nullptr) return checked.on_check_passed(latency);
  if (checked.failed_checks() == 0) {
    for_each_even_retired([&](Pool& pool) { pool.mark_progress(checked); });
  }
  checked.on_check_failed(*error, is_silent);
}

void Pools::reset_hosts(const DatabaseEntry* database) {
  for (const auto& [name, host] : hosts_) {
    const bool is_meant =
        database == nullptr || std::ranges::any_of(pools_, [&](const auto& entry) {
          return entry.first.database == database && entry.second->uses(*host);
        });
    if (is_meant) host->reset();
  }
}

void Pools::describe_health(std::vector<HealthRow>& rows) const {
  for (const auto& [name, host] : hosts_) rows.push_back(host->describe());
  for (const auto& [name, host] : hosts_) {
    host->limits().for_each([&](const ServerLimit& limit) {
      if (!limit.bite) return;
      rows.push_back({.kind = "limit",
                      .name = limit.name,
                      .state = "full",
                      .reason = limit.bite->what,
                      .hint = hint_to_raise(limit, 1),
                      .since = limit.bite->wall_since});
    });
  }
  for (const auto& [key, pool] : pools_) pool->describe_health(rows);
}

std::vector<HostRow> Pools::describe_hosts() const {
  std::map<std::string, HostRow, std::less<>> by_name;
  for (const auto& [name, host] : hosts_) by_name.emplace(name, host->measure());
  for (const auto& [key, pool] : pools_) pool->describe_hosts(by_name);
  std::vector<HostRow> rows;
  for (auto& [name, row] : by_name) rows.push_back(std::move(row));
  return rows;
}

std::map<std::string, PoolCounters> Pools::totals() const {
  std::map<std::string, PoolCounters> totals;
  for (const auto& [name, database] : databases_) totals[name] = database->past;
  for (const auto& [key, pool] : pools_) totals[key.database->config.name] += pool->counters();
  return totals;
}

void Pools::on_timeout(Timeout& timeout) {
  if (&timeout == &house_timer_) return keep_house();
  measured_period_ = std::exchange(next_period_, context_.settings.stats_period);
  sampled_at_ = context_.loop.now();
  for (const auto& [name, total] : totals()) {
    StatsPeriod& period = periods_[name];
    period.previous = period.latest;
    period.latest = total;
  }
  if (context_.settings.log_stats) log_stats();
  context_.loop.timeouts()
      .queue(context_.settings.stats_period)
      .arm(stats_timer_, context_.loop.now());
}

/// The period that is under way ends one new stats_period from now.
void Pools::time_statistics() {
  const Duration period = context_.settings.stats_period;
  if (period == armed_period_) return;
  const TimePoint now = context_.loop.now();
  const Duration begun = armed_period_ == Duration::zero() ? armed_period_ : now - sampled_at_;
  if (armed_period_ == Duration::zero()) {
    sampled_at_ = now;
    measured_period_ = period;
  }
  armed_period_ = period;
  next_period_ = begun + period;
  context_.loop.timeouts().queue(period).arm(stats_timer_, now);
}

/// PgBouncer's line, over all databases.
void Pools::log_stats() const {
  PoolCounters now;
  PoolCounters before;
  for (const auto& [name, period] : periods_) {
    now += period.latest;
    before += period.previous;
  }
  const auto seconds =
      static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::seconds>(measured_period_).count());
  const auto rate = [&](std::uint64_t PoolCounters::* counter) {
    return (now.*counter - before.*counter) / seconds;
  };
  const auto mean = [&](std::uint64_t PoolCounters::* time, std::uint64_t PoolCounters::* count) {
    return (now.*time - before.*time) / std::max<std::uint64_t>(1, now.*count - before.*count);
  };
  log::line(log::Level::log,
            "stats: {} xacts/s, {} queries/s, {} client parses/s, {} server parses/s, {} binds/s, "
            "in {} B/s, out {} B/s, xact {} us, query {} us, wait {} us",
            rate(&PoolCounters::xact_count), rate(&PoolCounters::query_count),
            rate(&PoolCounters::client_parse_count), rate(&PoolCounters::server_parse_count),
            rate(&PoolCounters::bind_count), rate(&PoolCounters::bytes_received),
            rate(&PoolCounters::bytes_sent),
            mean(&PoolCounters::xact_time, &PoolCounters::xact_count),
            mean(&PoolCounters::query_time, &PoolCounters::query_count),
            mean(&PoolCounters::wait_time, &PoolCounters::server_assignment_count));
}

std::vector<StatsRow> Pools::stats() const {
  std::vector<StatsRow> rows;
  for (const auto& [name, total] : totals()) {
    StatsRow row{.database = name, .total = total, .period = measured_period_};
    if (const auto at = periods_.find(name); at != periods_.end()) {
      row.previous = at->second.previous;
      row.latest = at->second.latest;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace pgproxy::pool
