#include "app/clusters.hpp"

#include <algorithm>
#include <utility>

namespace pgproxy::app {
namespace {

/// Positions that nobody has wanted for so long are not asked for any more.
constexpr Duration sampling_quiet_time = std::chrono::seconds(1);

pool::ServerRole role_of(const route::ClusterView& view, std::size_t index) {
  if (view.primary == index) return pool::ServerRole::primary;
  switch (view.hosts[index].role) {
    case route::Role::standby: return pool::ServerRole::standby;
    case route::Role::replaced: return pool::ServerRole::replaced;
    case route::Role::unknown:
    case route::Role::primary: return pool::ServerRole::unknown;
  }
  std::unreachable();
}

std::string lsn_text(std::uint64_t lsn) {
  return fmt::format("{:X}/{:X}", lsn >> 32, lsn & 0xFFFFFFFF);
}

}  // namespace

Clusters::Clusters(control::Services services, const config::Settings& settings, pool::Pools& pools,
                   session::Sessions& sessions)
    : services_(services),
      settings_(settings),
      pools_(pools),
      sessions_(sessions),
      catalogs_(services, settings),
      sampling_(*this) {
  sessions_.use_clusters([this](const config::Database& entry) -> route::Cluster* {
    const auto at = clusters_.find(control::cluster_name(entry));
    return at != clusters_.end() ? &at->second->cluster : nullptr;
  });
  pools_.on_doubt([this](const pool::ServerHost& host) {
    if (probes_ != nullptr) probes_->probe_now(host.name());
  });
}

Clusters::~Clusters() = default;

void Clusters::make_clusters() {
  std::vector<config::Database> entries = settings_.databases;
  if (settings_.auto_database) entries.push_back(*settings_.auto_database);
  for (const config::Database& entry : entries) {
    if (config::is_routed(settings_, entry)) add(entry);
  }
}

void Clusters::add(const config::Database& entry) {
  const std::string name = control::cluster_name(entry);
  auto& known = clusters_[name];
  if (known != nullptr) return;
  known = std::make_unique<Known>();
  for (const std::string& host : entry.hosts) {
    known->servers.push_back({.host = host, .port = entry.port});
  }
  route::Cluster& cluster = known->cluster;
  cluster.on_change([this] { sessions_.on_cluster_changed(); });
  cluster.on_wanted([this, name] { sample(name); });
  cluster.on_catalog_wanted([this, &added = *known](const std::string& dbname) {
    catalogs_.ask(added.cluster, added.servers, dbname);
  });
  if (probes_ != nullptr) probes_->add(entry, cluster);
}

void Clusters::start(std::function<void()> over) {
  when_started_ = std::move(over);
  probes_ = std::make_unique<control::ClusterProbes>(
      services_, settings_,
      [this](const std::string& name, const route::ClusterViewRef& view) { on_view(name, view); });
  make_clusters();
  if (clusters_.empty()) std::exchange(when_started_, nullptr)();
}

void Clusters::on_view(const std::string& name, const route::ClusterViewRef& view) {
  Known& known = *clusters_.at(name);
  give_roles(known, *view);
  known.cluster.set_view(view);
  if (view->primary) catalogs_.on_primary();
  const bool is_all_known = std::ranges::all_of(
      clusters_, [](const auto& entry) { return entry.second->cluster.view() != nullptr; });
  if (is_all_known && when_started_) std::exchange(when_started_, nullptr)();
}

/// First who is none any more, so that there are never two primaries.
void Clusters::give_roles(const Known& known, const route::ClusterView& view) {
  for (const bool is_primary : {false, true}) {
    for (std::size_t i = 0; i < view.hosts.size(); ++i) {
      if ((view.primary == i) != is_primary) continue;
      pools_.set_role(known.servers[i], role_of(view, i), view.hosts[i].position.timeline);
    }
  }
}

void Clusters::sample(const std::string& name) {
  probes_->sample(name, true);
  if (sampling_.is_armed()) return;
  services_.loop.timeouts().queue(sampling_quiet_time).arm(sampling_, services_.loop.now());
}

void Clusters::on_timeout(Timeout& /*timeout*/) {
  bool is_sampling = false;
  for (const auto& [name, known] : clusters_) {
    route::Cluster& cluster = known->cluster;
    if (!cluster.is_sampled()) continue;
    if (services_.loop.now() - cluster.wanted_at() < sampling_quiet_time) {
      is_sampling = true;
      continue;
    }
    probes_->sample(name, false);
    cluster.end_sampling();
  }
  if (!is_sampling) return;
  services_.loop.timeouts().queue(sampling_quiet_time).arm(sampling_, services_.loop.now());
}

/// Sessions want again what they need of catalogs.
void Clusters::reload() {
  catalogs_.clear();
  for (const auto& [name, known] : clusters_) known->cluster.forget_catalogs();
  make_clusters();
}

std::vector<std::string> Clusters::replicas_of(const config::Database& entry) const {
  std::vector<std::string> names;
  const auto known = clusters_.find(control::cluster_name(entry));
  const auto routing = config::routing_settings(settings_, entry, "").routing;
  const bool reads = routing != config::Routing::off && routing != config::Routing::primary_only;
  if (!reads || known == clusters_.end()) return names;
  const route::ClusterViewRef& view = known->second->cluster.view();
  if (view == nullptr) return names;
  for (const route::HostView& host : view->hosts) {
    if (host.role == route::Role::standby) names.push_back(host.name);
  }
  return names;
}

void Clusters::describe(std::vector<HostRow>& rows) const {
  const TimePoint now = services_.loop.now();
  for (const auto& [name, known] : clusters_) {
    if (known->cluster.view() == nullptr) continue;
    const route::ClusterView& view = *known->cluster.view();
    for (std::size_t i = 0; i < view.hosts.size(); ++i) {
      const route::HostView& host = view.hosts[i];
      const auto row = std::ranges::find(rows, host.name, &HostRow::name);
      if (row == rows.end()) continue;
      row->role = to_string(role_of(view, i));
      row->timeline = host.position.timeline;
      row->lsn = lsn_text(host.position.lsn);
      row->lag_bytes = host.lag_bytes;
      row->lag = host.lag;
      row->evidence = host.evidence;
      row->evidence_age = now - host.probed_at;
    }
  }
}

}  // namespace pgproxy::app
