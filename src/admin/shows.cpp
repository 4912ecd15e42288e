#include "admin/shows.hpp"

#include <algorithm>

namespace pgproxy::admin {
namespace {

Cell in_us(Duration duration) {
  return to_cell(duration.count());
}

constexpr Column<PoolRow> pool_columns[] = {
    column<&PoolRow::database>("database"),
    column<&PoolRow::user>("user"),
    column<&PoolRow::cl_active>("cl_active"),
    column<&PoolRow::cl_waiting>("cl_waiting"),
    column<&PoolRow::cl_active_cancel_req>("cl_active_cancel_req"),
    column<&PoolRow::cl_waiting_cancel_req>("cl_waiting_cancel_req"),
    column<&PoolRow::sv_active>("sv_active"),
    column<&PoolRow::sv_active_cancel>("sv_active_cancel"),
    column<&PoolRow::sv_being_canceled>("sv_being_canceled"),
    column<&PoolRow::sv_idle>("sv_idle"),
    column<&PoolRow::sv_used>("sv_used"),
    column<&PoolRow::sv_tested>("sv_tested"),
    column<&PoolRow::sv_login>("sv_login"),
    {"maxwait", ColumnType::int4, [](const PoolRow& row) { return whole_seconds(row.maxwait); }},
    {"maxwait_us", ColumnType::int4, [](const PoolRow& row) { return rest_us(row.maxwait); }},
    column<&PoolRow::pool_mode>("pool_mode"),
    column<&PoolRow::load_balance_hosts>("load_balance_hosts"),
    // Ours.
    column<&PoolRow::cl_idle>("cl_idle"),
    column<&PoolRow::sv_pinned>("sv_pinned"),
    column<&PoolRow::pool_size>("pool_size"),
    column<&PoolRow::sv_unencrypted>("sv_unencrypted"),
    column<&PoolRow::exhaustions>("exhaustions"),
    column<&PoolRow::refusals>("refusals"),
    column<&PoolRow::host_switches>("host_switches"),
    column<&PoolRow::leak_warnings>("leak_warnings"),
    column<&PoolRow::replica>("replica"),
};

constexpr Column<config::ConfigRow> config_columns[] = {
    column<&config::ConfigRow::name>("key"),
    column<&config::ConfigRow::value>("value"),
    {"default", ColumnType::text,
     [](const config::ConfigRow& row) {
       return row.must_be_given ? std::nullopt : Cell(row.default_value);
     }},
    {"changeable", ColumnType::text,
     [](const config::ConfigRow& row) { return Cell(row.changeable ? "yes" : "no"); }},
    // Ours.
    {"source", ColumnType::text,
     [](const config::ConfigRow& row) {
       return Cell(row.is_set ? "SET" : row.given ? "given" : "default");
     }},
    column<&config::ConfigRow::reason>("reason"),
};

constexpr Column<PinRow> pin_columns[] = {
    column<&PinRow::database>("database"),
    column<&PinRow::user>("user"),
    column<&PinRow::client_id>("client_id"),
    column<&PinRow::server_id>("server_id"),
    column<&PinRow::backend_pid>("backend_pid"),
    column<&PinRow::reason>("reason"),
    column<&PinRow::pinned_since>("pinned_since"),
    {"age", ColumnType::int4, [](const PinRow& row) { return whole_seconds(row.age); }},
    {"statement", ColumnType::text,
     [](const PinRow& row) { return fingerprint_cell(row.fingerprint); }},
};

constexpr Column<PinTotalRow> pin_total_columns[] = {
    column<&PinTotalRow::database>("database"), column<&PinTotalRow::user>("user"),
    column<&PinTotalRow::reason>("reason"),     column<&PinTotalRow::pins>("pins"),
    column<&PinTotalRow::refusals>("refusals"),
};

constexpr Column<HealthRow> health_columns[] = {
    column<&HealthRow::kind>("kind"),   column<&HealthRow::name>("name"),
    column<&HealthRow::state>("state"), column<&HealthRow::reason>("reason"),
    column<&HealthRow::hint>("hint"),   column<&HealthRow::since>("since"),
};

constexpr Column<CapacityRow> capacity_columns[] = {
    column<&CapacityRow::kind>("kind"),           column<&CapacityRow::name>("name"),
    column<&CapacityRow::state>("state"),         column<&CapacityRow::planned>("planned"),
    column<&CapacityRow::instances>("instances"), column<&CapacityRow::allowed>("allowed"),
    column<&CapacityRow::others>("others"),       column<&CapacityRow::arithmetic>("arithmetic"),
    column<&CapacityRow::hint>("hint"),           column<&CapacityRow::measured>("measured"),
};

template <auto member>
constexpr Column<QueryRow> count_column(std::string_view name) {
  return {name, ColumnType::numeric,
          [](const QueryRow& row) { return to_cell(row.counts.*member); }};
}

constexpr Column<QueryRow> query_columns[] = {
    column<&QueryRow::database>("database"),
    column<&QueryRow::user>("user"),
    {"fingerprint", ColumnType::text,
     [](const QueryRow& row) { return fingerprint_cell(row.fingerprint); }},
    count_column<&StatementCounts::calls>("calls"),
    count_column<&StatementCounts::errors>("errors"),
    count_column<&StatementCounts::rows>("rows"),
    count_column<&StatementCounts::bytes>("bytes"),
    count_column<&StatementCounts::time>("total_time"),
    {"avg_time", ColumnType::numeric,
     [](const QueryRow& row) {
       return to_cell(row.counts.time / std::max<std::uint64_t>(1, row.counts.calls));
     }},
    count_column<&StatementCounts::max_time>("max_time"),
    count_column<&StatementCounts::wait_time>("wait_time"),
    count_column<&StatementCounts::slow_count>("slow"),
    column<&QueryRow::text>("query"),
};

constexpr Column<SlowQueryRow> slow_query_columns[] = {
    column<&SlowQueryRow::ended_at>("ended_at"),
    column<&SlowQueryRow::database>("database"),
    column<&SlowQueryRow::user>("user"),
    column<&SlowQueryRow::addr>("addr"),
    column<&SlowQueryRow::application_name>("application_name"),
    column<&SlowQueryRow::backend_pid>("backend_pid"),
    {"total_us", ColumnType::numeric, [](const SlowQueryRow& row) { return in_us(row.total); }},
    {"wait_us", ColumnType::numeric, [](const SlowQueryRow& row) { return in_us(row.wait); }},
    {"connect_us", ColumnType::numeric, [](const SlowQueryRow& row) { return in_us(row.connect); }},
    {"replay_us", ColumnType::numeric, [](const SlowQueryRow& row) { return in_us(row.replay); }},
    {"execution_us", ColumnType::numeric,
     [](const SlowQueryRow& row) { return in_us(row.execution); }},
    {"client_us", ColumnType::numeric, [](const SlowQueryRow& row) { return in_us(row.client); }},
    column<&SlowQueryRow::rows>("rows"),
    column<&SlowQueryRow::bytes>("bytes"),
    {"failed", ColumnType::text,
     [](const SlowQueryRow& row) { return Cell(row.has_failed ? "yes" : "no"); }},
    {"fingerprint", ColumnType::text,
     [](const SlowQueryRow& row) { return fingerprint_cell(row.fingerprint); }},
    column<&SlowQueryRow::text>("query"),
};

struct ListRow {
  std::string list;
  std::uint32_t items = 0;
};
constexpr Column<ListRow> list_columns[] = {
    column<&ListRow::list>("list"),
    column<&ListRow::items>("items"),
};

ResultSet show_version(const StatusSource&, const config::Loaded&) {
  return {.columns = {{"version"}}, .rows = {{"pgproxy " PGPROXY_VERSION}}};
}

ResultSet show_pools(const StatusSource& source, const config::Loaded&) {
  return table(pool_columns, source.pools());
}

ResultSet show_pins(const StatusSource& source, const config::Loaded&) {
  return table(pin_columns, source.pins());
}

ResultSet show_pin_totals(const StatusSource& source, const config::Loaded&) {
  return table(pin_total_columns, source.pin_totals());
}

ResultSet show_health(const StatusSource& source, const config::Loaded&) {
  return table(health_columns, source.health());
}

ResultSet show_capacity(const StatusSource& source, const config::Loaded&) {
  return table(capacity_columns, source.capacity());
}

ResultSet show_queries(const StatusSource& source, const config::Loaded&) {
  return table(query_columns, source.queries());
}

ResultSet show_slow_queries(const StatusSource& source, const config::Loaded&) {
  return table(slow_query_columns, source.slow_queries());
}

ResultSet show_config(const StatusSource&, const config::Loaded& loaded) {
  return table(config_columns, config::describe(loaded));
}

/// Peers and DNS are lists of PgBouncer's that we do not keep.
ResultSet show_lists(const StatusSource& source, const config::Loaded&) {
  const ListCounts counts = source.lists();
  const std::vector<ListRow> rows = {
      {"databases", counts.databases},
      {"users", counts.users},
      {"peers", 0},
      {"pools", counts.pools},
      {"peer_pools", 0},
      {"free_clients", counts.free_clients},
      {"used_clients", counts.used_clients},
      {"login_clients", counts.login_clients},
      {"free_servers", counts.free_servers},
      {"used_servers", counts.used_servers},
      {"dns_names", 0},
      {"dns_zones", 0},
      {"dns_queries", 0},
      {"dns_pending", 0},
  };
  return table(list_columns, rows);
}

}  // namespace

std::span<const Show> shows() {
  using enum Access;
  static constexpr Show all[] = {
      // PgBouncer's.
      {"help", stats, "this list", show_help},
      {"active_sockets", stats, "SHOW SOCKETS without the connections that have nothing to do",
       show_active_sockets},
      {"clients", stats, "client connections", show_clients},
      {"config", stats, "settings: their values, defaults, where they come from", show_config},
      {"databases", stats, "entries of [databases] and their limits", show_databases},
      {"dns_hosts", stats, "always empty: no answer of the resolver is kept", show_dns_hosts},
      {"dns_zones", stats, "always empty: no zone is watched", show_dns_zones},
      {"fds", admin, "connections by file descriptor, without their passwords and keys", show_fds},
      {"lists", stats, "how many there are of what", show_lists},
      {"mem", stats, "memory of the objects that there are many of", show_mem},
      {"peer_pools", stats, "always empty: there are no peers", show_peer_pools},
      {"peers", stats, "always empty: there are no peers", show_peers},
      {"pools", stats, "clients and server connections of each database and user", show_pools},
      {"servers", stats, "server connections", show_servers},
      {"sockets", stats, "all connections, with the bytes that wait in them", show_sockets},
      {"state", stats, "whether it is active, paused or suspended", show_state},
      {"stats", stats, "totals of each database, and averages of the last stats_period",
       show_stats},
      {"stats_averages", stats, "averages of the last stats_period", show_stats_averages},
      {"stats_totals", stats, "totals of each database", show_stats_totals},
      {"totals", stats, "totals and averages over all databases", show_totals},
      {"users", stats, "users and their limits", show_users},
      {"version", stats, "version of pgproxy", show_version},
      // Ours.
      {"capacity", stats, "whether the servers have room for the pools, and what to change",
       show_capacity},
      {"errors", stats, "the last errors that clients got from pgproxy itself, with hints",
       show_errors},
      {"health", stats, "servers, pools and limits that are not as they should be", show_health},
      {"hosts", stats, "servers: role, lag, and what each of them said last", show_hosts},
      {"pin_totals", stats, "why server connections stayed with their clients, counted",
       show_pin_totals},
      {"pins", stats, "server connections that stay with their clients, and why", show_pins},
      {"queries", stats, "statements by shape: calls, times, rows, errors", show_queries},
      {"routing", stats, "transactions by the side that they were sent to, and why", show_routing},
      {"slow_queries", stats, "the last queries that took slow_query_threshold", show_slow_queries},
      {"waits", stats, "clients that wait for a server connection, for what, since when",
       show_waits},
  };
  return all;
}

}  // namespace pgproxy::admin
