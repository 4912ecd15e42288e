#include <doctest/doctest.h>

#include "sample.hpp"

using namespace pgproxy::config;
using pgproxy::Duration;

TEST_CASE("a file with only what must be given loads, the rest has PgBouncer's defaults") {
  const Loaded loaded = load_with("");
  CHECK(problems_of(loaded) == "");
  CHECK(warnings_of(loaded) == "");
  const Settings& settings = loaded.settings;
  CHECK(settings.pool_mode == PoolMode::transaction);
  CHECK(settings.default_pool_size == 20);
  CHECK(settings.query_wait_timeout == std::chrono::seconds(50));
  CHECK(settings.auth_type == AuthType::any);
  CHECK(settings.listen_port == 6432);
  CHECK(settings.unix_socket_dir == "/tmp");
  CHECK(settings.unix_socket_mode == 0777);
  CHECK(settings.server_check_query == ";");
  CHECK(settings.server_reset_query == "DISCARD ALL");
  CHECK(settings.max_server_logins == 3);
  CHECK(settings.tcp_keepalive);
  CHECK(settings.max_packet_size == 2147483647);
}

TEST_CASE("each setting that must be given is missed, with a value and how it was reached") {
  const Loaded loaded = load_text("", "empty.ini");
  CHECK(loaded.problems.size() == 33);
  for (const Problem& problem : loaded.problems) {
    CHECK(problem.file == "empty.ini");
    CHECK(problem.line == 0);
    CHECK(contains(problem.hint, " = "));
  }
  CHECK(contains(problems_of(loaded),
                 "empty.ini: default_pool_size must be given in [pgproxy]\n"
                 "  hint: default_pool_size = 20: PgBouncer's value; a server with "
                 "max_connections = 100, 3 of them reserved, has room for four such pools\n"));
}

TEST_CASE("a bad value is not reported as missing too") {
  const Loaded loaded = load_text("[pgproxy]\npool_mode = sessions\n", "test.ini");
  CHECK(loaded.problems.size() == 33);
  CHECK(loaded.problems[0].line == 2);
  CHECK(loaded.problems[0].message ==
        "pool_mode: \"sessions\": want session, transaction, statement");
}

TEST_CASE("numbers are read as strtol with base 0 does, without suffixes") {
  CHECK(load_with("listen_port = 0x10").settings.listen_port == 16);
  CHECK(load_with("unix_socket_mode = 0700").settings.unix_socket_mode == 0700);
  for (const char* bad : {"0", "65536", "-1", "99999999999999999999", "5432x", "5k", "08", "1.5",
                          "", "nan", "0x", "+", "six"}) {
    CAPTURE(bad);
    const Loaded loaded = load_with("listen_port = " + std::string(bad));
    CHECK(problems_of(loaded) ==
          "test.ini:12: listen_port: \"" + std::string(bad) + "\": want 1 to 65535\n");
    CHECK(loaded.settings.listen_port == 6432);
  }
}

TEST_CASE("times are seconds with decimals") {
  CHECK(load_with("server_lifetime = 1.5").settings.server_lifetime == Duration(1'500'000));
  CHECK(load_with("server_lifetime = 0").settings.server_lifetime == Duration(0));
  CHECK(load_with("server_lifetime = 2147483647").settings.server_lifetime ==
        std::chrono::seconds(2147483647));
  for (const char* bad :
       {"-1", "nan", "inf", "-nan", "1e300", "2147483648", "1s", "1,5", "", "0.0000001"}) {
    CAPTURE(bad);
    CHECK(problems_of(load_with("server_lifetime = " + std::string(bad))) ==
          "test.ini:12: server_lifetime: \"" + std::string(bad) +
              "\": want 0 to 2147483647 seconds, decimals allowed\n");
  }
}

