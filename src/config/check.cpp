#include "config/check.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <utility>

#include "config/field.hpp"
#include "config/server_settings.hpp"
#include "config/text.hpp"

namespace pgproxy::config {

namespace {

constexpr std::string_view kAuthFileHint =
    "auth_file = /etc/pgproxy/userlist.txt, with a line \"user\" \"secret\" for each user";

class Checker {
 public:
  Checker(const Settings& settings, const Origins& origins, Report& report)
      : settings_(settings), origins_(origins), report_(report) {}

  void check_listening() const {
    if (!settings_.listen_addr.empty() || !settings_.unix_socket_dir.empty()) return;
    report_.problem(setting("unix_socket_dir"),
                    "nothing to listen on: listen_addr and unix_socket_dir are both empty",
                    "listen_addr = 127.0.0.1 for clients on this machine, * for all");
  }

  void check_authentication() const {
    const auto given = origins_.settings.find("auth_type");
    if (given == origins_.settings.end() || !given->second.usable) return;  // reported already
    switch (settings_.auth_type) {
      case AuthType::any: return check_forced_users();
      case AuthType::hba: return check_hba();
      case AuthType::cert: return check_cert();
      case AuthType::trust:
        if (knows_users()) return;
        return report_.warning(setting("auth_type"),
                               "auth_type = trust without auth_file: nobody can log in, because "
                               "only users in auth_file are known");
      case AuthType::plain:
      case AuthType::md5:
      case AuthType::scram_sha_256:
        if (knows_users()) return;
        return report_.problem(setting("auth_type"),
                               "auth_file must be given: this auth_type checks secrets",
                               std::string(kAuthFileHint));
      case AuthType::peer:
      case AuthType::reject: break;  // not of auth_type
    }
  }

  void check_hba_files() const {
    if (settings_.auth_type == AuthType::hba) return;
    for (const auto& [name, path] : {std::pair("auth_hba_file", &settings_.auth_hba_file),
                                     std::pair("auth_ident_file", &settings_.auth_ident_file)}) {
      if (path->empty()) continue;
      report_.warning(setting(name), fmt::format("{}: not read, auth_type is not hba", name));
    }
  }

  void check_auth_query() const {
    check_auth_query(setting("auth_query"), "", settings_.auth_query);
    check_auth_dbname(setting("auth_dbname"), "", settings_.auth_dbname);
    for_each_database([this](const Database& database) {
      const Origin at = origins_.of(origins_.databases, database.name);
      const std::string whose = fmt::format("database {}: ", in_quotes(database.name));
      if (!database.auth_query.empty()) check_auth_query(at, whose, database.auth_query);
      check_auth_dbname(at, whose, database.auth_dbname);
    });
  }

  void check_databases() const {
    if (!settings_.databases.empty() || settings_.auto_database) return;
    report_.warning({origins_.file, 0}, "[databases] is empty: there is only the console");
  }

  void check_pool_sizes() const {
    check_pool_size(setting("min_pool_size"), "", settings_.min_pool_size,
                    settings_.default_pool_size);
    for_each_database([this](const Database& database) {
      if (!database.min_pool_size && !database.pool_size) return;
      const PoolSettings pool = effective_settings(settings_, database, "");
      check_pool_size(origins_.of(origins_.databases, database.name),
                      fmt::format("database {}: ", in_quotes(database.name)), pool.min_pool_size,
                      pool.pool_size);
    });
    for (const User& user : settings_.users) {
      if (!user.pool_size) continue;
      check_pool_size(origins_.of(origins_.users, user.name),
                      fmt::format("user {}: ", in_quotes(user.name)), settings_.min_pool_size,
                      *user.pool_size);
    }
  }

