#include "pgproxy/metrics/exposition.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <utility>

#include "metrics/process.hpp"

namespace pgproxy::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

double seconds(std::uint64_t microseconds) {
  return static_cast<double>(microseconds) / 1e6;
}

ClientMetric with_labels(Labels labels) {
  ClientMetric metric;
  metric.label = std::move(labels);
  return metric;
}

/// Families in the order in which they are begun.
class Families {
 public:
  void counter(std::string name, std::string help) {
    begin(std::move(name), std::move(help), MetricType::Counter);
  }
  void gauge(std::string name, std::string help) {
    begin(std::move(name), std::move(help), MetricType::Gauge);
  }
  void histogram(std::string name, std::string help) {
    begin(std::move(name), std::move(help), MetricType::Histogram);
  }
  void add(Labels labels, double value) {
    ClientMetric metric = with_labels(std::move(labels));
    (families_.back().type == MetricType::Counter ? metric.counter.value : metric.gauge.value) =
        value;
    families_.back().metric.push_back(std::move(metric));
  }
  void add(Labels labels, std::uint64_t value) {
    add(std::move(labels), static_cast<double>(value));
  }
  void add(Labels labels, const Durations& durations) {
    add(std::move(labels), durations.times, durations.total_us);
  }
  void add(Labels labels, const Histogram& durations, std::uint64_t sum_us) {
    ClientMetric metric = with_labels(std::move(labels));
    metric.histogram.sample_sum = seconds(sum_us);
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < Histogram::bounds_us.size(); ++i) {
      count += durations.counts()[i];
      metric.histogram.bucket.push_back({count, seconds(std::uint64_t{Histogram::bounds_us[i]})});
    }
    metric.histogram.sample_count = count + durations.counts().back();
    families_.back().metric.push_back(std::move(metric));
  }
  std::string text() const { return prometheus::TextSerializer().Serialize(families_); }

 private:
  void begin(std::string name, std::string help, MetricType type) {
    families_.push_back({std::move(name), std::move(help), type, {}});
  }

  std::vector<MetricFamily> families_;
};

/// The pools, as many as get labels of their own, and the rest in one.
std::vector<PoolStatus> bounded(const std::vector<PoolStatus>& pools) {
  if (pools.size() <= max_labelled_pools) return pools;
  const auto end = pools.begin() + max_labelled_pools;
  std::vector<PoolStatus> result(pools.begin(), end);
  PoolStatus others;
  others.row.database = others.row.user = "(others)";
  for (auto pool = end; pool != pools.end(); ++pool) {
    others.row += pool->row;
    others.counters += pool->counters;
    others.min_pool_size += pool->min_pool_size;
    others.reserve_pool_size += pool->reserve_pool_size;
  }
  result.push_back(std::move(others));
  return result;
}

Labels labels_of(const PoolStatus& pool) {
  Labels labels = {{"database", pool.row.database}, {"user", pool.row.user}};
  if (!pool.row.replica.empty()) labels.push_back({"replica", pool.row.replica});
  return labels;
}

Labels labels_of(const PoolStatus& pool, std::string name, std::string value) {
  Labels labels = labels_of(pool);
  labels.push_back({std::move(name), std::move(value)});
  return labels;
}

class PoolFamilies {
 public:
  PoolFamilies(Families& families, std::vector<PoolStatus> pools)
      : families_(families), pools_(std::move(pools)) {}

  void add_connections() {
    families_.gauge("pgproxy_client_connections", "Clients by state.");
    for (const PoolStatus& pool : pools_) {
      add_state(pool, "active",
                pool.row.cl_active - pool.row.cl_idle);  // PgBouncer counts idle ones
      add_state(pool, "idle", pool.row.cl_idle);
      add_state(pool, "waiting", pool.row.cl_waiting);
    }
    families_.gauge("pgproxy_server_connections", "Server connections by state.");
    for (const PoolStatus& pool : pools_) {
      add_state(pool, "active", pool.row.sv_active);
      add_state(pool, "idle", pool.row.sv_idle);
      add_state(pool, "tested", pool.row.sv_tested);
      add_state(pool, "login", pool.row.sv_login);
    }
    gauge("pgproxy_server_connections_pinned",
          "Active server connections that belong to one client until it lets go.",
          [](const PoolStatus& pool) { return pool.row.sv_pinned; });
    gauge("pgproxy_pool_size", "Most server connections of the pool.",
          [](const PoolStatus& pool) { return pool.row.pool_size; });
    gauge("pgproxy_pool_min_size", "Server connections that the pool keeps open.",
          [](const PoolStatus& pool) { return pool.min_pool_size; });
    gauge("pgproxy_pool_reserve_size", "Server connections for clients that have waited too long.",
          [](const PoolStatus& pool) { return pool.reserve_pool_size; });
    families_.gauge("pgproxy_client_wait_oldest_seconds",
                    "How long the first client in the queue has been waiting.");
    for (const PoolStatus& pool : pools_) {
      families_.add(labels_of(pool), seconds(pool.row.maxwait));
    }
  }

