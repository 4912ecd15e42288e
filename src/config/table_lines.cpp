#include <algorithm>
#include <utility>
#include <vector>

#include "config/field.hpp"
#include "config/table.hpp"

namespace pgproxy::config {

namespace {

using enum Apply;

constexpr Default kGlobal{"", "the setting of the same name in [pgproxy]"};
constexpr Default kRouted{"", "the setting of the same name in [routing]"};
constexpr Default kNone{"", "not sent: the server's own"};

/// name=value pairs by commas; a comma in a value needs single quotes around it.
struct ServerSettingsCodec : Codec<std::string> {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  static Outcome parse(std::string_view text, const Range&, Pairs& into) {
    Pairs pairs;
    while (!text.empty()) {
      const std::size_t end = end_of_pair(text);
      const std::string_view pair = trim(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
      const std::size_t equals = pair.find('=');
      if (equals == 0 || equals == std::string_view::npos) return Outcome::not_allowed;
      std::string_view value = trim(pair.substr(equals + 1));
      if (value.size() > 1 && value.starts_with('\'') && value.ends_with('\'')) {
        value = value.substr(1, value.size() - 2);
      }
      pairs.emplace_back(trim(pair.substr(0, equals)), value);
    }
    if (pairs.empty()) return Outcome::not_allowed;
    into = std::move(pairs);
    return Outcome::stored;
  }
  static std::string print(const Pairs& pairs) {
    std::string text;
    for (const auto& [name, value] : pairs) {
      text += fmt::format("{}{}={}", text.empty() ? "" : ",", name,
                          value.contains(',') ? fmt::format("'{}'", value) : value);
    }
    return text;
  }
  static std::string allowed(const Range&) { return "name=value, several by commas"; }

