// Sessions' part in routing: what the clients of a pool share, and what is told of it.
#include <algorithm>
#include <utility>

#include "session/client_session.hpp"
#include "session/routing.hpp"
#include "session/workload.hpp"

#include "pgproxy/session/sessions.hpp"

namespace pgproxy::session {
namespace {

std::string_view word_of(route::Target target) {
  return target == route::Target::replica ? "replica" : "primary";
}

std::string_view word_of(config::OnNoReplica what) {
  switch (what) {
    case config::OnNoReplica::primary: return "primary";
    case config::OnNoReplica::wait: return "wait";
    case config::OnNoReplica::error: return "error";
  }
  std::unreachable();
}

/// To know of a statement where it may run, or whether it has written.
bool needs_catalog(const config::RoutingSettings& settings) {
  if (settings.routing == config::Routing::selects) return true;
  return settings.routing == config::Routing::read_only_transactions &&
         settings.read_consistency == config::ReadConsistency::session;
}

/// Any standby that is not too far behind, whatever it has to do.
std::expected<std::size_t, route::Reason> find_replica(const route::ClusterView* view,
                                                       const config::RoutingSettings& settings) {
  if (view == nullptr) return std::unexpected(route::Reason::no_replica);
  std::vector<route::ReplicaLoad> loads(view->hosts.size());
  for (std::size_t i = 0; i < loads.size(); ++i) loads[i].weight = settings.host_weights[i];
  route::ReplicaDemand demand;
  if (settings.max_replica_lag > Duration::zero()) demand.max_lag = settings.max_replica_lag;
  return route::choose_replica(*view, loads, demand);
}

/// `server` and what may become of the wish for a replica.
void find_server(const route::ClusterView* view, const config::RoutingSettings& settings,
                 RouteExplanation& row) {
  if (row.target == word_of(route::Target::replica)) {
    const auto found = find_replica(view, settings);
    if (found) {
      row.server = view->hosts[*found].name;
      return;
    }
    row.target = word_of(settings.on_no_replica);
    row.reason = to_string(found.error());
    row.explanation = explain(found.error());
  }
  const bool is_for_primary = row.target == word_of(route::Target::primary);
  if (is_for_primary && view != nullptr && view->primary) {
    row.server = view->hosts[*view->primary].name;
  }
}

}  // namespace

route::Mode mode_of(config::Routing routing) {
  switch (routing) {
    case config::Routing::selects: return route::Mode::selects;
    case config::Routing::read_only_transactions: return route::Mode::read_only_transactions;
    default: return route::Mode::primary_only;
  }
}

Routing* Sessions::routing(const pool::Pool& pool) {
  if (pool.kind() != pool::PoolKind::primary || !find_cluster_) return nullptr;
  Workload& work = workload(pool);
  if (work.routing == nullptr) set_up_routing(pool, work);
  return work.routing.get();
}

/// Also when the settings, or the list of hosts, are others now.
void Sessions::set_up_routing(const pool::Pool& pool, Workload& work) {
  const config::Database& entry = pool.database().config;
  route::Cluster* const cluster = find_cluster_(entry);
  if (cluster == nullptr) return;
  if (work.routing == nullptr) work.routing = std::make_unique<Routing>();
  Routing& routing = *work.routing;
  routing.settings = config::routing_settings(settings_, entry, pool.user().name);
  routing.catalog =
      needs_catalog(routing.settings) ? cluster->want_catalog(pool.server_database()) : nullptr;
  if (routing.cluster == cluster) return;
  routing.cluster = cluster;
  routing.replicas.clear();
}

void Sessions::add_replica_waiter(ClientSession& session) {
  replica_waiters_.push_back(session.id());
}

void Sessions::on_cluster_changed() {
  for (const std::uint64_t id : std::exchange(replica_waiters_, {})) {
    const auto at = sessions_.find(id);
    if (at != sessions_.end()) at->second->on_cluster_changed();
  }
}

std::vector<RouteRow> Sessions::describe_routes() const {
  std::vector<RouteRow> rows;
  for (const auto& [pool, workload] : workloads_) {
    if (workload->routing == nullptr) continue;
    workload->routing->for_each_count(
        [&](route::Target target, route::Reason reason, const Routing::Count& count) {
          rows.push_back({.database = pool->database().config.name,
                          .user = pool->user().name,
                          .target = std::string(word_of(target)),
                          .reason = std::string(to_string(reason)),
                          .count = count.number,
                          .last_fingerprint = count.last_fingerprint,
                          .last_ago = loop_.now() - count.last_at});
        });
  }
  return rows;
}

std::vector<RouteExplanation> Sessions::explain_route(std::string_view sql) const {
  std::vector<RouteExplanation> rows;
  if (!find_cluster_) return rows;
  sql::Shapes shapes;
  const sql::ShapeRef& shape = shapes.find(sql, true);
  const route::SessionFacts session;
  for (const config::Database& entry : settings_.databases) {
    route::Cluster* const cluster = find_cluster_(entry);
    if (cluster == nullptr) continue;
    const auto settings = config::routing_settings(settings_, entry, "");
    const route::CatalogRef* const catalog = settings.routing == config::Routing::selects
                                                 ? cluster->want_catalog(entry.server_dbname())
                                                 : nullptr;
    const route::Decision decision =
        route::decide(mode_of(settings.routing), shape->facts, sql::route_hint(sql), session,
                      catalog != nullptr ? catalog->get() : nullptr);
    RouteExplanation row{.database = entry.name,
                         .target = std::string(word_of(decision.target)),
                         .reason = std::string(to_string(decision.reason)),
                         .explanation = std::string(explain(decision.reason))};
    find_server(cluster->view().get(), settings, row);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace pgproxy::session