TEST_CASE("flags are 0 and 1 and their usual words") {
  for (const char* yes : {"1", "yes", "TRUE", "on"}) {
    CHECK(load_with("server_round_robin = " + std::string(yes)).settings.checkout_order ==
          CheckoutOrder::round_robin);
  }
  for (const char* no : {"0", "no", "false", "Off"}) {
    CHECK_FALSE(load_with("tcp_keepalive = " + std::string(no)).settings.tcp_keepalive);
  }
  CHECK(problems_of(load_with("tcp_keepalive = 2")) ==
        "test.ini:12: tcp_keepalive: \"2\": want 0 or 1\n");
}

TEST_CASE("lists are separated by commas or blanks; words of an enum ignore case") {
  const Loaded loaded = load_with("admin_users = alice, bob  carol\nlog_format = LogFmt");
  CHECK(loaded.settings.admin_users == std::vector<std::string>{"alice", "bob", "carol"});
  CHECK(loaded.settings.log_format == LogFormat::logfmt);
}

TEST_CASE("the check query: <empty> is an empty query, nothing is off") {
  CHECK(load_with("server_check_query = <empty>").settings.server_check_query == ";");
  CHECK(load_with("server_check_query = select 1").settings.server_check_query == "select 1");
  CHECK(load_with("server_check_query =").settings.server_check_query == "");
}

TEST_CASE("no unlimited server counts") {
  const std::string problems = problems_of(
      load_with("default_pool_size = 0\n[databases]\na = user=u pool_size=0\n[users]\nb = "
                "pool_size=0\n"));
  const std::string hint =
      "  hint: 0 would mean unlimited; pgproxy has no unlimited server counts\n";
  CHECK(problems ==
        "test.ini:12: default_pool_size: \"0\": want auto, 1 to 10000\n" + hint +
            "test.ini:14: database \"a\": pool_size: \"0\": want auto, 1 to 10000\n" + hint +
            "test.ini:16: user \"b\": pool_size: \"0\": want auto, 1 to 10000\n" + hint);
}

TEST_CASE("an unknown setting is told with the nearest name") {
  CHECK(problems_of(load_with("lisen_port = 1")) ==
        "test.ini:12: unknown setting \"lisen_port\"\n  hint: did you mean \"listen_port\"?\n");
  CHECK(problems_of(load_with("Listen_Port = 1")) ==
        "test.ini:12: unknown setting \"Listen_Port\"\n  hint: did you mean \"listen_port\"?\n");
  CHECK(problems_of(load_with("zzzzzzzz = 1")) == "test.ini:12: unknown setting \"zzzzzzzz\"\n");
}

TEST_CASE("rerun_on is a list of words, or none") {
  CHECK(load_instead("rerun_on", "rerun_on = stale_plan").settings.rerun_on.stale_plan);
  CHECK_FALSE(load_instead("rerun_on", "rerun_on = None").settings.rerun_on.stale_plan);
  CHECK(contains(problems_of(load_instead("rerun_on", "rerun_on = none, stale_plan")),
                 "want stale_plan, replica_refusal, none"));
  CHECK(contains(problems_of(load_instead("rerun_on", "rerun_on = always")),
                 "want stale_plan, replica_refusal, none"));
  const RerunOn both =
      load_instead("rerun_on", "rerun_on = stale_plan, replica_refusal").settings.rerun_on;
  CHECK(both.stale_plan);
  CHECK(both.replica_refusal);
}

TEST_CASE("what PgBouncer has and this version has not is known, never ignored") {
  CHECK(problems_of(load_with("dns_max_ttl = 15.0\npeer_id = 0\nauth_user =\n"
                              "query_wait_notify = 0")) == "");
  CHECK(contains(problems_of(load_with("query_wait_notify = 100")),
                 "test.ini:12: query_wait_notify: \"100\": not in this version\n"));
  CHECK(problems_of(load_with("peer_id = 1\nauth_type = ldap")) ==
        "test.ini:12: peer_id: \"1\": not in this version\n  hint: There are no peers in this "
        "version. Leave peer_id out, or 0.\n"
        "test.ini:13: auth_type: \"ldap\": not in this version\n  hint: in this version: "
        "scram-sha-256, md5, plain, trust, any, hba, cert\n");
  CHECK(contains(problems_of(load_with("auth_ldap_options = ldapbindpasswd=hush")),
                 "auth_ldap_options: (hidden): not in this version"));
}

