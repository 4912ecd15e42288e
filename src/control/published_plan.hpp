#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/base/result.hpp"
#include "pgproxy/control/connection.hpp"

namespace pgproxy::control {

/// What one instance tells the others, in application_name of the connection that holds its lock.
struct PublishedPlan {
  std::uint32_t slot = 0;  ///< 0: none yet
  std::uint32_t instances = 1;
  std::uint32_t total = 0;   ///< connections to this server, of one instance
  std::uint16_t digest = 0;  ///< of the totals of its roles and databases
  std::string instance;      ///< "hostname:pid"

  bool agrees_with(const PublishedPlan& other) const {
    return instances == other.instances && total == other.total && digest == other.digest;
  }
  /// A name that was cut to fit into text() is taken for the whole.
  bool is_of(const PublishedPlan& other) const;
  /// "instances = 5, 40 connections (plan 1f3a)".
  std::string describe() const;
  /// "pgproxy 2/5 plan=1f3a total=40 web1:4711", with 63 bytes at most: PostgreSQL would cut the
  /// rest off. The host's name gives way.
  std::string text() const;
};
/// nullopt: that is not a plan.
std::optional<PublishedPlan> read_plan(std::string_view text);

/// Of totals by name.
std::uint16_t digest_of(const std::map<std::string, std::uint32_t>& roles,
                        const std::map<std::string, std::uint32_t>& databases);

/// The first key of pg_try_advisory_lock; "pgpx". The second one is the slot.
constexpr std::uint32_t lock_class = 0x7067'7078;

/// Who holds one of the locks.
struct Holder {
  std::uint32_t slot = 0;
  std::int32_t backend_pid = 0;
  std::optional<PublishedPlan> plan;
  std::string application_name;
  std::string from;   ///< "10.0.0.7:41234", "a unix socket"
  std::string since;  ///< of its connection, as the server writes it
  bool is_own = false;

  std::string describe() const;
};
std::string describe(const std::vector<Holder>& holders);

/// Publishes ($1, a plan's text) and tells who holds locks ($2, lock_class), and whether the server
/// is a standby. One row at least.
extern const std::string_view holders_sql;

struct Holders {
  bool is_standby = false;
  std::optional<std::uint32_t> own_slot;
  std::vector<Holder> others;
};
Result<Holders> read_holders(const Answer& answer);

/// For an instance that got no slot of `server`.
Error all_slots_taken(const std::string& server, const PublishedPlan& own,
                      const std::vector<Holder>& others);
/// For an instance whose plan differs from that of one of the others; nullopt: none does.
std::optional<Error> find_conflict(const std::string& server, const PublishedPlan& own,
                                   const std::vector<Holder>& others);

}  // namespace pgproxy::control
