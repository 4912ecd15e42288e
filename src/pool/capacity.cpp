#include "pgproxy/pool/capacity.hpp"

#include "pgproxy/base/assert.hpp"

namespace pgproxy::pool {

Permit::~Permit() {
  if (owner_ == nullptr) return;
  const std::scoped_lock guard(owner_->lock_);
  Budget& own = is_reserve_ ? owner_->reserve_ : owner_->pool_;
  PGPROXY_ASSERT(own.used > 0 && owner_->database_.used > 0 && owner_->user_.used > 0);
  --own.used;
  --owner_->database_.used;
  --owner_->user_.used;
}

std::optional<Permit> Capacity::try_reserve(bool from_reserve) {
  const std::scoped_lock guard(lock_);
  const CapacityLimit limit = check();
  const bool use_reserve = limit == CapacityLimit::pool && from_reserve &&
                           reserve_.used < reserve_.limit && database_.has_room() &&
                           user_.has_room();
  if (limit != CapacityLimit::none && !use_reserve) return std::nullopt;
  ++(use_reserve ? reserve_ : pool_).used;
  ++database_.used;
  ++user_.used;
  return Permit(*this, use_reserve);
}

CapacityLimit Capacity::blocking_limit() const {
  const std::scoped_lock guard(lock_);
  return check();
}

std::uint32_t Capacity::used() const {
  const std::scoped_lock guard(lock_);
  return pool_.used + reserve_.used;
}

CapacityLimit Capacity::check() const {
  if (!pool_.has_room()) return CapacityLimit::pool;
  if (!database_.has_room()) return CapacityLimit::database;
  if (!user_.has_room()) return CapacityLimit::user;
  return CapacityLimit::none;
}

}  // namespace pgproxy::pool