  void add_counters() {
    counter("pgproxy_transactions_total", "Transactions.", &PoolCounters::xact_count);
    counter("pgproxy_queries_total", "Queries; a pipeline is one.", &PoolCounters::query_count);
    counter("pgproxy_slow_queries_total", "Queries that took slow_query_threshold or longer.",
            &PoolCounters::slow_query_count);
    counter("pgproxy_client_received_bytes_total", "Bytes from clients.",
            &PoolCounters::bytes_received);
    counter("pgproxy_client_sent_bytes_total", "Bytes to clients.", &PoolCounters::bytes_sent);
    counter("pgproxy_client_logins_total", "Logins of clients.", &PoolCounters::client_login_count);
    counter("pgproxy_client_wait_timeouts_total",
            "Clients that were told query_wait_timeout or client_login_timeout while waiting.",
            &PoolCounters::wait_timeout_count);
    counter("pgproxy_statement_client_parses_total", "Prepared statements that clients parsed.",
            &PoolCounters::client_parse_count);
    counter("pgproxy_statement_server_parses_total",
            "Prepared statements that had to be parsed by a server.",
            &PoolCounters::server_parse_count);
    counter("pgproxy_statement_binds_total", "Bind messages.", &PoolCounters::bind_count);
    counter("pgproxy_statement_cache_hits_total",
            "Prepared statements asked for that the server connection had already.",
            &PoolCounters::statement_hit_count);
    counter("pgproxy_statement_cache_misses_total",
            "Prepared statements asked for that the server connection had to parse first.",
            &PoolCounters::statement_miss_count);
    counter("pgproxy_reruns_total", "Cycles run again, as rerun_on says.",
            &PoolCounters::rerun_count);
    counter("pgproxy_pool_exhaustions_total",
            "Episodes in which clients found all server connections in use.",
            &PoolCounters::exhausted_count);
    counter("pgproxy_client_refusals_total",
            "Clients that were given no server connection and no place in the queue.",
            &PoolCounters::refused_count);
    counter("pgproxy_host_switches_total", "Moves to the next host of a list.",
            &PoolCounters::host_switch_count);
    counter("pgproxy_leak_warnings_total", "Transactions idle for longer than leak_warning.",
            &PoolCounters::leak_count);
    counter("pgproxy_inconsistencies_total", "Findings of the check of the pool's own books.",
            &PoolCounters::inconsistency_count);
    counter("pgproxy_protocol_doubts_total",
            "Server connections closed because of an unexpected message.",
            &PoolCounters::protocol_doubt_count);
    families_.counter("pgproxy_errors_total",
                      "Errors that clients were told, by class of SQLSTATE.");
    for (const PoolStatus& pool : pools_) {
      for (const auto& [name, count] : pool.counters.errors) {
        families_.add(labels_of(pool, "sqlstate_class", name), count);
      }
    }
    families_.counter("pgproxy_server_connect_failures_total",
                      "Server connections that could not be opened or logged in, by reason.");
    for (const PoolStatus& pool : pools_) {
      for (const auto& [reason, count] : pool.counters.connect_failures) {
        families_.add(labels_of(pool, "reason", reason), count);
      }
    }
  }

