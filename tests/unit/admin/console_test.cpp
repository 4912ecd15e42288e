#include "pgproxy/admin/console.hpp"

#include "console_fixture.hpp"

using namespace pgproxy;
using namespace std::chrono_literals;
using admin::Console;

namespace {

ConnectionRow connection() {
  return {.id = 26,
          .user = "u",
          .database = "d",
          .state = "active",
          .replication = "none",
          .addr = "127.0.0.1",
          .port = 5000,
          .local_addr = "127.0.0.2",
          .local_port = 6432,
          .connect_time = some_time,
          .wait = 2s + 5us,
          .close_needed = true,
          .link = 31,
          .remote_pid = 77,
          .application_name = "psql"};
}

constexpr std::string_view connection_columns =
    "type:25 user:25 database:25 replication:25 state:25 addr:25 port:23 local_addr:25 "
    "local_port:23 connect_time:25 request_time:25 wait:23 wait_us:23 close_needed:23 ptr:25 "
    "link:25 remote_pid:23 tls:25 application_name:25 prepared_statements:23 id:23 "
    "pinned:25 pinned_since:25";

}  // namespace

TEST_CASE("SHOW VERSION names pgproxy; literal bytes") {
  const std::string version = "pgproxy " PGPROXY_VERSION;
  const std::string row_bytes(1, static_cast<char>(10 + version.size()));
  using namespace std::string_literals;
  CHECK(ask("SHOW VERSION").bytes ==
        "T\0\0\0\x20\0\x01version\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"s +
            "D\0\0\0"s + row_bytes + "\0\x01\0\0\0"s + static_cast<char>(version.size()) + version +
            "C\0\0\0\x09SHOW\0Z\0\0\0\x05I"s);
}

TEST_CASE("case, blanks, one closing semicolon and SELECT for SHOW make no difference") {
  const std::string expected = ask("SHOW VERSION").bytes;
  for (const auto* text : {"show version", "ShOw\t\nVersion ;", " SHOW VERSION; ", "SELECT version",
                           "SHOW \"version\""}) {
    CAPTURE(text);
    CHECK(ask(text).bytes == expected);
  }
}

TEST_CASE("an empty command gets EmptyQueryResponse") {
  for (const auto* text : {"", " ", ";", " ; "}) CHECK(ask(text).tags == "IZ");
}

TEST_CASE("what is no command is refused in PgBouncer's words") {
  for (const auto* text : {"SELECT 1", "SHOW", "show version; show pools", "SHOW VERSION;;", "x",
                           "SHOW nothing", "SHOW VERSION x", "SHOW \"", "\"", "SHOW ''", ";;",
                           "SET client_encoding = 'a'; x", "\xff\xfe"}) {
    CAPTURE(text);
    const Answer answer = ask(text);
    CHECK(answer.tags == "EZ");
    CHECK(answer.error.severity == "ERROR");
    CHECK(answer.error.sqlstate == "08P01");
    CHECK(answer.error.message == "invalid command '" + std::string(text) + "', use SHOW HELP;");
  }
}

TEST_CASE("who may only look is told so, in PgBouncer's words") {
  CHECK(ask("SHOW FDS", {}, {}, false).error.message == "admin access needed");
  CHECK(ask("SHOW FDS", {}, {}, true).tags == "TCZ");
  CHECK(ask("SHOW VERSION", {}, {}, false).tags == "TDCZ");
  CHECK(ask("SET client_encoding = 'UTF8'", {}, {}, false).tags == "NCZ");
}

TEST_CASE("SHOW HELP is PgBouncer's notice, and a row for each command") {
  const Answer answer = ask("SHOW HELP;");
  CHECK(answer.tags.starts_with("NTDDD"));
  CHECK(answer.complete == "SHOW");
  CHECK(answer.error.severity == "NOTICE");
  CHECK(answer.error.message == "Console usage");
  CHECK(answer.error.detail.contains("SHOW HELP|ACTIVE_SOCKETS|CLIENTS|CONFIG|DATABASES"));
  CHECK(answer.columns == "command:25 access:25 does:25");
  for (const auto& row : answer.rows) CHECK_FALSE(row.at(2).empty());
  const Answer some = ask("SHOW HELP WHERE access = admin");
  CHECK(some.cell(0, "command") == "SHOW FDS");
  CHECK(some.cell(1, "command") == "PAUSE [database]");
}

TEST_CASE("every command that SHOW HELP lists is there") {
  for (const auto& row : ask("SHOW HELP").rows) {
    if (row.at(0).starts_with("SHOW ") && !row.at(0).contains("name")) {
      CAPTURE(row.at(0));
      CHECK(ask(row.at(0)).complete == "SHOW");
    }
  }
}