  void check_client_tls() const {
    if (settings_.client_tls_sslmode == SslMode::disable) return;
    const auto need = [this](std::string_view name, const std::string& value, std::string hint) {
      if (!value.empty()) return;
      report_.problem(setting("client_tls_sslmode"),
                      fmt::format("{} must be given: client_tls_sslmode is not disable", name),
                      std::move(hint));
    };
    need("client_tls_cert_file", settings_.client_tls_cert_file,
         "client_tls_cert_file = /etc/pgproxy/server.crt");
    need("client_tls_key_file", settings_.client_tls_key_file,
         "client_tls_key_file = /etc/pgproxy/server.key");
    if (!settings_.client_tls_crl_file.empty()) {
      need("client_tls_ca_file", settings_.client_tls_ca_file,
           "client_tls_ca_file = /etc/pgproxy/root.crt, with whose lists client_tls_crl_file has");
      return;
    }
    if (settings_.client_tls_sslmode < SslMode::verify_ca) return;
    need("client_tls_ca_file", settings_.client_tls_ca_file,
         "client_tls_ca_file = /etc/pgproxy/root.crt, with whoever signs clients' certificates");
  }

  void check_server_tls() const {
    const SslMode mode = settings_.server_tls_sslmode;
    const std::string& authorities = settings_.server_tls_ca_file;
    if (mode >= SslMode::verify_ca && authorities.empty()) {
      report_.problem(setting("server_tls_sslmode"),
                      "server_tls_ca_file must be given: server_tls_sslmode verifies servers",
                      "server_tls_ca_file = /etc/ssl/certs/ca-certificates.crt trusts whom the "
                      "system trusts");
    }
    if (mode < SslMode::verify_ca && !authorities.empty()) {
      report_.warning(setting("server_tls_ca_file"),
                      "server_tls_ca_file is not used: server_tls_sslmode verifies no server; "
                      "verify-full would");
    }
    if (mode < SslMode::verify_ca && !settings_.server_tls_crl_file.empty()) {
      report_.problem(
          setting("server_tls_crl_file"),
          "server_tls_crl_file would not be used: server_tls_sslmode verifies no server",
          "server_tls_sslmode = verify-full, with server_tls_ca_file");
    }
    if (mode < SslMode::require && settings_.server_tls_sslnegotiation == SslNegotiation::direct) {
      report_.problem(
          setting("server_tls_sslnegotiation"),
          "server_tls_sslnegotiation = direct needs a server_tls_sslmode that insists on "
          "TLS",
          "server_tls_sslmode = require, or verify-full with server_tls_ca_file");
    }
    const bool has_key = !settings_.server_tls_key_file.empty();
    if (has_key == !settings_.server_tls_cert_file.empty()) return;
    report_.problem(setting(has_key ? "server_tls_key_file" : "server_tls_cert_file"),
                    "server_tls_key_file and server_tls_cert_file belong together",
                    has_key ? "server_tls_cert_file = /etc/pgproxy/client.crt"
                            : "server_tls_key_file = /etc/pgproxy/client.key");
  }

  void check_recovery() const {
    if (settings_.attempt_interval == Duration::zero() && is_usable("attempt_interval")) {
      report_.problem(setting("attempt_interval"),
                      "attempt_interval: 0 would log in to a failing server without a pause",
                      "attempt_interval = 0.1 is ten attempts a second");
    }
    if (settings_.failed_until == FailedUntil::health_check &&
        settings_.check_interval == Duration::zero() && is_usable("check_interval") &&
        is_usable("failed_until")) {
      report_.problem(setting("failed_until"),
                      "failed_until = health_check, but check_interval = 0: there are no checks",
                      "check_interval = 5, or failed_until = reconnect");
    }
  }

  void check_health() const {
    if (settings_.check_interval == Duration::zero()) {
      if (!is_usable("check_interval")) return;
      return report_.warning(setting("check_interval"),
                             "check_interval = 0: no server's health is checked; one that stops "
                             "answering is noticed by query_timeout only");
    }
    if (settings_.check_timeout == Duration::zero() && is_usable("check_timeout")) {
      report_.problem(setting("check_timeout"),
                      "check_timeout: 0 would let one check last for ever",
                      "check_timeout = 3 is three seconds");
    }
  }