  void add_durations() {
    families_.histogram("pgproxy_transaction_duration_seconds",
                        "How long transactions held a server connection.");
    for (const PoolStatus& pool : pools_) {
      families_.add(labels_of(pool), pool.counters.xact_times, pool.counters.xact_time);
    }
    families_.histogram("pgproxy_query_duration_seconds",
                        "From a query's first message to the server to the end of its answer.");
    for (const PoolStatus& pool : pools_) {
      families_.add(labels_of(pool), pool.counters.query_times, pool.counters.query_time);
    }
    families_.histogram("pgproxy_client_wait_duration_seconds",
                        "How long clients that had to wait for a server connection did.");
    for (const PoolStatus& pool : pools_) {
      families_.add(labels_of(pool), pool.counters.wait_times, pool.counters.wait_time);
    }
    families_.histogram("pgproxy_client_login_duration_seconds",
                        "From a client's connecting until it may send queries.");
    for (const PoolStatus& pool : pools_) {
      families_.add(labels_of(pool), pool.counters.logins);
    }
  }

 private:
  void add_state(const PoolStatus& pool, const char* state, std::uint64_t count) {
    families_.add(labels_of(pool, "state", state), count);
  }
  template <class Value>
  void gauge(const char* name, const char* help, Value value) {
    families_.gauge(name, help);
    for (const PoolStatus& pool : pools_) {
      families_.add(labels_of(pool), std::uint64_t{value(pool)});
    }
  }
  void counter(const char* name, const char* help, std::uint64_t PoolCounters::* member) {
    families_.counter(name, help);
    for (const PoolStatus& pool : pools_) families_.add(labels_of(pool), pool.counters.*member);
  }

  Families& families_;
  std::vector<PoolStatus> pools_;
};

void add_pins(Families& families, const std::vector<PinTotalRow>& pins) {
  families.counter("pgproxy_pins_total", "Server connections pinned, by reason.");
  for (const PinTotalRow& row : pins) {
    families.add({{"database", row.database}, {"user", row.user}, {"reason", row.reason}},
                 row.pins);
  }
  families.counter("pgproxy_pin_refusals_total",
                   "Statements refused because they would pin, by reason.");
  for (const PinTotalRow& row : pins) {
    families.add({{"database", row.database}, {"user", row.user}, {"reason", row.reason}},
                 row.refusals);
  }
}

/// States are the first words of what SHOW HEALTH says, as in "recovering 2 of 5".
void add_health(Families& families, const std::vector<HealthRow>& health) {
  families.gauge("pgproxy_health",
                 "Always 1; what SHOW HEALTH lists: servers, pools, configuration, with states.");
  for (const HealthRow& row : health) {
    const std::string state = row.state.substr(0, row.state.find(' '));
    families.add({{"kind", row.kind}, {"name", row.name}, {"state", state}}, 1.0);
  }
}

/// Servers have no user and no database: all pools see the same ones.
void add_hosts(Families& families, const std::vector<HostRow>& hosts) {
  const auto label = [](const HostRow& host) { return Labels{{"server", host.name}}; };
  families.gauge("pgproxy_server_info",
                 "Always 1; the role that each server's connections report: primary, standby.");
  for (const HostRow& host : hosts) {
    if (host.role.empty()) continue;
    families.add({{"server", host.name}, {"role", host.role}}, 1.0);
  }
  families.gauge("pgproxy_server_replay_lag_bytes",
                 "WAL of the primary that a standby has not replayed yet.");
  for (const HostRow& host : hosts) {
    if (host.lag_bytes) families.add(label(host), *host.lag_bytes);
  }
  families.gauge("pgproxy_server_replay_lag_seconds",
                 "How old the last transaction is that a standby has replayed; 0: it has all.");
  for (const HostRow& host : hosts) {
    if (host.lag) families.add(label(host), seconds(*host.lag));
  }
  families.gauge("pgproxy_server_open_connections", "Connections to each server, of all pools.");
  for (const HostRow& host : hosts) families.add(label(host), std::uint64_t{host.connections});
  families.counter("pgproxy_server_failures_total",
                   "Logins, connections and health checks that a server failed.");
  for (const HostRow& host : hosts) families.add(label(host), host.failures);
  families.counter("pgproxy_server_recovery_attempts_total",
                   "Attempts to reach a server that is recovering.");
  for (const HostRow& host : hosts) families.add(label(host), host.attempts);
  families.gauge("pgproxy_server_health_check_seconds",
                 "How long the last health check took that succeeded.");
  for (const HostRow& host : hosts) {
    if (host.check_latency) families.add(label(host), seconds(*host.check_latency));
  }
}

