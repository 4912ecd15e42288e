// The tables that are not about pools and statistics: columns, their types, values.
#include "console_fixture.hpp"

using namespace pgproxy;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view socket_columns =
    "type:25 user:25 database:25 replication:25 state:25 addr:25 port:23 local_addr:25 "
    "local_port:23 connect_time:25 request_time:25 wait:23 wait_us:23 close_needed:23 ptr:25 "
    "link:25 remote_pid:23 tls:25 application_name:25 prepared_statements:23 id:23 "
    "recv_pos:23 pkt_pos:23 pkt_remain:23 send_pos:23 send_remain:23 pkt_avail:23 send_avail:23";

FakeSource sockets() {
  FakeSource source;
  source.client_rows = {{.id = 1, .user = "u", .state = "active", .link = 3},
                        {.id = 2, .state = "idle"},
                        {.id = 5, .state = "waiting"}};
  source.client_rows[0].socket = {.fd = 11,
                                  .unread_bytes = 7,
                                  .message_bytes = 8,
                                  .unsent_bytes = 9,
                                  .client_encoding = "UTF8",
                                  .standard_conforming_strings = "on",
                                  .datestyle = "ISO, MDY",
                                  .timezone = "UTC"};
  source.server_rows = {{.id = 3, .state = "active", .link = 1}, {.id = 4, .state = "new"}};
  source.server_rows[0].socket.fd = 12;
  return source;
}

}  // namespace

TEST_CASE("SHOW SOCKETS has clients and servers, with what waits in their buffers") {
  const Answer answer = ask("SHOW SOCKETS", sockets());
  CHECK(answer.columns == socket_columns);
  REQUIRE(answer.rows.size() == 5);
  CHECK(answer.cell(0, "state") == "cl_active");
  CHECK(answer.cell(0, "recv_pos") == "7");
  CHECK(answer.cell(0, "pkt_avail") == "7");
  CHECK(answer.cell(0, "pkt_remain") == "8");
  CHECK(answer.cell(0, "send_avail") == "9");
  CHECK(answer.cell(1, "state") == "cl_active");  // PgBouncer's list for idle ones, too
  CHECK(answer.cell(2, "state") == "cl_waiting");
  CHECK(answer.cell(3, "state") == "sv_active");
  CHECK(answer.cell(3, "type") == "S");
  CHECK(answer.cell(4, "state") == "sv_login");
}

TEST_CASE("SHOW ACTIVE_SOCKETS leaves out those that have nothing to do") {
  FakeSource source = sockets();
  CHECK(ask("SHOW ACTIVE_SOCKETS", source).columns == socket_columns);
  CHECK(ask("SHOW ACTIVE_SOCKETS", source).rows.size() == 4);
  source.client_rows[1].socket.unsent_bytes = 1;
  CHECK(ask("SHOW ACTIVE_SOCKETS", source).rows.size() == 5);
}

TEST_CASE("SHOW FDS lists open descriptors without anything secret") {
  const Answer answer = ask("SHOW FDS", sockets());
  CHECK(answer.columns ==
        "fd:23 task:25 user:25 database:25 addr:25 port:23 cancel:20 link:23 client_encoding:25 "
        "std_strings:25 datestyle:25 timezone:25 password:25 scram_client_key:17 "
        "scram_server_key:17");
  REQUIRE(answer.rows.size() == 2);  // the others have none
  CHECK(answer.rows[0] == std::vector<std::string>{"11", "client", "u", "", "", "0", "NULL", "12",
                                                   "UTF8", "on", "ISO, MDY", "UTC", "NULL", "NULL",
                                                   "NULL"});
  CHECK(answer.cell(1, "task") == "server");
  CHECK(answer.cell(1, "link") == "11");
}

TEST_CASE("SHOW DATABASES has PgBouncer's columns") {
  FakeSource source;
  source.database_rows = {{.name = "d",
                           .host = "10.0.0.1,10.0.0.2",
                           .port = 5432,
                           .database = "real",
                           .force_user = "f",
                           .pool_size = 1,
                           .min_pool_size = 2,
                           .reserve_pool_size = 3,
                           .server_lifetime = 3600s,
                           .pool_mode = "session",
                           .load_balance_hosts = "disable",
                           .max_connections = 4,
                           .current_connections = 5,
                           .max_client_connections = 6,
                           .current_client_connections = 7,
                           .is_paused = true},
                          {.name = "e", .is_disabled = true}};
  const Answer answer = ask("SHOW DATABASES", source);
  CHECK(answer.columns ==
        "name:25 host:25 port:23 database:25 force_user:25 pool_size:23 min_pool_size:23 "
        "reserve_pool_size:23 server_lifetime:23 pool_mode:25 load_balance_hosts:25 "
        "max_connections:23 current_connections:23 max_client_connections:23 "
        "current_client_connections:23 paused:23 disabled:23");
  CHECK(answer.rows.at(0) == std::vector<std::string>{"d", "10.0.0.1,10.0.0.2", "5432", "real", "f",
                                                      "1", "2", "3", "3600", "session", "disable",
                                                      "4", "5", "6", "7", "1", "0"});
  for (const auto* column : {"host", "force_user", "pool_mode", "load_balance_hosts"}) {
    CHECK(answer.cell(1, column) == "NULL");
  }
  CHECK(answer.cell(1, "disabled") == "1");
}

