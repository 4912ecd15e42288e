#include "pgproxy/control/cluster_probes.hpp"

#include <algorithm>
#include <fmt/ranges.h>
#include <utility>

#include "control/control_target.hpp"
#include "control/host_answer.hpp"

#include "pgproxy/base/log.hpp"

namespace pgproxy::control {
namespace {

/// Between two questions for a position, while somebody waits for it.
constexpr Duration sampling_interval = std::chrono::milliseconds(5);

std::string_view role_word(route::Role role) {
  switch (role) {
    case route::Role::unknown: return "of unknown role";
    case route::Role::replaced: return "a primary that was replaced";
    case route::Role::primary: return "a primary";
    case route::Role::standby: return "a standby";
  }
  std::unreachable();
}

}  // namespace

std::string cluster_name(const config::Database& entry) {
  return fmt::format("{}:{}", fmt::join(entry.hosts, ","), entry.port);
}

struct ClusterProbes::Host {
  route::HostView view;
  std::unique_ptr<Connection> connection;
  bool is_asked = false;      ///< a question about its role is under way
  bool is_doubted = false;    ///< that one was sent too early
  bool is_sampled = false;    ///< a question for its position is under way
  bool has_answered = false;  ///< or failed to, once
};

struct ClusterProbes::Probed {
  std::string name;
  route::Cluster& cluster;
  std::vector<std::unique_ptr<Host>> hosts;
  route::ClusterViewRef published;
  std::uint32_t timeline = 0;  ///< the latest that a server told
  std::optional<Chosen> chosen;
  bool is_contested = false;  ///< two servers take writes on one timeline
  bool is_sampling = false;
};

ClusterProbes::ClusterProbes(Services services, const config::Settings& settings, OnView on_view)
    : services_(services),
      settings_(settings),
      on_view_(std::move(on_view)),
      timer_(*this),
      sampling_(*this) {
  services_.loop.timeouts().queue(settings.probe_interval).arm(timer_, services_.loop.now());
}

ClusterProbes::~ClusterProbes() = default;

void ClusterProbes::add(const config::Database& entry, route::Cluster& cluster) {
  auto probed = std::make_unique<Probed>(Probed{.name = cluster_name(entry), .cluster = cluster});
  for (const std::string& name : entry.hosts) {
    auto host = std::make_unique<Host>();
    host->view.name = server_name(name, entry.port);
    host->view.evidence = "it was not asked yet";
    Target target = control_target(settings_, name, entry.port);
    target.timeout = settings_.check_timeout;
    target.timeout_setting = "check_timeout";
    host->connection = std::make_unique<Connection>(
        services_, std::move(target),
        [this, server = host->view.name](const Error&) { probe_now(server); });
    probed->hosts.push_back(std::move(host));
  }
  Probed& added = *clusters_.emplace_back(std::move(probed));
  for (const auto& host : added.hosts) probe(added, *host);
}

void ClusterProbes::probe(Probed& probed, Host& host) {
  if (std::exchange(host.is_asked, true)) return;
  const TimePoint asked_at = services_.loop.now();
  host.connection->ask(host_question, {}, [this, &probed, &host, asked_at](const Answer& answer) {
    finish(probed, host, asked_at, answer);
  });
}

void ClusterProbes::finish(Probed& probed, Host& host, TimePoint asked_at, const Answer& answer) {
  host.is_asked = false;
  if (std::exchange(host.is_doubted, false)) return probe(probed, host);
  host.has_answered = true;
  host.view.probed_at = asked_at;
  host.view.latency = services_.loop.now() - asked_at;
  if (!read_host_answer(answer, host.view)) {
    host.view.role = route::Role::unknown;
    host.view.lag.reset();
    host.view.lag_bytes.reset();
    host.view.evidence =
        answer ? "its answer cannot be read"
               : explain_control_error(settings_, host.view.name, answer.error()).message;
  }
  publish(probed);
}

void ClusterProbes::probe_now(std::string_view server) {
  for (const auto& probed : clusters_) {
    for (const auto& host : probed->hosts) {
      if (host->view.name != server) continue;
      host->is_doubted = host->is_asked;
      if (host->view.role != route::Role::unknown) {
        host->view.role = route::Role::unknown;
        host->view.evidence = "it is asked again: a connection was lost, or it changed its role";
        publish(*probed);
      }
      probe(*probed, *host);
    }
  }
}

void ClusterProbes::publish(Probed& probed) {
  auto view = std::make_shared<route::ClusterView>();
  for (const auto& host : probed.hosts) {
    if (!host->has_answered) return;
    view->hosts.push_back(host->view);
  }
  probed.is_contested = !choose_primary(*view, probed.chosen, probed.timeline);
  probed.timeline = std::max(probed.timeline, latest_timeline(*view));
  if (view->primary) probed.chosen = {.host = *view->primary, .timeline = probed.timeline};
  measure_lag(*view);
  log_changes(probed, *view);
  probed.published = view;
  on_view_(probed.name, view);
}

void ClusterProbes::log_changes(const Probed& probed, const route::ClusterView& view) {
  const route::ClusterView* const before = probed.published.get();
  for (std::size_t i = 0; i < view.hosts.size(); ++i) {
    const route::HostView& host = view.hosts[i];
    if (before != nullptr && before->hosts[i].role == host.role) continue;
    if (before == nullptr && host.role == route::Role::unknown && host.evidence.empty()) continue;
    log::line(log::Level::log, "server {} is {}: {}", host.name, role_word(host.role),
              host.evidence);
  }
  if (before != nullptr && before->primary == view.primary && before->reason == view.reason) return;
  if (view.primary) {
    log::line(probed.is_contested ? log::Level::error : log::Level::log,
              "cluster {}: the primary is {}: {}", probed.name, view.hosts[*view.primary].name,
              view.reason);
  } else {
    log::line(probed.is_contested ? log::Level::error : log::Level::warning,
              "cluster {}: there is no primary: {}", probed.name, view.reason);
  }
}

void ClusterProbes::sample(std::string_view cluster, bool is_on) {
  for (const auto& probed : clusters_) {
    if (probed->name == cluster) probed->is_sampling = is_on;
  }
  if (!is_on || sampling_.is_armed()) return;
  services_.loop.timeouts().queue(sampling_interval).arm(sampling_, services_.loop.now());
}

/// One question at a time, so that a slow server is not asked faster than it answers.
void ClusterProbes::sample(Probed& probed, std::size_t index) {
  if (probed.published == nullptr) return;
  Host& host = *probed.hosts[index];
  const route::Role asked = role_to_sample(*probed.published, index);
  if (asked == route::Role::unknown || std::exchange(host.is_sampled, true)) return;
  const bool is_primary = asked == route::Role::primary;
  std::uint64_t number = 0;
  if (is_primary) {
    number = probed.cluster.next_question();
    probed.cluster.set_next_question(number + 1);
  }
  const std::string& sql = is_primary ? primary_position_question : standby_position_question;
  host.connection->ask(sql, {}, [this, &probed, &host, asked, number](const Answer& answer) {
    host.is_sampled = false;
    const auto position = read_position(answer, host.view.position.timeline);
    if (host.view.role != asked) return;
    // Lost while it was asked, or a primary no more: nobody else hears of that here.
    if (!position) return probe_now(host.view.name);
    host.view.position = *position;
    if (asked == route::Role::primary) return probed.cluster.on_primary_position(number, *position);
    publish(probed);
  });
}

void ClusterProbes::on_timeout(Timeout& timeout) {
  if (&timeout == &timer_) {
    services_.loop.timeouts().queue(settings_.probe_interval).arm(timer_, services_.loop.now());
    for (const auto& probed : clusters_) {
      for (const auto& host : probed->hosts) probe(*probed, *host);
    }
    return;
  }
  bool is_on = false;
  for (const auto& probed : clusters_) {
    if (!probed->is_sampling) continue;
    is_on = true;
    for (std::size_t i = 0; i < probed->hosts.size(); ++i) sample(*probed, i);
  }
  if (!is_on) return;
  services_.loop.timeouts().queue(sampling_interval).arm(sampling_, services_.loop.now());
}

}  // namespace pgproxy::control
