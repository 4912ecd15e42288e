#include "pgproxy/control/coordination.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>
#include <unistd.h>
#include <utility>

#include "control/cluster_slot.hpp"
#include "control/control_target.hpp"

namespace pgproxy::control {
namespace {

/// "hostname:pid".
std::string name_of_instance() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) name[0] = '\0';
  return fmt::format("{}:{}", name[0] == '\0' ? "unnamed" : name.data(), ::getpid());
}

std::map<std::string, std::uint32_t> totals_of(
    const std::map<std::string, config::CapacitySum>& sums) {
  std::map<std::string, std::uint32_t> totals;
  for (const auto& [name, sum] : sums) totals.emplace(name, sum.total());
  return totals;
}

SlotHost make_host(const config::Settings& settings, const config::CapacityPlan& plan,
                   const std::string& host, std::uint16_t port) {
  SlotHost made{.host = host,
                .port = port,
                .plan = {.instances = settings.instances, .instance = name_of_instance()}};
  const auto found = std::ranges::find_if(plan.hosts, [&](const config::HostPlan& planned) {
    return planned.host == host && planned.port == port;
  });
  if (found != plan.hosts.end()) {
    made.plan.total = found->connections.total();
    made.plan.digest = digest_of(totals_of(found->roles), totals_of(found->databases));
  }
  return made;
}

using Cluster = std::vector<std::pair<std::string, std::uint16_t>>;

/// Lists that share a host are of one cluster: a replica's entry may name one of the primary's
/// hosts.
void add_cluster(std::vector<Cluster>& clusters, Cluster added) {
  const auto is_kin = [&](const Cluster& cluster) {
    return std::ranges::find_first_of(cluster, added) != cluster.end();
  };
  Cluster merged;
  const auto take = [&](const Cluster& cluster) {
    for (const auto& host : cluster) {
      if (std::ranges::find(merged, host) == merged.end()) merged.push_back(host);
    }
  };
  for (const Cluster& cluster : clusters) {
    if (is_kin(cluster)) take(cluster);
  }
  take(added);
  std::erase_if(clusters, is_kin);
  clusters.push_back(std::move(merged));
}

std::vector<Cluster> clusters_of(const config::Settings& settings) {
  std::vector<Cluster> clusters;
  const auto add = [&](const config::Database& entry) {
    Cluster cluster;
    for (std::string& host : hosts_of(settings, entry)) {
      cluster.emplace_back(std::move(host), entry.port);
    }
    add_cluster(clusters, std::move(cluster));
  };
  for (const config::Database& entry : settings.databases) add(entry);
  if (settings.auto_database) add(*settings.auto_database);
  return clusters;
}

std::vector<std::vector<SlotHost>> clusters_with_plans(const config::Settings& settings,
                                                       const config::CapacityPlan& plan) {
  std::vector<std::vector<SlotHost>> result;
  for (const Cluster& cluster : clusters_of(settings)) {
    std::vector<SlotHost>& hosts = result.emplace_back();
    for (const auto& [host, port] : cluster) hosts.push_back(make_host(settings, plan, host, port));
  }
  return result;
}

}  // namespace

Coordination::Coordination(Services services, const config::Settings& settings,
                           const config::CapacityPlan& plan, std::function<void()> on_change)
    : services_(services), settings_(settings), on_change_(std::move(on_change)) {
  for (auto& hosts : clusters_with_plans(settings, plan)) {
    slots_.push_back(make_slot(std::move(hosts)));
  }
}

std::unique_ptr<ClusterSlot> Coordination::make_slot(std::vector<SlotHost> hosts) {
  ClusterSlot::Owner owner{
      .on_change = on_change_,
      .find_own = [this](const ClusterSlot& asker, std::int32_t backend_pid) -> std::string {
        for (const auto& slot : slots_) {
          if (slot.get() != &asker && slot->is_backend(backend_pid)) return slot->name();
        }
        return "";
      }};
  return std::make_unique<ClusterSlot>(services_, settings_, std::move(hosts), std::move(owner));
}

void Coordination::reload(const config::CapacityPlan& plan) {
  std::vector<std::unique_ptr<ClusterSlot>> before = std::exchange(slots_, {});
  std::vector<ClusterSlot*> added;
  for (auto& hosts : clusters_with_plans(settings_, plan)) {
    const auto known =
        std::ranges::find_if(before, [&](const auto& slot) { return slot && slot->is_for(hosts); });
    if (known != before.end()) {
      (*known)->replan(std::move(hosts));
      slots_.push_back(std::move(*known));
    } else {
      slots_.push_back(make_slot(std::move(hosts)));
      added.push_back(slots_.back().get());
    }
  }
  before.clear();
  for (ClusterSlot* slot : added) slot->acquire([](const Result<void>&) {});
  on_change_();  // one that was refused may be gone
}

Coordination::~Coordination() = default;

void Coordination::acquire(std::function<void(Result<void>)> done) {
  if (slots_.empty()) return done({});
  done_ = std::move(done);
  pending_count_ = slots_.size();
  for (const auto& slot : slots_) {
    slot->acquire([this](const Result<void>& result) { finish_one(result); });
  }
}

void Coordination::finish_one(const Result<void>& result) {
  if (!result && !first_error_) {
    first_error_ = result.error();
  } else if (!result) {
    std::string& detail = first_error_->detail;
    detail.append(detail.empty() ? "" : "; ").append(result.error().message);
  }
  if (--pending_count_ > 0) return;
  const auto done = std::exchange(done_, {});
  if (first_error_) return done(std::unexpected(*first_error_));
  done({});
}

bool Coordination::is_refused() const {
  return std::ranges::any_of(slots_, [](const auto& slot) { return slot->is_refused(); });
}

void Coordination::describe_health(std::vector<HealthRow>& rows) const {
  for (const auto& slot : slots_) rows.push_back(slot->describe_health());
}

CoordinationCounts Coordination::counts() const {
  CoordinationCounts sum;
  for (const auto& slot : slots_) {
    sum.acquisitions += slot->counts().acquisitions;
    sum.losses += slot->counts().losses;
    sum.failed_attempts += slot->counts().failed_attempts;
  }
  return sum;
}

}  // namespace pgproxy::control
