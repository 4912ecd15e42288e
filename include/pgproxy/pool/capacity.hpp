#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <utility>

namespace pgproxy::pool {

/// A limit on server connections and what is used of it. Guarded by the CapacityLock that all
/// budgets of a process share.
struct Budget {
  static constexpr std::uint32_t unlimited = std::numeric_limits<std::uint32_t>::max();

  std::uint32_t limit = 0;  ///< as configured; 0: unlimited
  std::uint32_t used = 0;
  /// What there is beside the configuration, as what a server has for us; 0: nothing at all.
  std::optional<std::uint32_t> given = {};
  /// The smaller of the two.
  std::uint32_t most() const {
    return std::min(limit == 0 ? unlimited : limit, given.value_or(unlimited));
  }
  bool has_room() const { return used < most(); }
  /// There are more than there may be: the limit was lowered.
  bool is_exceeded() const { return used > most(); }
};

/// What a connection to one server takes from that server's budgets; they outlive its permit.
struct ServerBudgets {
  Budget& host;      ///< of all our connections to it
  Budget& role;      ///< of those as one role
  Budget& database;  ///< of those to one database, by its name there
};

/// Guards all budgets: connects are rare, so one lock is enough.
using CapacityLock = std::mutex;

class Capacity;

/// The right to have one server connection open, from before connect until after close.
class Permit {
 public:
  Permit(Permit&& other) noexcept
      : owner_(std::exchange(other.owner_, nullptr)), taken_(other.taken_) {}
  Permit& operator=(Permit&& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(taken_, other.taken_);
    return *this;
  }
  ~Permit();

  /// The configuration allows less than is open: this one is among those that may be closed for it.
  bool is_in_excess() const;

 private:
  friend class Capacity;
  /// The pool's own and those that it shares: database entry, user, host, role, database there.
  using Taken = std::array<Budget*, 6>;
  Permit(Capacity& owner, const Taken& taken) : owner_(&owner), taken_(taken) {}
  Capacity* owner_;
  Taken taken_;
};

/// What stands in the way of one more server connection: settings of the pool, its database entry
/// or its user; then what a server has for pgproxy, for the role or for the database.
enum class CapacityLimit : std::uint8_t {
  none,
  pool,
  database,
  user,
  host,
  server_role,
  server_database,
};

/// The server connections that one pool may have: pool_size, and its share in max_db_connections,
/// max_user_connections and the limits of the server that it connects to. Thread safe; takes a
/// mutex: called to connect, never per transaction.
class Capacity {
 public:
  Capacity(CapacityLock& lock, std::uint32_t pool_size, std::uint32_t reserve_size,
           Budget& database, Budget& user)
      : lock_(lock), pool_{pool_size}, reserve_{reserve_size}, database_(database), user_(user) {}

  /// Reserves one slot for a connection to the server with the budgets `at`; nullopt when pool,
  /// database, user or server is full. `from_reserve`: takes it from reserve_pool_size when the
  /// pool itself is full.
  std::optional<Permit> try_reserve(bool from_reserve, const ServerBudgets& at);
  /// The first limit that try_reserve(false, at) would run into.
  CapacityLimit blocking_limit(const ServerBudgets& at) const;
  /// Whether pool_size, or with `from_reserve` reserve_pool_size, has room; no shared limit counts.
  bool has_own_room(bool from_reserve) const;
  /// Whether connections of `other` to a server with the budgets `there` are in the way of this
  /// pool, which has room itself, at the one with the budgets `here`: without enough of them it
  /// could connect. One is enough unless a limit was lowered below what is open.
  bool is_relieved_by(const Capacity& other, const ServerBudgets& there,
                      const ServerBudgets& here) const;
  /// Most that pool, database entry and user may have; no server counts.
  std::uint32_t most() const;
  std::uint32_t used() const;
  std::uint32_t pool_limit() const { return pool_.limit; }
  /// Other sizes from now on; what is open beyond them stays until it is closed.
  void resize(std::uint32_t pool_size, std::uint32_t reserve_size);

 private:
  friend class Permit;
  using Shared = std::array<Budget*, 5>;
  Shared shared_with(const ServerBudgets& at) const;
  CapacityLimit check(const ServerBudgets& at) const;

  CapacityLock& lock_;
  Budget pool_;
  Budget reserve_;
  Budget& database_;
  Budget& user_;
};

}  // namespace pgproxy::pool