TEST_CASE("drivers may ask for and set what they always do") {
  CHECK(ask("SHOW client_encoding").rows.at(0).at(0) == "UTF8");
  CHECK(ask("SELECT TimeZone").columns == "timezone:25");
  CHECK(ask("show default_transaction_isolation").cell(0, "default_transaction_isolation") ==
        "read committed");
  for (const auto* text : {"SET client_encoding = 'UTF8'", "set DateStyle TO ISO;"}) {
    const Answer answer = ask(text);
    CHECK(answer.tags == "NCZ");
    CHECK(answer.error.message == "SET ignored");
    CHECK(answer.complete == "SET");
  }
}

TEST_CASE("SHOW CLIENTS has PgBouncer's columns, then why a server is pinned") {
  FakeSource source;
  source.client_rows = {connection(), connection()};
  source.client_rows[1].pin_reason = "temporary object";
  source.client_rows[1].pinned_since = some_time;
  source.client_rows[1].link = 0;
  const Answer answer = ask("SHOW CLIENTS", source);
  CHECK(answer.tags == "TDDCZ");
  CHECK(answer.columns == connection_columns);
  CHECK(
      answer.rows.at(0) ==
      std::vector<std::string>{"C",         "u",    "d",         "none", "active",
                               "127.0.0.1", "5000", "127.0.0.2", "6432", "2026-11-18 11:06:40 UTC",
                               "NULL",      "2",    "5",         "1",    "0x1a",
                               "0x1f",      "77",   "",          "psql", "0",
                               "26",        "",     "NULL"});
  CHECK(answer.cell(1, "link").empty());
  CHECK(answer.cell(1, "pinned") == "temporary object");
  CHECK(answer.cell(1, "pinned_since") == "2026-11-18 11:06:40 UTC");
}

TEST_CASE("SHOW SERVERS has the columns of SHOW CLIENTS") {
  FakeSource source;
  source.server_rows = {connection()};
  const Answer answer = ask("SHOW SERVERS", source);
  CHECK(answer.columns == connection_columns);
  CHECK(answer.cell(0, "type") == "S");
  CHECK(ask("SHOW SERVERS").tags == "TCZ");
}

TEST_CASE("SHOW PINS lists who keeps which server connection, and why") {
  FakeSource source;
  source.pin_rows = {{.database = "d",
                      .user = "u",
                      .client_id = 5,
                      .server_id = 6,
                      .backend_pid = 77,
                      .reason = "LISTEN, advisory lock",
                      .pinned_since = some_time,
                      .age = 90s,
                      .fingerprint = 255}};
  const Answer answer = ask("SHOW PINS", source);
  CHECK(answer.names == std::vector<std::string>{"database", "user", "client_id", "server_id",
                                                 "backend_pid", "reason", "pinned_since", "age",
                                                 "statement"});
  CHECK(answer.rows.at(0) == std::vector<std::string>{"d", "u", "5", "6", "77",
                                                      "LISTEN, advisory lock",
                                                      "2026-11-18 11:06:40 UTC", "90", "0xff"});
}

TEST_CASE("SHOW PIN_TOTALS counts pins and refusals by reason") {
  FakeSource source;
  source.pin_total_rows = {
      {.database = "d", .user = "u", .reason = "LISTEN", .pins = 3, .refusals = 4}};
  const Answer answer = ask("SHOW PIN_TOTALS", source);
  CHECK(answer.names == std::vector<std::string>{"database", "user", "reason", "pins", "refusals"});
  CHECK(answer.rows.at(0) == std::vector<std::string>{"d", "u", "LISTEN", "3", "4"});
}

TEST_CASE("SHOW CAPACITY has the arithmetic, and what to change") {
  FakeSource source;
  source.capacity_rows = {{.kind = "server",
                           .name = "10.0.0.1:5432",
                           .planned = 30,
                           .instances = 2,
                           .allowed = 50,
                           .state = "too_small",
                           .arithmetic = "28 [app/u] + 2 [control] = 30; * 2 instances = 60",
                           .hint = "raise max_connections at the server to 78"}};
  const Answer answer = ask("show capacity", source);
  CHECK(answer.cell(0, "state") == "too_small");
  CHECK(answer.cell(0, "planned") == "30");
  CHECK(answer.cell(0, "arithmetic").starts_with("28 [app/u]"));
  CHECK(answer.cell(0, "hint") == "raise max_connections at the server to 78");
}

