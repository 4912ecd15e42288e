// Limits that pools share at their servers: who has to make room, and who hears of it.
#include <algorithm>
#include <charconv>

#include "pgproxy/base/assert.hpp"
#include "pgproxy/base/log.hpp"
#include "pgproxy/pool/pools.hpp"

namespace pgproxy::pool {

Pool::Obstacle Pool::obstacle() const {
  Obstacle first;
  for (std::size_t step = 0; step < hosts_.size(); ++step) {
    const PoolHost& place = place_at(next_host_ + step);
    if (!place.host.may_connect()) continue;
    const CapacityLimit limit = capacity_.blocking_limit(place.budgets());
    switch (limit) {
      case CapacityLimit::none: return {};
      case CapacityLimit::pool:
      case CapacityLimit::database:
      case CapacityLimit::user: return {.limit = limit};
      default: break;
    }
    if (first.at_server != nullptr) continue;
    first = {.limit = limit,
             .at_server = limit == CapacityLimit::host          ? &place.host.limits().host()
                          : limit == CapacityLimit::server_role ? &place.role
                                                                : &place.database};
  }
  return first;
}

void Pool::note_limit() {
  if (!waiters_.empty() && !waiters_.front().is_counted()) return;
  const Obstacle found = obstacle();
  if (found.at_server != nullptr) pools_.note_bite(*found.at_server, *this);
}

Pool::Spare Pool::least_spare() const {
  const std::scoped_lock guard(pools_.lock());
  Spare least;
  for (const PoolHost& place : hosts_) {
    for (const ServerLimit* limit : {&place.host.limits().host(), &place.role, &place.database}) {
      const std::uint32_t given = limit->budget.given.value_or(Budget::unlimited);
      const std::uint32_t spare = given - std::min(given, limit->planned);
      if (spare < least.connections) least = {.connections = spare, .limit = limit};
    }
  }
  return least;
}

std::uint32_t Pool::attainable_size() const {
  const std::uint32_t own = capacity_.most();
  const std::scoped_lock guard(pools_.lock());
  std::uint64_t at_servers = 0;
  for (auto place = hosts_.begin(); place != hosts_.end(); ++place) {
    const auto is_same = [&](const PoolHost& other) { return &other.host == &place->host; };
    if (std::any_of(hosts_.begin(), place, is_same)) continue;  // named twice
    const ServerBudgets at = place->budgets();
    at_servers += std::min({at.host.most(), at.role.most(), at.database.most()});
  }
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(at_servers, own));
}

const PoolHost* Pool::place_of(const ServerConnection& server) const {
  const auto at = std::ranges::find_if(
      hosts_, [&server](const PoolHost& place) { return &place.host == &server.host(); });
  return at != hosts_.end() ? &*at : nullptr;
}

std::size_t Pool::server_count(const ServerHost& host) const {
  return static_cast<std::size_t>(std::ranges::count_if(
      servers_, [&host](const auto& entry) { return &entry.second->host() == &host; }));
}

std::size_t Pool::idle_count(const Budget& budget) const {
  std::size_t count = 0;
  for (const ServerConnection& server : idle_) count += counts_towards(server, budget) ? 1 : 0;
  return count;
}

bool Pool::counts_towards(const ServerConnection& server, const Budget& budget) const {
  const PoolHost* place = place_of(server);
  return place != nullptr && place->counts_towards(budget);
}

bool Pool::close_idle(const Budget& budget, std::string_view reason) {
  ServerConnection* last = nullptr;
  const bool newest_is_last = global().checkout_order == config::CheckoutOrder::round_robin;
  for (ServerConnection& server : idle_) {
    if (!counts_towards(server, budget)) continue;
    last = &server;
    if (newest_is_last) break;
  }
  if (last == nullptr) return false;
  close(*last, reason);
  return true;
}

bool Pool::evict_idle(const Pool& starving, const PoolHost& wanted) {
  for (const PoolHost& place : hosts_) {
    const Budget& there = place.host.limits().host().budget;
    if (idle_count(there) == 0) continue;
    if (!starving.capacity_.is_relieved_by(capacity_, place.budgets(), wanted.budgets())) continue;
    return close_idle(there, "evicted");
  }
  return false;
}

bool Pool::is_owed(const Pool& other, const ServerConnection& server) const {
  if (waiters_.empty() || !servers_.empty() || hold_ != Hold::none) return false;
  const PoolHost* const there = other.place_of(server);
  if (there == nullptr || waiting_since() >= other.waiting_since()) return false;
  return std::ranges::any_of(hosts_, [&](const PoolHost& place) {
    return place.host.may_connect() &&
           capacity_.is_relieved_by(other.capacity_, there->budgets(), place.budgets());
  });
}

bool Pool::must_shrink(const ServerConnection& server) const {
  const PoolHost* place = place_of(server);
  return place != nullptr && pools_.is_exceeded(place->budgets());
}

