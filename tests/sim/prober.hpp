#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "replication.hpp"

#include "pgproxy/pool/pools.hpp"
#include "pgproxy/route/cluster.hpp"
#include "pgproxy/session/sessions.hpp"

namespace pgproxy::sim {

/// Stands for control::ClusterProbes and app::Clusters, which need sockets: asks the servers of
/// one cluster over a network that takes its time, has control choose the primary, and gives roles
/// and positions to pools and sessions.
class Prober {
 public:
  Prober(Loop& loop, Random& random, Replication& replication, pool::Pools& pools,
         session::Sessions& sessions);
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;

  void start();
  /// Asks no more.
  void stop() { is_over_ = true; }
  /// nullopt: pgproxy was told of a primary.
  std::optional<TimePoint> without_primary_since() const { return without_primary_since_; }
  /// The connection on which it is asked is lost.
  void lose(const Node& node);

  Duration interval = std::chrono::milliseconds(20);
  Duration max_latency = std::chrono::milliseconds(2);  ///< one way

 private:
  struct Host {
    Node& node;
    route::HostView view;
    bool is_asked = false;
    bool is_doubted = false;
    bool is_sampled = false;
    bool has_answered = false;
  };

  void probe_all();
  void probe(Host& host);
  void answer(Host& host, const Node& node);
  void doubt(std::string_view server);
  void publish();
  void give_roles(const route::ClusterView& view);
  void sample_all();
  void sample(std::size_t index);
  Duration latency() { return Duration(random_.below(max_latency.count() + 1)); }

  Loop& loop_;
  Random& random_;
  Replication& replication_;
  pool::Pools& pools_;
  route::Cluster cluster_;
  std::vector<Host> hosts_;
  std::uint32_t timeline_ = 0;         ///< the latest that a server told
  std::optional<std::size_t> chosen_;  ///< the primary of before
  std::uint32_t chosen_timeline_ = 0;
  route::ClusterViewRef published_;
  std::optional<TimePoint> without_primary_since_;
  bool is_over_ = false;
};

}  // namespace pgproxy::sim
