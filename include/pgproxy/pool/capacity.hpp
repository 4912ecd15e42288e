#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

namespace pgproxy::pool {

/// A limit on server connections and what is used of it. Guarded by the CapacityLock that all
/// budgets of a process share.
struct Budget {
  std::uint32_t limit = 0;  ///< 0: unlimited
  std::uint32_t used = 0;
  bool has_room() const { return limit == 0 || used < limit; }
};

/// Guards all budgets: connects are rare, so one lock is enough.
using CapacityLock = std::mutex;

class Capacity;

/// The right to have one server connection open, from before connect until after close.
class Permit {
 public:
  Permit(Permit&& other) noexcept
      : owner_(std::exchange(other.owner_, nullptr)), is_reserve_(other.is_reserve_) {}
  Permit& operator=(Permit&& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(is_reserve_, other.is_reserve_);
    return *this;
  }
  ~Permit();

 private:
  friend class Capacity;
  Permit(Capacity& owner, bool is_reserve) : owner_(&owner), is_reserve_(is_reserve) {}
  Capacity* owner_;
  bool is_reserve_;
};

/// What stands in the way of one more server connection.
enum class CapacityLimit : std::uint8_t { none, pool, database, user };

/// The server connections that one pool may have: pool_size, and its share in max_db_connections
/// and max_user_connections. Thread safe; takes a mutex: called to connect, never per transaction.
class Capacity {
 public:
  Capacity(CapacityLock& lock, std::uint32_t pool_size, std::uint32_t reserve_size,
           Budget& database, Budget& user)
      : lock_(lock), pool_{pool_size}, reserve_{reserve_size}, database_(database), user_(user) {}

  /// Reserves one slot; nullopt when pool, database or user is full. `from_reserve`: takes it from
  /// reserve_pool_size when the pool itself is full.
  std::optional<Permit> try_reserve(bool from_reserve);
  /// The first limit that try_reserve(false) would run into.
  CapacityLimit blocking_limit() const;
  std::uint32_t used() const;
  std::uint32_t pool_limit() const { return pool_.limit; }

 private:
  friend class Permit;
  CapacityLimit check() const;

  CapacityLock& lock_;
  Budget pool_;
  Budget reserve_;
  Budget& database_;
  Budget& user_;
};

}  // namespace pgproxy::pool