 private:
  static std::size_t end_of_pair(std::string_view text) {
    bool is_quoted = false;
    for (std::size_t at = 0; at < text.size(); ++at) {
      if (text[at] == '\'') is_quoted = !is_quoted;
      if (text[at] == ',' && !is_quoted) return at;
    }
    return text.size();
  }
};

/// Parameters of the server's startup packet, under the row's name.
consteval Field<Database> startup_setting() {
  return {.support = Support::full,
          .store =
              [](const Row<Database>& row, std::string_view text, Database& into) {
                auto& settings = into.startup_settings;
                std::erase_if(settings, [&](const auto& known) { return known.first == row.name; });
                settings.emplace_back(row.name, text);
                return Outcome::stored;
              },
          .print = nullptr,
          .allowed = Codec<std::string>::allowed,
          .range = {}};
}

/// Remembers that it was given: of a routed entry it would be ignored.
consteval Field<Database> load_balance_hosts() {
  Field<Database> result = field<&Database::load_balance_hosts>();
  result.store = [](const Row<Database>& row, std::string_view text, Database& into) {
    const Outcome outcome = field<&Database::load_balance_hosts>().store(row, text, into);
    into.gives_load_balance_hosts |= outcome == Outcome::stored;
    return outcome;
  };
  return result;
}

constexpr Row<Database> kDatabaseRows[] = {
    {"host",
     field<&Database::hosts>(),
     {"", "the unix socket in unix_socket_dir"},
     on_reload,
     "Host name, address, /directory or @abstract socket of the server; several by commas."},
    {"port",
     field<&Database::port>({1, 65'535}),
     {"5432", "PostgreSQL's"},
     on_reload,
     "Port of the server."},
    {"dbname",
     field<&Database::dbname>(),
     {"", "the name in front of the ="},
     on_reload,
     "Name of the database on the server."},
    {"user",
     field<&Database::user>(),
     {"", "the client's"},
     on_reload,
     "User to log in to the server as, whoever the client is."},
    {"password",
     field<&Database::password>(),
     {"", "from auth_file"},
     on_reload,
     "Password of that user.",
     {.secret = true}},
    {"pool_size",
     field<&Database::pool_size, PoolSizeCodec>({1, 10'000}),
     {"", "default_pool_size in [pgproxy]"},
     on_reload,
     "Most server connections of each pool of this database.",
     {.bad_hint = kUnlimitedServersHint}},
    {"min_pool_size", field<&Database::min_pool_size, PoolSizeCodec>({0, 10'000}), kGlobal,
     on_reload, "Server connections that a pool in use keeps open."},
    {"reserve_pool_size",
     field<&Database::reserve_pool_size>({0, 10'000}),
     kGlobal,
     on_reload,
     "Further server connections for clients that wait too long.",
     {.alias = "reserve_pool"}},
    {"max_db_connections", field<&Database::max_db_connections>(), kGlobal, on_reload,
     "Most server connections of this database; 0: no limit besides the pools'."},
    {"max_db_client_connections", field<&Database::max_db_client_connections>(), kGlobal, on_reload,
     "Most clients of this database; 0: no limit besides max_client_conn."},
    {"pool_mode", field<&Database::pool_mode>(), kGlobal, on_reload,
     "When a server connection goes back to its pool."},
    {"on_residue", field<&Database::on_residue>(), kGlobal, on_reload,
     "What a statement meets that would keep a server connection for its client."},
    {"max_pinned_fraction", field<&Database::max_pinned_fraction>({0, 1}), kGlobal, on_reload,
     "Largest share of each pool that may be pinned."},
    {"query_wait_timeout", field<&Database::query_wait_timeout>(), kGlobal, on_reload,
     "Longest time that a client waits for a server connection."},
    {"query_timeout", field<&Database::query_timeout>(), kGlobal, on_reload,
     "Longest time for a query; 0: off."},
    {"on_exhausted", field<&Database::on_exhausted>(), kGlobal, on_reload,
     "What a client meets when all server connections of its pool are in use."},
    {"expected_rps",
     field<&Database::expected_rps>({0, 10'000'000}),
     {"", "the setting of the same name in [capacity]"},
     on_reload,
     "Transactions a second that clients of this database send at peak."},
    {"mean_transaction_ms",
     field<&Database::mean_transaction_ms>({0, 86'400'000}),
     {"", "the setting of the same name in [capacity]"},
     on_reload,
     "How long a transaction has its server connection on average, in milliseconds."},
    {"slow_query_threshold", field<&Database::slow_query_threshold>(), kGlobal, on_reload,
     "Queries that take this long are logged; 0: off."},
    {"server_lifetime", field<&Database::server_lifetime>(), kGlobal, on_reload,
     "Age from which an unused server connection is closed; 0: as if not given."},
    {"connect_query",
     field<&Database::connect_query>(),
     {"", "none"},
     on_reload,
     "Sent on each new server connection before its first use; one that fails closes it."},
    {"init_statements",
     field<&Database::init_statements>(),
     {"", "none"},
     on_reload,
     "Likewise, before connect_query: statements by semicolons."},
    {"server_settings",
     field<&Database::server_settings, ServerSettingsCodec>(),
     {"", "the server's own"},
     on_reload,
     "Settings of each server connection, as in 'jit=off,work_mem=256MB': given at its login, so "
     "that RESET goes back to them, and verified at the first one."},
    {"read_only",
     field<&Database::read_only>(),
     {"0", "as the server has it"},
     on_reload,
     "Transactions are read-only by default (default_transaction_read_only)."},
    {"load_balance_hosts",
     load_balance_hosts(),
     {"round-robin", "PgBouncer's"},
     on_reload,
     "With routing = off, how one of several hosts is chosen: in turn, or the first that answers."},
    {"routing", field<&Database::routing>(), kRouted, on_reload,
     "What goes to which of several hosts: off, primary_only, read_only_transactions, selects."},
    {"read_consistency", field<&Database::read_consistency>(), kRouted, on_reload,
     "What a client sees that reads from a standby: session, bounded, eventual."},
    {"on_no_replica", field<&Database::on_no_replica>(), kRouted, on_reload,
     "What becomes of a transaction for a standby when none may be read from."},
    {"failover_hold", field<&Database::failover_hold>(), kRouted, on_reload,
     "How long transactions wait for a new primary when there is none."},
    {"max_replica_lag", field<&Database::max_replica_lag>(), kRouted, on_reload,
     "A standby whose last replayed transaction is older than this is not read from; 0: it is."},
    {"replica_pool_size", field<&Database::replica_pool_size>(), kRouted, on_reload,
     "Most connections of a pool to each standby: a number, or a share of pool_size."},
    {"host_weights",
     field<&Database::host_weights>(),
     {"", "all standbys get the same share"},
     on_reload,
     "Shares of the transactions for standbys, a number for each host, in their order."},
    {"client_encoding", startup_setting(), kNone, on_reload, "Sent to the server at login."},
    {"datestyle", startup_setting(), kNone, on_reload, "Sent to the server at login."},
    {"timezone", startup_setting(), kNone, on_reload, "Sent to the server at login."},
    {"application_name", startup_setting(), kNone, on_reload, "Sent to the server at login."},
    {"auth_user", field<&Database::auth_user>(), kGlobal, on_reload,
     "Who runs auth_query for clients of this database."},
    {"auth_query", field<&Database::auth_query>(), kGlobal, on_reload,
     "Finds the stored password of user $1, for clients of this database."},
    {"auth_dbname", field<&Database::auth_dbname>(), kGlobal, on_reload,
     "Entry of [databases] that auth_query is run in for clients of this database."},
};

constexpr Row<User> kUserRows[] = {
    {"pool_mode", field<&User::pool_mode>(), kGlobal, on_reload,
     "When a server connection goes back to its pool."},
    {"pool_size",
     field<&User::pool_size, PoolSizeCodec>({1, 10'000}),
     {"", "default_pool_size in [pgproxy]"},
     on_reload,
     "Most server connections of each pool of this user.",
     {.bad_hint = kUnlimitedServersHint}},
    {"reserve_pool_size", field<&User::reserve_pool_size>({0, 10'000}), kGlobal, on_reload,
     "Further server connections for clients that wait too long."},
    {"max_user_connections", field<&User::max_user_connections>(), kGlobal, on_reload,
     "Most server connections of this user; 0: no limit besides the pools'."},
    {"max_user_client_connections", field<&User::max_user_client_connections>(), kGlobal, on_reload,
     "Most clients of this user; 0: no limit besides max_client_conn."},
    {"weight",
     field<&User::weight>({1, 1'000'000}),
     {"1", "all users of a database have the same share"},
     on_reload,
     "Share of this user's pool in its database's expected_rps, beside the weights of the others."},
    {"query_timeout", field<&User::query_timeout>(), kGlobal, on_reload,
     "Longest time for a query; 0: off."},
    {"query_wait_timeout", field<&User::query_wait_timeout>(), kGlobal, on_reload,
     "Longest time that a client waits for a server connection; 0: for ever."},
    {"slow_query_threshold", field<&User::slow_query_threshold>(), kGlobal, on_reload,
     "Queries that take this long are logged; 0: off."},
    {"idle_transaction_timeout", field<&User::idle_transaction_timeout>(), kGlobal, on_reload,
     "Longest time that a client may be idle within a transaction; 0: off."},
    {"transaction_timeout", field<&User::transaction_timeout>(), kGlobal, on_reload,
     "Longest time for a transaction; 0: off."},
    {"client_idle_timeout", field<&User::client_idle_timeout>(), kGlobal, on_reload,
     "Time after which an idle client is disconnected; 0: off."},
};

}  // namespace

std::span<const Row<Database>> database_rows() {
  return kDatabaseRows;
}
std::span<const Row<User>> user_rows() {
  return kUserRows;
}

}  // namespace pgproxy::config