  /// Several hosts have no silent value.
  void check_routing() const {
    for_each_database([this](const Database& database) {
      if (database.hosts.size() < 2) return check_single_host(database);
      const auto line = origins_.databases.find(database.name);
      if (line != origins_.databases.end() && !line->second.usable) return;  // reported
      const Origin at = origins_.of(origins_.databases, database.name);
      const std::string whose = fmt::format("database {}: ", in_quotes(database.name));
      const auto need = [&](std::string_view name, bool is_given, std::string_view proposal) {
        if (is_given || (origins_.settings.contains(name) && !is_usable(name))) return;
        report_.problem(
            at, fmt::format("{}{} must be given: the entry names several hosts", whose, name),
            fmt::format("{}, in the entry or in [routing]", proposal));
      };
      need("routing", database.routing || settings_.routing,
           "routing = primary_only for a primary and its standbys, read_only_transactions or "
           "selects if these are to be read from, off if the servers are all alike");
      if (!is_routed(settings_, database)) return;
      need("read_consistency", database.read_consistency || settings_.read_consistency,
           "read_consistency = session: a client sees what it has written itself");
      need("on_no_replica", database.on_no_replica || settings_.on_no_replica,
           "on_no_replica = primary, if it can bear that load");
      need("failover_hold", database.failover_hold || settings_.failover_hold,
           "failover_hold = 30, or how long a promotion takes");
      check_routed(database, at, whose);
    });
  }

  void check_single_host(const Database& database) const {
    if (!database.routing || *database.routing == Routing::off) return;
    report_.problem(
        origins_.of(origins_.databases, database.name),
        fmt::format("database {}: routing needs several hosts", in_quotes(database.name)),
        "host = a,b with the standbys behind the primary, or leave routing out");
  }

  void check_routed(const Database& database, const Origin& at, const std::string& whose) const {
    const auto problem = [&](std::string_view what, std::string hint) {
      report_.problem(at, whose + std::string(what), std::move(hint));
    };
    const RoutingSettings routing = routing_settings(settings_, database, "");
    if (settings_.probe_interval == Duration::zero()) {
      problem("probe_interval: 0 would ask without a pause", "probe_interval = 1");
    }
    if (routing.routing == Routing::selects && settings_.catalog_interval == Duration::zero()) {
      problem("catalog_interval: 0 would ask without a pause", "catalog_interval = 60");
    }
    if (settings_.control_user.empty() || settings_.control_dbname.empty()) {
      problem("routing needs control_user and control_dbname, to ask the servers for their roles",
              "control_user, control_password and control_dbname in [capacity]");
    }
    if (settings_.check_timeout == Duration::zero() && is_usable("check_timeout")) {
      problem("check_timeout: 0 would let a question for a server's role last for ever",
              "check_timeout = 3 is three seconds");
    }
    if (database.gives_load_balance_hosts) {
      problem("load_balance_hosts has no effect: which host does what is found out",
              "leave it out; host_weights says which share each standby gets");
    }
    for (std::size_t i = 1; i < database.hosts.size(); ++i) {
      const auto before = database.hosts.begin() + static_cast<std::ptrdiff_t>(i);
      if (std::find(database.hosts.begin(), before, database.hosts[i]) == before) continue;
      problem(fmt::format("host {} stands in its list twice", database.hosts[i]),
              "name each server once; host_weights gives one of them a larger share");
    }
    const PoolSettings pool = effective_settings(settings_, database, "");
    const auto needs_transactions = [&](PoolMode mode, std::string_view whom) {
      if (mode == PoolMode::transaction) return;
      problem(fmt::format("routing needs pool_mode = transaction{}: a session stays on one server",
                          whom),
              "pool_mode = transaction, or routing = off with one host");
    };
    needs_transactions(pool.pool_mode, "");
    for (const User& user : settings_.users) {
      const bool is_other = !database.user.empty() && database.user != user.name;
      if (!user.pool_mode || is_other) continue;
      needs_transactions(*user.pool_mode, fmt::format(", for user {} too", in_quotes(user.name)));
    }
    if (routing.read_consistency == ReadConsistency::bounded &&
        routing.max_replica_lag == Duration::zero()) {
      problem("read_consistency = bounded needs max_replica_lag",
              "max_replica_lag = 1 is one second");
    }
    if (pool.query_wait_timeout > Duration::zero() &&
        routing.failover_hold >= pool.query_wait_timeout) {
      problem(
          "failover_hold is not less than query_wait_timeout, which ends the wait first",
          fmt::format("failover_hold = {}", Codec<Duration>::print(pool.query_wait_timeout / 2)));
    }
    const auto is_number = [](const std::string& text) {
      std::uint32_t number = 0;
      return Codec<std::uint32_t>::parse(text, {1, 1'000'000}, number) == Outcome::stored;
    };
    const auto& weights = database.host_weights;
    if (!weights.empty() &&
        (weights.size() != database.hosts.size() || !std::ranges::all_of(weights, is_number))) {
      problem("host_weights has to have a number for each host",
              fmt::format("host_weights = {}",
                          fmt::join(std::vector<int>(database.hosts.size(), 1), ",")));
    }
  }

