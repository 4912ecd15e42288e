#include "pgproxy/pool/capacity.hpp"

#include "pgproxy/base/assert.hpp"

namespace pgproxy::pool {

Permit::~Permit() {
  if (owner_ == nullptr) return;
  const std::scoped_lock guard(owner_->lock_);
  for (Budget* budget : taken_) {
    PGPROXY_ASSERT(budget->used > 0);
    --budget->used;
  }
}

/// What a server allows is on_overcommit's business. A reserve of 0 is none.
bool Permit::is_in_excess() const {
  const std::scoped_lock guard(owner_->lock_);
  const auto& [own, database, user, host, role_there, database_there] = taken_;
  const bool is_host_in_excess = host->limit != 0 && host->used > host->limit;
  const bool is_own_in_excess = own->used > own->limit;
  return is_own_in_excess || database->is_exceeded() || user->is_exceeded() || is_host_in_excess;
}

Capacity::Shared Capacity::shared_with(const ServerBudgets& at) const {
  return {&database_, &user_, &at.host, &at.role, &at.database};
}

std::optional<Permit> Capacity::try_reserve(bool from_reserve, const ServerBudgets& at) {
  const std::scoped_lock guard(lock_);
  const bool use_reserve = !pool_.has_room();
  if (use_reserve && !(from_reserve && reserve_.used < reserve_.limit)) return std::nullopt;
  const Shared shared = shared_with(at);
  Permit::Taken taken{use_reserve ? &reserve_ : &pool_};
  std::ranges::copy(shared, taken.begin() + 1);
  for (const Budget* budget : shared) {
    if (!budget->has_room()) return std::nullopt;
  }
  for (Budget* budget : taken) ++budget->used;
  return Permit(*this, taken);
}

CapacityLimit Capacity::blocking_limit(const ServerBudgets& at) const {
  const std::scoped_lock guard(lock_);
  return check(at);
}

bool Capacity::has_own_room(bool from_reserve) const {
  const std::scoped_lock guard(lock_);
  return pool_.has_room() || (from_reserve && reserve_.used < reserve_.limit);
}

bool Capacity::is_relieved_by(const Capacity& other, const ServerBudgets& there,
                              const ServerBudgets& here) const {
  const std::scoped_lock guard(lock_);
  const Shared others = other.shared_with(there);
  return std::ranges::all_of(shared_with(here), [&others](const Budget* budget) {
    return budget->has_room() ||
           (budget->most() > 0 && std::ranges::find(others, budget) != others.end());
  });
}

std::uint32_t Capacity::most() const {
  const std::scoped_lock guard(lock_);
  return std::min({pool_.most(), database_.most(), user_.most()});
}

std::uint32_t Capacity::used() const {
  const std::scoped_lock guard(lock_);
  return pool_.used + reserve_.used;
}

void Capacity::resize(std::uint32_t pool_size, std::uint32_t reserve_size) {
  const std::scoped_lock guard(lock_);
  pool_.limit = pool_size;
  reserve_.limit = reserve_size;
}

CapacityLimit Capacity::check(const ServerBudgets& at) const {
  if (!pool_.has_room()) return CapacityLimit::pool;
  if (!database_.has_room()) return CapacityLimit::database;
  if (!user_.has_room()) return CapacityLimit::user;
  if (!at.host.has_room()) return CapacityLimit::host;
  if (!at.role.has_room()) return CapacityLimit::server_role;
  if (!at.database.has_room()) return CapacityLimit::server_database;
  return CapacityLimit::none;
}

}  // namespace pgproxy::pool