TEST_CASE("SHOW HEALTH says what is wrong, since when, and what helps") {
  FakeSource source;
  source.health_rows = {{.kind = "server",
                         .name = "10.0.0.1:5432",
                         .state = "recovering 1 of 3",
                         .reason = "Connection refused",
                         .hint = "RECONNECT",
                         .since = some_time}};
  const Answer answer = ask("SHOW HEALTH", source);
  CHECK(answer.columns == "kind:25 name:25 state:25 reason:25 hint:25 since:25");
  CHECK(answer.rows.at(0) == std::vector<std::string>{"server", "10.0.0.1:5432",
                                                      "recovering 1 of 3", "Connection refused",
                                                      "RECONNECT", "2026-11-18 11:06:40 UTC"});
}

TEST_CASE("SHOW POOLS has PgBouncer's columns, then ours") {
  FakeSource source;
  source.pool_rows = {{.database = "d",
                       .user = "u",
                       .cl_active = 1,
                       .cl_waiting = 2,
                       .cl_idle = 3,
                       .cl_active_cancel_req = 4,
                       .cl_waiting_cancel_req = 5,
                       .sv_active = 6,
                       .sv_active_cancel = 7,
                       .sv_being_canceled = 8,
                       .sv_idle = 9,
                       .sv_used = 10,
                       .sv_tested = 11,
                       .sv_login = 12,
                       .sv_pinned = 13,
                       .pool_size = 14,
                       .sv_unencrypted = 15,
                       .exhaustions = 16,
                       .refusals = 17,
                       .host_switches = 18,
                       .leak_warnings = 19,
                       .maxwait = 3s + 250ms,
                       .pool_mode = "transaction",
                       .replica = "10.0.0.2:5432"},
                      {.load_balance_hosts = "round-robin"}};
  const Answer answer = ask("SHOW POOLS", source);
  CHECK(answer.columns ==
        "database:25 user:25 cl_active:23 cl_waiting:23 cl_active_cancel_req:23 "
        "cl_waiting_cancel_req:23 sv_active:23 sv_active_cancel:23 sv_being_canceled:23 sv_idle:23 "
        "sv_used:23 sv_tested:23 sv_login:23 maxwait:23 maxwait_us:23 pool_mode:25 "
        "load_balance_hosts:25 cl_idle:23 sv_pinned:23 pool_size:23 "
        "sv_unencrypted:20 exhaustions:20 refusals:20 host_switches:20 leak_warnings:20 "
        "replica:25");
  CHECK(answer.cell(0, "exhaustions") == "16");
  CHECK(answer.cell(0, "refusals") == "17");
  CHECK(answer.cell(0, "host_switches") == "18");
  CHECK(answer.cell(0, "leak_warnings") == "19");
  CHECK(answer.rows.at(0) == std::vector<std::string>{"d",      "u",
                                                      "1",      "2",
                                                      "4",      "5",
                                                      "6",      "7",
                                                      "8",      "9",
                                                      "10",     "11",
                                                      "12",     "3",
                                                      "250000", "transaction",
                                                      "NULL",   "3",
                                                      "13",     "14",
                                                      "15",     "16",
                                                      "17",     "18",
                                                      "19",     "10.0.0.2:5432"});
  CHECK(answer.cell(1, "load_balance_hosts") == "round-robin");
}

TEST_CASE("SHOW LISTS has all of PgBouncer's lists, those that we do not keep empty") {
  FakeSource source;
  source.counts = {.databases = 1,
                   .users = 2,
                   .pools = 3,
                   .free_clients = 4,
                   .used_clients = 5,
                   .login_clients = 6,
                   .free_servers = 7,
                   .used_servers = 8};
  const Answer answer = ask("SHOW LISTS", source);
  CHECK(answer.columns == "list:25 items:23");
  std::string all;
  for (const auto& row : answer.rows) all += row.at(0) + "=" + row.at(1) + " ";
  CHECK(all ==
        "databases=1 users=2 peers=0 pools=3 peer_pools=0 free_clients=4 used_clients=5 "
        "login_clients=6 free_servers=7 used_servers=8 dns_names=0 dns_zones=0 dns_queries=0 "
        "dns_pending=0 ");
}

TEST_CASE("SHOW CONFIG says what is given, what is a default, and why") {
  const config::Loaded loaded = config::load_text(
      "[pgproxy]\nlisten_port = 7777\n[databases]\nd = host=127.0.0.1\n", "test.ini");
  const Answer answer = ask("SHOW CONFIG", {}, loaded);
  CHECK(answer.columns == "key:25 value:25 default:25 changeable:25 source:25 reason:25");
  std::map<std::string, std::vector<std::string>> rows;
  std::string previous;
  for (const auto& row : answer.rows) {
    CHECK(previous < row.at(0));  // alphabetical
    previous = row.at(0);
    rows[row.at(0)] = row;
  }
  CHECK(rows["listen_port"].at(1) == "7777");
  CHECK(rows["listen_port"].at(3) == "no");
  CHECK(rows["listen_port"].at(4) == "given");
  CHECK(rows["default_pool_size"].at(2) == "NULL");  // must be given
  CHECK(rows["listen_backlog"].at(2) == "128");
  CHECK(rows["listen_backlog"].at(4) == "default");
  CHECK_FALSE(rows["listen_backlog"].at(5).empty());
}