  void check_server_settings() const {
    for_each_database([this](const Database& database) {
      for (const auto& [name, value] : database.server_settings) {
        if (!belongs_to_the_server(name)) continue;
        report_.problem(origins_.of(origins_.databases, database.name),
                        fmt::format("database {}: server_settings: {} cannot be set for a session",
                                    in_quotes(database.name), name),
                        "set it in postgresql.conf, for the whole server");
      }
    });
  }

  /// Who waits hears the reason from the timeout that is meant for it.
  void check_waits() const {
    if (!is_usable("query_wait_timeout")) return;
    check_wait(setting("query_wait_timeout"), "", settings_.query_wait_timeout);
    for_each_database([this](const Database& database) {
      if (!database.query_wait_timeout) return;
      check_wait(origins_.of(origins_.databases, database.name),
                 fmt::format("database {}: ", in_quotes(database.name)),
                 *database.query_wait_timeout);
    });
    for (const User& user : settings_.users) {
      if (!user.query_wait_timeout) continue;
      check_wait(origins_.of(origins_.users, user.name),
                 fmt::format("user {}: ", in_quotes(user.name)), *user.query_wait_timeout);
    }
  }

 private:
  bool knows_users() const { return !settings_.auth_file.empty() || !settings_.auth_user.empty(); }

  void check_auth_query(const Origin& at, const std::string& whose, const std::string& sql) const {
    if (sql.contains("$1")) return;
    report_.problem(at, whose + "auth_query: there is no $1 in it, for the user's name",
                    "auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = $1");
  }

  void check_auth_dbname(const Origin& at, const std::string& whose,
                         const std::string& name) const {
    if (name.empty()) return;
    if (name == "pgproxy" || name == "pgbouncer") {
      return report_.problem(at,
                             fmt::format("{}cannot use the reserved {} database as an auth_dbname",
                                         whose, in_quotes(name)),
                             "auth_dbname = postgres, with an entry of that name in [databases]");
    }
    if (settings_.find_database(name) != nullptr || settings_.auto_database) return;
    report_.problem(at, fmt::format("{}auth_dbname: there is no entry {}", whose, in_quotes(name)),
                    fmt::format("in [databases]: {} = host=... port=...", name));
  }

  void check_cert() const {
    if (settings_.client_tls_sslmode != SslMode::verify_full) {
      report_.problem(setting("auth_type"), "auth_type = cert needs certificates of all clients",
                      "client_tls_sslmode = verify-full");
    }
    if (knows_users()) return;
    report_.warning(setting("auth_type"),
                    "auth_type = cert without auth_file: nobody can log in, because only users in "
                    "auth_file are known");
  }

  void check_hba() const {
    if (settings_.auth_hba_file.empty()) {
      return report_.problem(setting("auth_type"),
                             "auth_hba_file must be given: auth_type = hba does what it says",
                             "auth_hba_file = /etc/pgproxy/pg_hba.conf");
    }
    if (!knows_users()) {
      report_.problem(setting("auth_type"),
                      "auth_file must be given: whatever a line of auth_hba_file asks for, only "
                      "users in auth_file are known",
                      std::string(kAuthFileHint));
    }
    if (settings_.hba_lines.empty() && report_.problem_count() == 0) {
      report_.warning({settings_.auth_hba_file, 0}, "there is no line in it: nobody can log in");
    }
    for (const HbaLine& line : settings_.hba_lines) check_hba_line(line);
  }

