#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/control/connection.hpp"
#include "pgproxy/route/cluster.hpp"

namespace pgproxy::control {

/// What the list of hosts of an entry is called: "10.0.0.1,10.0.0.2:5432". Entries with the same
/// list have one cluster.
std::string cluster_name(const config::Database& entry);

/// Finds out which server of each list of hosts is the primary, what the standbys have replayed,
/// and how far they are behind: as control_user in control_dbname, on a connection to each server
/// that stays open, every probe_interval, and at once when something speaks against what is known.
/// Every change of a role is logged. On the loop's thread; never blocks.
class ClusterProbes final : private TimeoutListener {
 public:
  /// Called with each new view, first when all servers of the list have been asked.
  using OnView = std::function<void(const std::string& cluster, const route::ClusterViewRef& view)>;

  /// `settings` outlives the object.
  ClusterProbes(Services services, const config::Settings& settings, OnView on_view);
  ~ClusterProbes();

  /// Asks about the servers of `name`, and tells `cluster` the primary's positions and the
  /// questions for them; it outlives the object.
  void add(const config::Database& entry, route::Cluster& cluster);
  /// The role of a server ("host:port") is in doubt: it is unknown from now on, until a question
  /// that is sent now is answered.
  void probe_now(std::string_view server);
  /// Positions are asked for every few milliseconds, or no more.
  void sample(std::string_view cluster, bool is_on);

 private:
  struct Host;
  struct Probed;

  void on_timeout(Timeout& timeout) override;
  void probe(Probed& probed, Host& host);
  void finish(Probed& probed, Host& host, TimePoint asked_at, const Answer& answer);
  void sample(Probed& probed, std::size_t index);
  void publish(Probed& probed);
  static void log_changes(const Probed& probed, const route::ClusterView& view);

  Services services_;
  const config::Settings& settings_;
  OnView on_view_;
  std::vector<std::unique_ptr<Probed>> clusters_;
  Timeout timer_;
  Timeout sampling_;
};

}  // namespace pgproxy::control
