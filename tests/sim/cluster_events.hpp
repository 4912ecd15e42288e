#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "prober.hpp"
#include "replication.hpp"
#include "world.hpp"

namespace pgproxy::sim {

/// Three hosts for a random world, and what happens to them: standbys go and come and fall behind,
/// backends are terminated, the primary dies or is cut off and a standby is promoted, the one of
/// before comes back, as a standby or as if nothing had happened.
class ClusterEvents {
 public:
  explicit ClusterEvents(std::uint64_t seed);

  /// The settings of such a world.
  void apply(config::Settings& settings);
  /// Before the first client comes.
  void start(World& world);
  void stir(World& world);
  /// All servers are up, and one of them is the primary.
  void heal(World& world);
  /// The servers are not asked any more, so that all can be quiet.
  void stop() { prober_->stop(); }

 private:
  void stir(World& world, Node& node);
  void check_hold(World& world);
  void stop(World& world, Node& node);
  void bring_back(Node& node);
  Node* candidate();

  Random random_;
  std::unique_ptr<Replication> servers_;
  std::unique_ptr<Prober> prober_;
  /// Pools in which clients wait for a primary, and since when.
  std::map<const pool::Pool*, TimePoint> waiting_;
  bool may_split_ = false;  ///< a standby is promoted while the primary is up
};

}  // namespace pgproxy::sim
