#include "sql/server_names.hpp"

#include <algorithm>
#include <span>

namespace pgproxy::sql {
namespace {

/// Beginnings of functions' names: locks, positions in the WAL, transaction numbers, files, slots,
/// statistics, large objects (a standby lets nobody open one for writing), other servers.
constexpr std::string_view function_prefixes[] = {
    "dblink",          "lo_",
    "pg_advisory_",    "pg_backup_",
    "pg_control_",     "pg_copy_logical_replication_slot",
    "pg_create_",      "pg_copy_physical_replication_slot",
    "pg_current_wal_", "pg_current_xact_id",
    "pg_last_",        "pg_drop_replication_slot",
    "pg_logical_",     "pg_get_wal_",
    "pg_ls_",          "pg_read_",
    "pg_replication_", "pg_stat_",
    "pg_statio_",      "pg_switch_",
    "pg_wal_replay_",  "pg_try_advisory_",
    "pg_walfile_",     "pg_xact_",
    "txid_",
};

/// Sorted.
constexpr std::string_view functions[] = {
    "currval",
    "inet_server_addr",
    "inet_server_port",
    "lastval",
    "loread",
    "lowrite",
    "nextval",
    "pg_backend_pid",
    "pg_blocking_pids",
    "pg_cancel_backend",
    "pg_conf_load_time",
    "pg_current_logfile",
    "pg_current_snapshot",
    "pg_cursor",
    "pg_export_snapshot",
    "pg_get_backend_memory_contexts",
    "pg_get_replication_slots",
    "pg_get_shmem_allocations",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_is_in_backup",
    "pg_is_in_recovery",
    "pg_is_wal_replay_paused",
    "pg_isolation_test_session_is_blocked",
    "pg_lock_status",
    "pg_log_backend_memory_contexts",
    "pg_notification_queue_usage",
    "pg_notify",
    "pg_postmaster_start_time",
    "pg_prepared_statement",
    "pg_prepared_xact",
    "pg_promote",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_safe_snapshot_blocking_pids",
    "pg_sequence_last_value",
    "pg_show_all_file_settings",
    "pg_show_all_settings",
    "pg_show_replication_origin_status",
    "pg_start_backup",
    "pg_stop_backup",
    "pg_terminate_backend",
    "setval",
};
static_assert(std::ranges::is_sorted(functions));

constexpr std::string_view view_prefixes[] = {"pg_replication_", "pg_stat_", "pg_statio_"};

/// Sorted. pg_statistic and pg_stats are the database's.
constexpr std::string_view views[] = {
    "pg_backend_memory_contexts",
    "pg_cursors",
    "pg_file_settings",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_locks",
    "pg_prepared_statements",
    "pg_prepared_xacts",
    "pg_sequences",
    "pg_settings",
    "pg_shmem_allocations",
};
static_assert(std::ranges::is_sorted(views));

bool begins_with_one_of(std::string_view name, std::span<const std::string_view> prefixes) {
  return std::ranges::any_of(prefixes,
                             [name](std::string_view prefix) { return name.starts_with(prefix); });
}

}  // namespace

bool is_server_function(std::string_view name) {
  return std::ranges::binary_search(functions, name) || begins_with_one_of(name, function_prefixes);
}

bool is_server_view(std::string_view name) {
  return std::ranges::binary_search(views, name) || begins_with_one_of(name, view_prefixes);
}

bool is_server_setting(std::string_view name) {
  return name == "transaction_read_only" || name == "default_transaction_read_only" ||
         name == "in_hot_standby";
}

bool is_advisory_lock_function(std::string_view name) {
  return name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_");
}

}  // namespace pgproxy::sql
