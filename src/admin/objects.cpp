#include <algorithm>
#include <fmt/format.h>
#include <limits>

#include "admin/shows.hpp"

namespace pgproxy::admin {
namespace {

constexpr Column<DatabaseRow> database_columns[] = {
    column<&DatabaseRow::name>("name"),
    column<&DatabaseRow::host>("host"),
    column<&DatabaseRow::port>("port"),
    column<&DatabaseRow::database>("database"),
    column<&DatabaseRow::force_user>("force_user"),
    column<&DatabaseRow::pool_size>("pool_size"),
    column<&DatabaseRow::min_pool_size>("min_pool_size"),
    column<&DatabaseRow::reserve_pool_size>("reserve_pool_size"),
    {"server_lifetime", ColumnType::int4,
     [](const DatabaseRow& row) { return whole_seconds(row.server_lifetime); }},
    column<&DatabaseRow::pool_mode>("pool_mode"),
    column<&DatabaseRow::load_balance_hosts>("load_balance_hosts"),
    column<&DatabaseRow::max_connections>("max_connections"),
    column<&DatabaseRow::current_connections>("current_connections"),
    column<&DatabaseRow::max_client_connections>("max_client_connections"),
    column<&DatabaseRow::current_client_connections>("current_client_connections"),
    column<&DatabaseRow::is_paused>("paused"),
    column<&DatabaseRow::is_disabled>("disabled"),
};

/// As PgBouncer prints a size that may not be set.
Cell padded(const std::optional<std::uint32_t>& size) {
  if (!size) return std::string();
  return fmt::format("{:>9}", *size == config::auto_size ? "auto" : std::to_string(*size));
}

constexpr Column<UserRow> user_columns[] = {
    column<&UserRow::name>("name"),
    {"pool_size", ColumnType::text, [](const UserRow& row) { return padded(row.pool_size); }},
    {"reserve_pool_size", ColumnType::text,
     [](const UserRow& row) { return padded(row.reserve_pool_size); }},
    {"pool_mode", ColumnType::text,
     [](const UserRow& row) { return Cell(row.pool_mode.value_or("")); }},
    column<&UserRow::max_user_connections>("max_user_connections"),
    column<&UserRow::current_connections>("current_connections"),
    column<&UserRow::max_user_client_connections>("max_user_client_connections"),
    column<&UserRow::current_client_connections>("current_client_connections"),
};

/// PgBouncer's type for it has no room for more.
Cell as_int4(std::uint64_t number) {
  return to_cell(std::min<std::uint64_t>(number, std::numeric_limits<std::int32_t>::max()));
}

constexpr Column<MemoryRow> memory_columns[] = {
    column<&MemoryRow::name>("name"),
    {"size", ColumnType::int4, [](const MemoryRow& row) { return as_int4(row.size); }},
    {"used", ColumnType::int4, [](const MemoryRow& row) { return as_int4(row.used); }},
    {"free", ColumnType::int4, [](const MemoryRow& row) { return as_int4(row.free); }},
    {"memtotal", ColumnType::int4, [](const MemoryRow& row) { return as_int4(row.total); }},
};

}  // namespace

ResultSet show_databases(const StatusSource& source, const config::Loaded&) {
  return table(database_columns, source.databases());
}

ResultSet show_users(const StatusSource& source, const config::Loaded&) {
  return table(user_columns, source.users());
}

ResultSet show_mem(const StatusSource& source, const config::Loaded&) {
  return table(memory_columns, source.memory());
}

ResultSet show_state(const StatusSource& source, const config::Loaded&) {
  const PoolerState state = source.pooler_state();
  const auto yes_or_no = [](bool is_so) { return Cell(is_so ? "yes" : "no"); };
  return {.columns = {{"key"}, {"value"}},
          .rows = {{"active", yes_or_no(!state.is_paused && !state.is_suspended)},
                   {"paused", yes_or_no(state.is_paused)},
                   {"suspended", yes_or_no(state.is_suspended)}}};
}

ResultSet show_dns_hosts(const StatusSource&, const config::Loaded&) {
  return {.columns = {{"hostname"}, {"ttl", ColumnType::int8}, {"addrs"}}, .rows = {}};
}

ResultSet show_dns_zones(const StatusSource&, const config::Loaded&) {
  return {.columns = {{"zonename"}, {"serial", ColumnType::int8}, {"count", ColumnType::int4}},
          .rows = {}};
}

ResultSet show_peers(const StatusSource&, const config::Loaded&) {
  constexpr ColumnType int4 = ColumnType::int4;
  return {.columns = {{"peer_id", int4}, {"host"}, {"port", int4}, {"pool_size", int4}},
          .rows = {}};
}

ResultSet show_peer_pools(const StatusSource&, const config::Loaded&) {
  constexpr ColumnType int4 = ColumnType::int4;
  return {.columns = {{"peer_id", int4},
                      {"cl_active_cancel_req", int4},
                      {"cl_waiting_cancel_req", int4},
                      {"sv_active_cancel", int4},
                      {"sv_login", int4}},
          .rows = {}};
}

}  // namespace pgproxy::admin