TEST_CASE("what changes nothing here is taken with a warning") {
  const Loaded loaded = load_with("pkt_buf = 8192\nsbuf_loopcnt = 5");
  CHECK(problems_of(loaded) == "");
  CHECK(warnings_of(loaded) ==
        "test.ini:12: pkt_buf: accepted, no effect here. Connections share one large read "
        "buffer.\n");
}

TEST_CASE("[pgbouncer] is [pgproxy]; the last value counts and nothing is reset") {
  const Loaded loaded = load_with("listen_port = 1\nverbose = 2\n[pgbouncer]\nlisten_port = 2\n");
  CHECK(problems_of(loaded) == "");
  CHECK(warnings_of(loaded) ==
        "test.ini:15: listen_port again: test.ini:12 does not count any more\n");
  CHECK(loaded.settings.listen_port == 2);
  CHECK(loaded.settings.verbose == 2);
}

TEST_CASE("sections: unknown ones, ones of later versions, none at all") {
  const Loaded loaded = load_with(
      "[databse]\nx = y\nnot even an entry\n[peers]\n1 = host=a\n[health]\n[capacity]\nx=1\n");
  CHECK(problems_of(loaded) ==
        "test.ini:12: unknown section \"databse\"; its lines are not read\n"
        "  hint: did you mean \"databases\"?\n"
        "test.ini:16: \"1\": section [peers] is not in this version\n"
        "test.ini:19: unknown setting \"x\"\n");
  CHECK(load_text("listen_port = 1\n", "x").problems[0].message ==
        "\"listen_port\" stands before the first section");
}

TEST_CASE("a reload's changes name what needs a restart") {
  const Settings running = load_with("").settings;
  CHECK(compare(running, running).empty());
  const auto changes = compare(running, load_with("listen_port = 5\nverbose = 1").settings);
  REQUIRE(changes.size() == 2);
  CHECK(changes[0].name == "listen_port");
  CHECK(changes[0].from == "6432");
  CHECK(changes[0].to == "5");
  CHECK(changes[0].needs_restart);
  CHECK(changes[1].name == "verbose");
  CHECK_FALSE(changes[1].needs_restart);
}

TEST_CASE("versions of TLS are words, and the unsafe ones are refused by name") {
  CHECK(load_with("client_tls_protocols = SECURE").settings.client_tls_protocols ==
        TlsProtocols{.v1_2 = true, .v1_3 = true});
  CHECK(load_with("client_tls_protocols = all").settings.client_tls_protocols ==
        TlsProtocols{.v1_2 = true, .v1_3 = true});
  CHECK(load_with("server_tls_protocols = tlsv1.3").settings.server_tls_protocols ==
        TlsProtocols{.v1_2 = false, .v1_3 = true});
  CHECK(problems_of(load_with("client_tls_protocols = tlsv1.1,tlsv1.2")) ==
        "test.ini:12: client_tls_protocols: \"tlsv1.1,tlsv1.2\": not in this version\n  hint: in "
        "this version: secure, all, tlsv1.2, tlsv1.3\n");
  CHECK(contains(problems_of(load_with("client_tls_protocols = ssl3")), "want secure, all"));
}

TEST_CASE("a problem that shows when a setting is put to use has the setting's line") {
  Loaded loaded = load_with("client_tls_cert_file = x");
  loaded.add_problem("client_tls_cert_file", "\"x\": no start line", "PEM");
  loaded.add_problem("client_tls_ca_file", "missing", "");
  CHECK(problems_of(loaded) ==
        "test.ini:12: client_tls_cert_file: \"x\": no start line\n  hint: PEM\n"
        "test.ini: client_tls_ca_file: missing\n");
}
