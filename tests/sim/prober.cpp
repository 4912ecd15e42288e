#include "prober.hpp"

#include <algorithm>
#include <utility>

#include "control/host_answer.hpp"

namespace pgproxy::sim {
namespace {

using route::Role;

/// As control::ClusterProbes has it.
constexpr Duration sampling_interval = std::chrono::milliseconds(5);
/// Shorter than in app::Clusters, as all of a world's life is.
constexpr Duration sampling_quiet_time = std::chrono::milliseconds(40);

constexpr std::uint16_t port = 5432;

}  // namespace

Prober::Prober(Loop& loop, Random& random, Replication& replication, pool::Pools& pools,
               session::Sessions& sessions)
    : loop_(loop), random_(random), replication_(replication), pools_(pools) {
  for (Node& node : replication.nodes()) {
    hosts_.push_back({.node = node, .view = {.name = node.host + ":" + std::to_string(port)}});
  }
  sessions.use_clusters([this](const config::Database&) { return &cluster_; });
  cluster_.on_change([&sessions] { sessions.on_cluster_changed(); });
  cluster_.on_wanted([this] { sample_all(); });
  pools_.on_doubt([this](const pool::ServerHost& host) { doubt(host.name()); });
}

void Prober::start() {
  without_primary_since_ = loop_.now();
  probe_all();
}

void Prober::probe_all() {
  if (is_over_) return;
  for (Host& host : hosts_) probe(host);
  loop_.after(interval, [this] { probe_all(); });
}

/// What it tells is as old as its answer was under way.
void Prober::probe(Host& host) {
  if (std::exchange(host.is_asked, true)) return;
  loop_.after(latency(), [this, &host, asked_at = loop_.now()] {
    const Node now = host.node;
    loop_.after(latency(), [this, &host, asked_at, now] {
      host.is_asked = false;
      if (std::exchange(host.is_doubted, false)) return probe(host);
      host.has_answered = true;
      host.view.probed_at = asked_at;
      answer(host, now);
      publish();
    });
  });
}

void Prober::answer(Host& host, const Node& node) {
  host.view.role = Role::unknown;
  host.view.lag.reset();
  host.view.lag_bytes.reset();
  if (!node.is_up) return;
  host.view.role = node.is_standby ? Role::standby : Role::primary;
  host.view.position = node.position;
  if (!node.is_standby) return;
  const Node* const source = replication_.primary();
  const bool has_all = source != nullptr && replication_.has(node, source->position);
  host.view.lag = has_all ? Duration::zero() : node.replay_delay;
}

void Prober::lose(const Node& node) {
  loop_.after(latency(), [this, &node] { doubt(node.host + ":" + std::to_string(port)); });
}

void Prober::doubt(std::string_view server) {
  for (Host& host : hosts_) {
    if (host.view.name != server) continue;
    host.is_doubted = host.is_asked;
    if (std::exchange(host.view.role, Role::unknown) != Role::unknown) publish();
    probe(host);
  }
}

void Prober::publish() {
  if (!std::ranges::all_of(hosts_, &Host::has_answered)) return;
  auto view = std::make_shared<route::ClusterView>();
  for (const Host& host : hosts_) view->hosts.push_back(host.view);
  std::optional<control::Chosen> before;
  if (chosen_) before = {.host = *chosen_, .timeline = chosen_timeline_};
  control::choose_primary(*view, before, timeline_);
  timeline_ = std::max(timeline_, control::latest_timeline(*view));
  if (view->primary) {
    chosen_ = view->primary;
    chosen_timeline_ = timeline_;
  }
  control::measure_lag(*view);
  published_ = view;
  give_roles(*view);
  cluster_.set_view(view);
}

void Prober::give_roles(const route::ClusterView& view) {
  for (const bool is_primary : {false, true}) {
    for (std::size_t i = 0; i < view.hosts.size(); ++i) {
      if ((view.primary == i) != is_primary) continue;
      const pool::ServerRole role =
          is_primary                             ? pool::ServerRole::primary
          : view.hosts[i].role == Role::standby  ? pool::ServerRole::standby
          : view.hosts[i].role == Role::replaced ? pool::ServerRole::replaced
                                                 : pool::ServerRole::unknown;
      pools_.set_role({.host = hosts_[i].node.host, .port = port}, role,
                      view.hosts[i].position.timeline);
    }
  }
  if (!view.primary && !without_primary_since_) without_primary_since_ = loop_.now();
  if (view.primary) without_primary_since_.reset();
  if (view.primary) {
    replication_.announced_timeline =
        std::max(replication_.announced_timeline, view.hosts[*view.primary].position.timeline);
  }
}

void Prober::sample_all() {
  if (is_over_) return;
  if (loop_.now() - cluster_.wanted_at() > sampling_quiet_time) return cluster_.end_sampling();
  for (std::size_t i = 0; i < hosts_.size(); ++i) sample(i);
  loop_.after(sampling_interval, [this] { sample_all(); });
}

void Prober::sample(std::size_t index) {
  Host& host = hosts_[index];
  const Role asked = control::role_to_sample(*published_, index);
  if (asked == Role::unknown || std::exchange(host.is_sampled, true)) return;
  std::uint64_t number = 0;
  if (asked == Role::primary) {
    number = cluster_.next_question();
    cluster_.set_next_question(number + 1);
  }
  loop_.after(latency(), [this, &host, asked, number] {
    const Node now = host.node;
    loop_.after(latency(), [this, &host, asked, number, now] {
      host.is_sampled = false;
      if (host.view.role != asked) return;
      // pg_current_wal_insert_lsn() fails on a standby.
      if (!now.is_up || (asked == Role::primary && now.is_standby)) return doubt(host.view.name);
      if (asked == Role::primary) {
        host.view.position = now.position;
        return cluster_.on_primary_position(number, now.position);
      }
      if (!now.is_standby) return;  // it tells where its recovery ended
      host.view.position.lsn = now.position.lsn;
      publish();
    });
  });
}

}  // namespace pgproxy::sim
