#include "cluster_events.hpp"

#include <algorithm>

namespace pgproxy::sim {

using std::chrono::milliseconds;

namespace {

constexpr Duration slack = milliseconds(5);

}  // namespace

ClusterEvents::ClusterEvents(std::uint64_t seed)
    : random_(seed * 1'000'037), may_split_(random_.chance(50)) {}

void ClusterEvents::apply(config::Settings& settings) {
  settings.databases[0].hosts = {"10.0.0.1", "10.0.0.2", "10.0.0.3"};
  settings.pool_mode = config::PoolMode::transaction;
  settings.routing = config::Routing::read_only_transactions;
  settings.read_consistency =
      random_.chance(80) ? config::ReadConsistency::session : config::ReadConsistency::eventual;
  settings.on_no_replica = static_cast<config::OnNoReplica>(random_.below(3));
  settings.failover_hold = milliseconds(1 + random_.below(60));
  if (random_.chance(20)) settings.max_replica_lag = milliseconds(10);
  if (random_.chance(30)) settings.query_wait_timeout = milliseconds(20 + random_.below(100));
  settings.replica_pool_size = {.connections = 1 + static_cast<std::uint32_t>(random_.below(3))};
  settings.attempt_interval = milliseconds(5);
  // Without, a statement with a name would have to stay on its replica, and is refused.
  if (settings.max_prepared_statements == 0) settings.max_prepared_statements = 200;
}

void ClusterEvents::start(World& world) {
  const config::Settings& settings = world.settings();
  servers_ = std::make_unique<Replication>(world.loop, random_, settings.databases[0].hosts);
  servers_->promises_own_writes = settings.read_consistency == config::ReadConsistency::session;
  for (Node& node : servers_->nodes()) node.replay_delay = milliseconds(random_.below(50));
  world.postgres.replication = servers_.get();
  prober_ =
      std::make_unique<Prober>(world.loop, random_, *servers_, world.pools(), world.sessions());
  prober_->start();
}

/// A standby that could be promoted; nullptr: there is none.
Node* ClusterEvents::candidate() {
  Node* found = nullptr;
  for (Node& node : servers_->nodes()) {
    const bool can_be =
        node.is_up && node.is_standby && node.position.timeline == servers_->newest_timeline();
    const bool is_better = found == nullptr || node.position.lsn > found->position.lsn;
    if (can_be && (is_better || random_.chance(30))) found = &node;
  }
  return found;
}

/// Nobody waits for a primary for longer than failover_hold.
void ClusterEvents::check_hold(World& world) {
  const auto lost_at = prober_->without_primary_since();
  const TimePoint now = world.loop.now();
  world.pools().for_each_even_retired([&](const pool::Pool& pool) {
    const bool waits = lost_at && pool.kind() == pool::PoolKind::primary && pool.has_waiters() &&
                       pool.hold() == pool::Hold::none;
    if (!waits) {
      waiting_.erase(&pool);
      return;
    }
    TimePoint& since = waiting_.try_emplace(&pool, now).first->second;
    since = std::max(since, *lost_at);
    if (now - since > *world.settings().failover_hold + slack) {
      world.complain("clients wait for a primary longer than failover_hold");
    }
  });
}

void ClusterEvents::stir(World& world) {
  check_hold(world);
  for (Node& node : servers_->nodes()) stir(world, node);
  if (random_.chance(30)) world.postgres.terminate_one();
  const bool is_due =
      servers_->primary() == nullptr ? random_.chance(40) : may_split_ && random_.chance(6);
  if (Node* const next = candidate(); is_due && next != nullptr) servers_->promote(*next);
}

void ClusterEvents::stir(World& world, Node& node) {
  if (random_.chance(10)) node.replay_delay = milliseconds(random_.below(50));
  const bool is_old = node.is_up && !node.is_standby && &node != servers_->primary();
  const unsigned likely = is_old || servers_->is_stuck(node) ? 12 : 5;
  if (!node.is_up) {
    if (random_.chance(25)) bring_back(node);
  } else if (random_.chance(likely)) {
    stop(world, node);
  }
}

void ClusterEvents::stop(World& world, Node& node) {
  servers_->stop(node);
  world.postgres.stop(node);
  prober_->lose(node);
}

/// A primary that missed a promotion may not know.
void ClusterEvents::bring_back(Node& node) {
  const bool is_outdated = !node.is_standby && node.position.timeline < servers_->newest_timeline();
  if (servers_->is_stuck(node) || (is_outdated && random_.chance(50))) {
    servers_->rejoin(node);
  } else {
    servers_->start(node);
  }
}

void ClusterEvents::heal(World& world) {
  prober_->interval = std::chrono::seconds(1);  // there is nothing new any more
  for (Node& node : servers_->nodes()) {
    const bool is_old = !node.is_standby && node.position.timeline < servers_->newest_timeline();
    if (!is_old && !servers_->is_stuck(node)) {
      if (!node.is_up) servers_->start(node);
      continue;
    }
    if (node.is_up) stop(world, node);
    servers_->rejoin(node);
  }
}

}  // namespace pgproxy::sim
