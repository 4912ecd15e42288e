#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pgproxy/base/time.hpp"

namespace pgproxy::route {

enum class Role : std::uint8_t {
  unknown,
  primary,
  standby,
  replaced,  ///< takes writes on a timeline that a promotion elsewhere has ended: they would be
             ///< lost
};

/// A position in the WAL. One on a later timeline has everything of an earlier one that survived
/// the promotion between them, as far as its lsn goes.
struct WalPosition {
  std::uint32_t timeline = 0;
  std::uint64_t lsn = 0;
  /// Whoever has replayed this has `other`, too.
  bool covers(const WalPosition& other) const {
    return timeline >= other.timeline && lsn >= other.lsn;
  }
  bool operator==(const WalPosition&) const = default;
};

/// What is known of one server of a cluster.
struct HostView {
  std::string name;  ///< "10.0.0.1:5432"
  Role role = Role::unknown;
  /// Where the primary writes (pg_current_wal_insert_lsn), what a standby has replayed.
  WalPosition position;
  std::optional<std::uint64_t> lag_bytes;  ///< of a standby, behind the primary's position
  std::optional<Duration> lag;             ///< likewise; zero: all that came is replayed
  Duration latency{};                      ///< of the last answer
  TimePoint probed_at{};                   ///< when the question was sent that told this
  std::string evidence;  ///< for people: what the last answer, or the lack of one, was
};

/// The servers of one list of hosts, as they were at one moment; immutable once published.
struct ClusterView {
  std::vector<HostView> hosts;         ///< in the order of the list
  std::optional<std::size_t> primary;  ///< the one that may be written to; nullopt: there is none
  std::string reason;  ///< for people: why there is no primary, or how it was chosen
};
using ClusterViewRef = std::shared_ptr<const ClusterView>;

}  // namespace pgproxy::route