void Pool::forget_login_error() {
  login_error_.reset();
  retry_.disarm();
}

/// The text is made once for each time: this happens to each client that has to wait.
template <class MakeText>
void Pools::note_bite(ServerLimit& limit, std::uint32_t missing, MakeText make_text) {
  const TimePoint now = context_.loop.now();
  if (!limit.bite) {
    limit.bite = ServerLimit::Bite{
        .since = now, .wall_since = context_.loop.wall_now(), .what = make_text()};
    log::line(log::Level::warning, "{}: {}. {}.", limit.name, limit.bite->what,
              hint_to_raise(limit, missing));
  }
  limit.bite->last_seen = now;
}

bool Pools::owes(const Pool& pool, const ServerConnection& server) {
  owed_ = nullptr;
  for (const auto& [key, other] : pools_) {
    if (other.get() == &pool || !other->is_owed(pool, server)) continue;
    if (owed_ == nullptr || other->waiting_since() < owed_->waiting_since()) owed_ = other.get();
  }
  return owed_ != nullptr;
}

void Pools::set_limits(std::string_view server, const GivenLimits& limits) {
  const std::size_t colon = server.rfind(':');
  PGPROXY_ASSERT(colon != std::string_view::npos);
  std::uint16_t port = 0;
  const std::string_view digits = server.substr(colon + 1);
  std::from_chars(digits.data(), digits.data() + digits.size(), port);
  ServerHost& changed = host({.host = std::string(server.substr(0, colon)), .port = port});
  {
    const std::scoped_lock guard(lock_);
    changed.limits().set(limits);
  }
  enforce_limits();
  has_starving_ = false;  // whoever still is says so again
  for (const auto& [key, pool] : pools_) {
    if (pool->uses(changed) || pool->has_waiters()) pool->grow();
  }
  end_bites(Duration::zero());
}

std::uint32_t Pools::excess(const ServerLimit& limit) const {
  const std::scoped_lock guard(lock_);
  return limit.budget.used - std::min(limit.budget.used, limit.budget.most());
}

bool Pools::is_exceeded(const ServerBudgets& budgets) const {
  const std::scoped_lock guard(lock_);
  return budgets.host.is_exceeded() || budgets.role.is_exceeded() || budgets.database.is_exceeded();
}

void Pools::enforce_limits() {
  is_shrinking_ = false;
  const bool shrinks = context_.settings.on_overcommit == config::OnOvercommit::shrink;
  for_each_host([&](ServerHost& host) {
    host.limits().for_each([&](ServerLimit& limit) {
      const std::uint32_t count = excess(limit);
      if (count == 0) return;
      note_bite(limit, count, [&] {
        return fmt::format(
            "{} connections more than it allows are open: {}", count,
            shrinks ? "they are closed, busy ones when they come back (on_overcommit = shrink)"
                    : "no new ones are opened (on_overcommit = refuse_new)");
      });
      if (!shrinks) return;
      while (excess(limit) > 0 && close_one_idle(limit.budget)) {
      }
      is_shrinking_ = is_shrinking_ || excess(limit) > 0;
    });
  });
}

/// Of the pool that has most of them, so that none loses all.
bool Pools::close_one_idle(const Budget& budget) {
  Pool* richest = nullptr;
  std::size_t most = 0;
  for (const auto& [key, pool] : pools_) {
    const std::size_t count = pool->idle_count(budget);
    if (count > most) richest = pool.get();
    most = std::max(most, count);
  }
  return richest != nullptr && richest->close_idle(budget, "a limit at its server was lowered");
}

void Pools::note_bite(ServerLimit& limit, const Pool& pool) {
  note_bite(limit, 1, [&] {
    const std::scoped_lock guard(lock_);
    return fmt::format("all connections that it allows, {}, are open: pool {}/{} may open no more",
                       limit.budget.most(), pool.database().config.name, pool.user().name);
  });
}

/// Those that nobody has met for `quiet`, and that have room.
void Pools::end_bites(Duration quiet) {
  const TimePoint now = context_.loop.now();
  for_each_host([&](ServerHost& host) {
    host.limits().for_each([&](ServerLimit& limit) {
      if (!limit.bite || now - limit.bite->last_seen < quiet) return;
      {
        const std::scoped_lock guard(lock_);
        if (quiet == Duration::zero() && !limit.budget.has_room()) return;
      }
      const TimePoint end = quiet == Duration::zero() ? now : limit.bite->last_seen;
      log::line(log::Level::log, "{}: its limit is no obstacle any more; it was for {:.1f} s",
                limit.name, std::chrono::duration<double>(end - limit.bite->since).count());
      limit.bite.reset();
    });
  });
}

std::string Pools::hint_to_raise(const ServerLimit& limit, std::uint32_t more) const {
  const std::scoped_lock guard(lock_);
  return limit.hint(more);
}

}  // namespace pgproxy::pool