TEST_CASE("SHOW USERS pads sizes as PgBouncer does") {
  FakeSource source;
  source.user_rows = {{.name = "u",
                       .pool_size = 5,
                       .reserve_pool_size = config::auto_size,
                       .pool_mode = "session",
                       .max_user_connections = 1,
                       .current_connections = 2,
                       .max_user_client_connections = 3,
                       .current_client_connections = 4},
                      {.name = "v"}};
  const Answer answer = ask("SHOW USERS", source);
  CHECK(answer.columns ==
        "name:25 pool_size:25 reserve_pool_size:25 pool_mode:25 max_user_connections:23 "
        "current_connections:23 max_user_client_connections:23 current_client_connections:23");
  CHECK(answer.rows.at(0) ==
        std::vector<std::string>{"u", "        5", "     auto", "session", "1", "2", "3", "4"});
  CHECK(answer.rows.at(1) == std::vector<std::string>{"v", "", "", "", "0", "0", "0", "0"});
}

TEST_CASE("SHOW MEM keeps to the range of PgBouncer's type") {
  FakeSource source;
  source.memory_rows = {{.name = "client_cache", .size = 600, .used = 3, .free = 1, .total = 2400},
                        {.name = "large", .total = 5'000'000'000}};
  const Answer answer = ask("SHOW MEM", source);
  CHECK(answer.columns == "name:25 size:23 used:23 free:23 memtotal:23");
  CHECK(answer.rows.at(0) == std::vector<std::string>{"client_cache", "600", "3", "1", "2400"});
  CHECK(answer.cell(1, "memtotal") == "2147483647");
}

TEST_CASE("SHOW STATE tells active from paused and suspended") {
  FakeSource source;
  const auto state = [&source] {
    const Answer answer = ask("SHOW STATE", source);
    CHECK(answer.columns == "key:25 value:25");
    return answer.value("active") + ' ' + answer.value("paused") + ' ' + answer.value("suspended");
  };
  CHECK(state() == "yes no no");
  source.state.is_paused = true;
  CHECK(state() == "no yes no");
  source.state = {.is_suspended = true};
  CHECK(state() == "no no yes");
}

TEST_CASE("what there is not is an empty table with PgBouncer's columns") {
  const auto columns = [](std::string_view command) {
    const Answer answer = ask(command);
    CHECK(answer.tags == "TCZ");
    return answer.columns;
  };
  CHECK(columns("SHOW DNS_HOSTS") == "hostname:25 ttl:20 addrs:25");
  CHECK(columns("SHOW DNS_ZONES") == "zonename:25 serial:20 count:23");
  CHECK(columns("SHOW PEERS") == "peer_id:23 host:25 port:23 pool_size:23");
  CHECK(columns("SHOW PEER_POOLS") ==
        "peer_id:23 cl_active_cancel_req:23 cl_waiting_cancel_req:23 sv_active_cancel:23 "
        "sv_login:23");
}

TEST_CASE("SHOW WAITS tells who waits, for what, how long") {
  FakeSource source;
  source.wait_rows = {{.database = "d",
                       .user = "u",
                       .addr = "127.0.0.1:5000",
                       .application_name = "app",
                       .client_id = 5,
                       .waits_for = "capacity limit",
                       .detail = "pool_size",
                       .since = some_time,
                       .wait = 3s + 7us}};
  const Answer answer = ask("SHOW WAITS", source);
  CHECK(answer.columns ==
        "database:25 user:25 addr:25 application_name:25 client_id:20 waits_for:25 detail:25 "
        "since:25 wait:23 wait_us:23");
  CHECK(answer.rows.at(0) == std::vector<std::string>{"d", "u", "127.0.0.1:5000", "app", "5",
                                                      "capacity limit", "pool_size",
                                                      "2026-11-18 11:06:40 UTC", "3", "7"});
}

TEST_CASE("SHOW ERRORS has SQLSTATE and hint") {
  FakeSource source;
  source.error_rows = {{.time = some_time,
                        .database = "d",
                        .user = "u",
                        .addr = "127.0.0.1:5000",
                        .sqlstate = "53300",
                        .message = "full",
                        .hint = "Raise it."}};
  const Answer answer = ask("SHOW ERRORS", source);
  CHECK(answer.columns == "time:25 database:25 user:25 addr:25 sqlstate:25 message:25 hint:25");
  CHECK(answer.rows.at(0) == std::vector<std::string>{"2026-11-18 11:06:40 UTC", "d", "u",
                                                      "127.0.0.1:5000", "53300", "full",
                                                      "Raise it."});
}

TEST_CASE("EXPLAIN ROUTE takes one statement in quotes, whatever is in it") {
  const Answer answer = ask("explain ROUTE 'SELECT ''a;b''; SELECT 2' ;");
  CHECK(answer.columns == "database:25 target:25 reason:25 explanation:25 server:25");
  CHECK(answer.cell(0, "explanation") == "asked: SELECT 'a;b'; SELECT 2");
  CHECK(answer.cell(0, "server") == "b:5432");
  for (const std::string text : {"EXPLAIN ROUTE", "EXPLAIN ROUTE 'SELECT 1' 2", "EXPLAIN ROUTE ''",
                                 "EXPLAIN ROUTE 'SELECT 1"}) {
    CAPTURE(text);
    CHECK(ask(text).error.sqlstate == "42601");
  }
}