TEST_CASE("ParameterStatus greets as PgBouncer does") {
  const auto parameters = Console::parameters();
  CHECK(parameters.size() == 7);
  CHECK(parameters.front() ==
        std::pair<std::string, std::string>("server_version", "1.25.2/bouncer"));
}

TEST_CASE("averages are over the last full period, per second or per event") {
  FakeSource source;
  StatsRow row{.database = "d", .period = 60s};
  row.previous = {.server_assignment_count = 1, .xact_count = 10, .query_count = 20};
  row.latest = {.server_assignment_count = 601,
                .xact_count = 610,
                .query_count = 1820,
                .bytes_received = 60'000,
                .bytes_sent = 119,
                .xact_time = 6'000,
                .query_time = 3'600,
                .wait_time = 1'200,
                .client_parse_count = 120,
                .client_login_count = 59};
  row.total = row.latest;
  row.total.xact_count = 9'000'000'000'000;
  source.stats_rows = {row, {.database = "new"}};
  const Answer stats = ask("SHOW STATS", source);
  CHECK(stats.cell(0, "total_xact_count") == "9000000000000");
  CHECK(stats.cell(0, "avg_server_assignment_count") == "10");
  CHECK(stats.cell(0, "avg_xact_count") == "10");
  CHECK(stats.cell(0, "avg_query_count") == "30");
  CHECK(stats.cell(0, "avg_recv") == "1000");
  CHECK(stats.cell(0, "avg_sent") == "1");
  CHECK(stats.cell(0, "avg_xact_time") == "10");  // microseconds per transaction
  CHECK(stats.cell(0, "avg_query_time") == "2");
  CHECK(stats.cell(0, "avg_wait_time") == "2");
  CHECK(stats.cell(0, "avg_client_parse_count") == "2");
  CHECK(stats.cell(0, "avg_client_login_count") == "0");
  CHECK(stats.cell(1, "avg_xact_count") == "0");  // no period has ended yet
  CHECK(stats.cell(1, "avg_xact_time") == "0");

  const Answer averages = ask("SHOW STATS_AVERAGES", source);
  CHECK(averages.cell(0, "xact_count") == "10");
  CHECK(averages.cell(0, "avg_client_parse_count") == "2");
  const Answer totals = ask("SHOW TOTALS", source);
  CHECK(totals.value("total_xact_count") == "9000000000000");
  CHECK(totals.value("avg_xact_time") == "10");
}

TEST_CASE("SHOW TOTALS adds the databases up") {
  FakeSource source;
  StatsRow row{.database = "a", .period = 10s};
  row.total = row.latest = {.xact_count = 20, .bytes_received = 300, .xact_time = 100};
  source.stats_rows = {row, row};
  const Answer answer = ask("SHOW TOTALS", source);
  CHECK(answer.columns == "name:25 value:1700");
  CHECK(answer.value("total_client_bytes") == "600");
  CHECK(answer.value("avg_client_bytes") == "60");
  CHECK(answer.value("avg_xact_count") == "4");
  CHECK(answer.value("avg_xact_time") == "5");
  CHECK(answer.value("total_ps_bind_count") == "0");
}

TEST_CASE("SHOW STATS and its relatives have PgBouncer's columns") {
  const auto numeric = [](std::string_view names) {
    std::string columns = "database:25 ";
    for (const char c : names) columns += c == ' ' ? ":1700 " : std::string(1, c);
    return columns + ":1700";
  };
  CHECK(ask("SHOW STATS").columns ==
        numeric("total_server_assignment_count total_xact_count total_query_count total_received "
                "total_sent total_xact_time total_query_time total_wait_time "
                "total_client_parse_count total_server_parse_count total_bind_count "
                "avg_server_assignment_count avg_xact_count avg_query_count avg_recv avg_sent "
                "avg_xact_time avg_query_time avg_wait_time avg_client_parse_count "
                "avg_server_parse_count avg_bind_count "
                "total_client_login_count avg_client_login_count"));
  CHECK(ask("SHOW STATS_TOTALS").columns ==
        numeric("server_assignment_count xact_count query_count bytes_received bytes_sent "
                "xact_time query_time wait_time client_parse_count server_parse_count bind_count "
                "client_login_count"));
  CHECK(ask("SHOW STATS_AVERAGES").columns ==
        numeric("server_assignment_count xact_count query_count bytes_received bytes_sent "
                "xact_time query_time wait_time avg_client_parse_count avg_server_parse_count "
                "avg_bind_count avg_client_login_count"));
}