  void check_hba_line(const HbaLine& line) const {
    const Origin at{line.file, line.line};
    const bool is_plaintext_only = settings_.client_tls_sslmode == SslMode::disable;
    if (line.connection == HbaConnection::hostssl && is_plaintext_only) {
      report_.warning(at, "hostssl record cannot match: client_tls_sslmode is disable");
    }
    if (line.client_cert != ClientCert::off && !is_plaintext_only &&
        settings_.client_tls_ca_file.empty()) {
      report_.problem(at, "client_tls_ca_file must be given: this line wants certificates",
                      "client_tls_ca_file = /etc/pgproxy/root.crt, with whoever signs clients' "
                      "certificates");
    }
    if (line.map.empty()) return;
    if (settings_.auth_ident_file.empty()) {
      return report_.problem(at, fmt::format("map={}: auth_ident_file must be given", line.map),
                             "auth_ident_file = /etc/pgproxy/pg_ident.conf");
    }
    const auto& known = settings_.ident_lines;
    if (std::ranges::find(known, line.map, &IdentLine::map) != known.end()) return;
    report_.warning(at, fmt::format("map={}: no line of auth_ident_file has that name, so nobody "
                                    "passes",
                                    line.map));
  }

  void check_wait(const Origin& at, const std::string& whose, Duration wait) const {
    const auto text = [](Duration value) { return print_seconds(value); };
    if (wait == Duration::zero()) return;  // for ever
    const Duration login = settings_.client_login_timeout;
    if (login > Duration::zero() && wait >= login) {
      report_.problem(at,
                      fmt::format("{}query_wait_timeout = {} is not less than client_login_timeout "
                                  "= {}: a client that waits at its login would not hear why",
                                  whose, text(wait), text(login)),
                      fmt::format("client_login_timeout = {}, or a shorter query_wait_timeout",
                                  text(wait + wait / 5 + std::chrono::seconds(1))));
    }
    const Duration detection = worst_case_detection(settings_);
    if (settings_.check_interval == Duration::zero() || detection < wait) return;
    if (!is_usable("check_interval") || !is_usable("check_timeout") ||
        !is_usable("failure_threshold")) {
      return;
    }
    report_.problem(
        at,
        fmt::format("{}query_wait_timeout = {} is over before a dead server is known as one: "
                    "failure_threshold * (check_interval + check_timeout) = {} * ({} + {}) = {}",
                    whose, text(wait), settings_.failure_threshold, text(settings_.check_interval),
                    text(settings_.check_timeout), text(detection)),
        fmt::format("query_wait_timeout = {}, or less of the others",
                    text(detection + detection / 5 + std::chrono::seconds(1))));
  }

  /// It was given, and understood.
  bool is_usable(std::string_view name) const {
    const auto given = origins_.settings.find(name);
    return given != origins_.settings.end() && given->second.usable;
  }

  Origin setting(std::string_view name) const { return origins_.of(origins_.settings, name); }

  template <class Visit>
  void for_each_database(Visit visit) const {
    for (const Database& database : settings_.databases) visit(database);
    if (settings_.auto_database) visit(*settings_.auto_database);
  }

  void check_forced_users() const {
    for_each_database([this](const Database& database) {
      if (!database.user.empty()) return;
      report_.warning(
          origins_.of(origins_.databases, database.name),
          fmt::format("database {}: auth_type = any needs user=...: nobody is asked for "
                      "a name to trust",
                      in_quotes(database.name)));
    });
  }

  void check_pool_size(const Origin& at, const std::string& whose, std::uint32_t min_pool_size,
                       std::uint32_t pool_size) const {
    if (min_pool_size <= pool_size || min_pool_size == auto_size) return;
    report_.problem(at,
                    fmt::format("{}min_pool_size {} is larger than the pool's size, {}", whose,
                                min_pool_size, pool_size),
                    fmt::format("min_pool_size = {} keeps the whole pool open", pool_size));
  }

  const Settings& settings_;
  const Origins& origins_;
  Report& report_;
};

}  // namespace

void check(const Settings& settings, const Origins& origins, Report& report) {
  const Checker checker(settings, origins, report);
  checker.check_listening();
  checker.check_authentication();
  checker.check_auth_query();
  checker.check_hba_files();
  checker.check_databases();
  checker.check_pool_sizes();
  checker.check_recovery();
  checker.check_health();
  checker.check_routing();
  checker.check_waits();
  checker.check_server_settings();
  checker.check_client_tls();
  checker.check_server_tls();
  check_capacity(settings, origins, report);
}

}  // namespace pgproxy::config