void add_routes(Families& families, const std::vector<RouteRow>& routes) {
  families.counter("pgproxy_routed_transactions_total",
                   "Transactions by the side that they were sent to, and why.");
  for (const RouteRow& row : routes) {
    families.add({{"database", row.database},
                  {"user", row.user},
                  {"target", row.target},
                  {"reason", row.reason}},
                 row.count);
  }
}

void add_clients(Families& families, const ClientCounters& clients) {
  families.histogram("pgproxy_client_tls_handshake_duration_seconds",
                     "TLS handshakes with clients, with the wait for their turn.");
  families.add({}, clients.tls_handshakes);
  families.counter("pgproxy_client_tls_handshake_failures_total",
                   "TLS handshakes with clients that came to nothing.");
  families.add({}, clients.tls_failure_count);
}

void add_coordination(Families& families, const CoordinationCounts& counts) {
  families.counter("pgproxy_coordination_slot_acquisitions_total",
                   "Slots among the instances that were taken (coordination).");
  families.add({}, counts.acquisitions);
  families.counter("pgproxy_coordination_slot_losses_total",
                   "Slots among the instances that were lost.");
  families.add({}, counts.losses);
  families.counter("pgproxy_coordination_slot_failures_total",
                   "Attempts at a slot among the instances that failed.");
  families.add({}, counts.failed_attempts);
}

/// What is planned by all instances, and what the server allows them; a pool has no such limit.
void add_capacity(Families& families, const std::vector<CapacityRow>& capacity) {
  const auto add = [&](const char* name, const char* help, auto value) {
    families.gauge(name, help);
    for (const CapacityRow& row : capacity) {
      if (row.kind == "pool" || row.state == "unknown") continue;
      families.add({{"kind", row.kind}, {"name", row.name}}, static_cast<double>(value(row)));
    }
  };
  add("pgproxy_capacity_planned_connections",
      "Server connections that the pools of all instances may open.",
      [](const CapacityRow& row) { return double{1} * row.planned * row.instances; });
  add("pgproxy_capacity_allowed_connections",
      "Server connections that safety_margin leaves to all instances.",
      [](const CapacityRow& row) { return double{1} * row.allowed; });
  add("pgproxy_capacity_headroom_connections",
      "What is allowed and not planned; negative: the pools do not fit.",
      [](const CapacityRow& row) {
        return double{1} * row.allowed - double{1} * row.planned * row.instances;
      });
  add("pgproxy_capacity_other_connections", "Server connections that others hold.",
      [](const CapacityRow& row) { return double{1} * row.others; });
}

void add_process(Families& families, const Status& status) {
  const Process process = measure_process();
  families.gauge("pgproxy_build_info", "Always 1; its label is the version.");
  families.add({{"version", PGPROXY_VERSION}}, 1.0);
  families.gauge("pgproxy_draining", "1 while clients are asked to leave.");
  families.add({}, status.is_draining ? 1.0 : 0.0);
  families.counter("pgproxy_loop_cpu_seconds_total",
                   "CPU time of each loop: its rate is how busy the loop is.");
  families.add({{"loop", "0"}}, seconds(status.loop_cpu_time));
  families.gauge("process_start_time_seconds", "When the process started, in Unix time.");
  families.add({}, seconds(status.started_at.time_since_epoch()));
  families.counter("process_cpu_seconds_total", "CPU time of the process.");
  families.add({}, seconds(process.cpu_time));
  families.gauge("process_resident_memory_bytes", "Memory of the process.");
  families.add({}, process.resident_bytes);
  families.gauge("process_open_fds", "Open file descriptors.");
  families.add({}, process.descriptor_count);
  families.gauge("process_max_fds", "Most file descriptors that may be open.");
  families.add({}, process.descriptor_limit);
}

}  // namespace

std::string exposition(const Status& status) {
  Families families;
  PoolFamilies pools(families, bounded(status.pools));
  pools.add_connections();
  pools.add_counters();
  pools.add_durations();
  add_pins(families, status.pins);
  add_health(families, status.health);
  add_capacity(families, status.capacity);
  add_hosts(families, status.hosts);
  add_routes(families, status.routes);
  add_clients(families, status.clients);
  add_coordination(families, status.coordination);
  add_process(families, status);
  return families.text();
}

}  // namespace pgproxy::metrics
