#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pgproxy/base/result.hpp"
#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/config/capacity.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/control/connection.hpp"

namespace pgproxy::control {

class ClusterSlot;
struct SlotHost;

/// Keeps instances of pgproxy that share servers to their number: at the primary of each list of
/// hosts it holds one of `instances` advisory locks in control_dbname, on a connection of
/// control_user that stays open, and tells the others its plan in that connection's
/// application_name. Lists that share a host are one. Of a list that has standbys only, the first
/// is taken.
///
/// A slot is lost with its connection; it is asked for every check_interval or
/// capacity_check_interval, whichever is shorter, whether it is still there and at a primary. What
/// is lost is tried again at once and then every attempt_interval; meanwhile the pools go on.
/// Losses, what an attempt met where that changes, and acquisitions are logged. On the loop's
/// thread; never blocks.
class Coordination {
 public:
  /// `settings` outlives the object and has a control_user; `plan` is copied from. `on_change` is
  /// called when a slot was acquired, lost or refused, and must not destroy the object; nor must
  /// `done`.
  Coordination(Services services, const config::Settings& settings,
               const config::CapacityPlan& plan, std::function<void()> on_change);
  ~Coordination();

  /// The settings are others now, `plan` with them. Slots that are held stay, and tell the others
  /// of the plan with their next question; those of new servers are tried for as if they had been
  /// lost.
  void reload(const config::CapacityPlan& plan);

  /// Once, at the start: `done` hears, perhaps from within the call, that all slots are held, or
  /// why not: an instance too many (53400), another plan (F0000), or a server that cannot be
  /// asked, each with a hint; of several the first, with the others in its detail. What was not
  /// acquired is tried again as if it had been lost; who does not want that destroys the object.
  void acquire(std::function<void(Result<void>)> done);

  /// The others leave no room for this instance at some server: since a promotion, or since its
  /// slot was lost and taken by another one.
  bool is_refused() const;
  /// A row of kind "coordination" for each list of hosts: acquiring, held, lost (its server cannot
  /// be asked) or refused (the others leave no room for it).
  void describe_health(std::vector<HealthRow>& rows) const;
  CoordinationCounts counts() const;

 private:
  void finish_one(const Result<void>& result);
  std::unique_ptr<ClusterSlot> make_slot(std::vector<SlotHost> hosts);

  Services services_;
  const config::Settings& settings_;
  std::function<void()> on_change_;
  std::vector<std::unique_ptr<ClusterSlot>> slots_;
  std::function<void(Result<void>)> done_;
  std::size_t pending_count_ = 0;
  std::optional<Error> first_error_;
};

}  // namespace pgproxy::control
