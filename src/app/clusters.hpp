#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/control/catalog_questions.hpp"
#include "pgproxy/control/cluster_probes.hpp"
#include "pgproxy/pool/pools.hpp"
#include "pgproxy/route/cluster.hpp"
#include "pgproxy/session/sessions.hpp"

namespace pgproxy::app {

/// What is found out of the clusters of [databases] goes to those who act on it: roles to the
/// pools, positions to the sessions; and what these want to know goes to the probes. On the loop's
/// thread.
class Clusters final : private TimeoutListener {
 public:
  Clusters(control::Services services, const config::Settings& settings, pool::Pools& pools,
           session::Sessions& sessions);
  ~Clusters();

  /// Begins to ask. `over` is called once each server was asked once, whatever came of it.
  void start(std::function<void()> over);
  /// The settings are others now: new lists of hosts are asked, too.
  void reload();
  /// The standbys that transactions of the entry may go to, "host:port"; what they are at the
  /// moment.
  std::vector<std::string> replicas_of(const config::Database& entry) const;
  /// Adds what is known to the rows of these servers.
  void describe(std::vector<HostRow>& rows) const;
  void describe_health(std::vector<HealthRow>& rows) const { catalogs_.describe_health(rows); }

 private:
  /// One list of hosts.
  struct Known {
    std::vector<io::ServerAddress> servers;
    route::Cluster cluster;
  };
  void on_timeout(Timeout& timeout) override;
  void make_clusters();
  void add(const config::Database& entry);
  void on_view(const std::string& hosts, const route::ClusterViewRef& view);
  void give_roles(const Known& known, const route::ClusterView& view);
  void sample(const std::string& hosts);

  const control::Services services_;
  const config::Settings& settings_;
  pool::Pools& pools_;
  session::Sessions& sessions_;
  std::map<std::string, std::unique_ptr<Known>, std::less<>> clusters_;  ///< by name
  std::unique_ptr<control::ClusterProbes> probes_;
  control::CatalogQuestions catalogs_;
  std::function<void()> when_started_;
  Timeout sampling_;  ///< to see whether somebody still wants positions
};

}  // namespace pgproxy::app
