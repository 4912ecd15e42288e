#include <algorithm>
#include <doctest/doctest.h>

#include "sample.hpp"

using namespace pgproxy::config;

TEST_CASE("checking secrets needs an auth_file") {
  CHECK(contains(problems_of(load_with("auth_type = md5")),
                 "test.ini:12: auth_file must be given: this auth_type checks secrets"));
  CHECK(contains(warnings_of(load_with("auth_type = trust")), "nobody can log in"));
  CHECK(problems_of(load_with("auth_type = pam")) ==
        "test.ini:12: auth_type: \"pam\": not in this version\n  hint: in this version: "
        "scram-sha-256, md5, plain, trust, any, hba, cert\n");
}

TEST_CASE("auth_type = cert needs verified certificates") {
  CHECK(problems_of(load_with("auth_type = cert")) ==
        "test.ini:12: auth_type = cert needs certificates of all clients\n"
        "  hint: client_tls_sslmode = verify-full\n");
  CHECK(contains(warnings_of(load_with("auth_type = cert")), "nobody can log in"));
}

TEST_CASE("auth_query stands in for an auth_file, and has to be fit for use") {
  const std::string users = "auth_type = md5\nauth_user = looker\n";
  CHECK(problems_of(load_with(users)) == "");
  CHECK(contains(problems_of(load_with(users + "auth_query = select 1, 2")),
                 "test.ini:14: auth_query: there is no $1 in it"));
  CHECK(contains(problems_of(load_with(users + "auth_dbname = pgbouncer")),
                 "test.ini:14: cannot use the reserved \"pgbouncer\" database"));
  CHECK(contains(problems_of(load_with(users + "auth_dbname = there")),
                 "test.ini:14: auth_dbname: there is no entry \"there\""));
  CHECK(problems_of(load_with(users + "auth_dbname = there\n[databases]\nthere = host=a")) == "");
  CHECK(problems_of(load_with(users + "auth_dbname = there\n[databases]\n* = host=a")) == "");
}

TEST_CASE("an auth_file gives the secrets, or its reason not to") {
  const TempDirectory directory;
  const std::string path = directory.write("users", "\"joe\" \"hush\"\nbroken\n\"joe\" \"new\"\n");
  const Loaded loaded = load_with("auth_type = plain\nauth_file = " + path);
  CHECK(loaded.settings.secrets.at("joe") == "new");
  CHECK(contains(problems_of(loaded), path + ":2: want \"user\" \"secret\"\n"));
  CHECK(contains(warnings_of(loaded), path + ":3: user \"joe\" again"));

  const std::string missing = directory.path("missing");
  CHECK(problems_of(load_with("auth_file = " + missing)) ==
        "test.ini:12: auth_file: cannot read \"" + missing + "\": No such file or directory\n" +
            "  hint: it is read as the user who runs pgproxy\n");
}

TEST_CASE("auth_type = any wants forced users") {
  const Loaded loaded = load_with("[databases]\nx = host=a\n* = host=b\ny = user=u\n");
  CHECK(problems_of(loaded) == "");
  CHECK(std::ranges::count(warnings_of(loaded), '\n') == 2);
  CHECK(contains(warnings_of(loaded), "test.ini:13: database \"x\": auth_type = any needs user="));
  CHECK(contains(warnings_of(loaded), "test.ini:14: database \"*\""));
}

TEST_CASE("there must be something to listen on") {
  CHECK(contains(problems_of(load_with("unix_socket_dir =")), "test.ini:12: nothing to listen on"));
  CHECK(problems_of(load_with("unix_socket_dir =\nlisten_addr = *")) == "");
}

TEST_CASE("attempts follow each other with a pause") {
  CHECK(problems_of(load_instead("attempt_interval", "attempt_interval = 0.1")) == "");
  const std::string problems =
      problems_of(load_instead("attempt_interval", "attempt_interval = 0"));
  CHECK(contains(problems, "attempt_interval: 0 would log in to a failing server without a pause"));
  CHECK(contains(problems, "hint: attempt_interval = 0.1 is ten attempts a second"));
}

TEST_CASE("server_login_retry is attempt_interval, and one of them is enough") {
  std::string rest(kRequiredToo);
  rest.erase(rest.find("attempt_interval"), std::string_view("attempt_interval = 15\n").size());
  const Loaded alone = load_text("[pgproxy]" + std::string(kRequired) +
                                     "server_login_retry = 7\n[databases]\na = user=b\n" + rest,
                                 "test.ini");
  CHECK(problems_of(alone) == "");
  CHECK(alone.settings.attempt_interval == std::chrono::seconds(7));
  const std::string both = problems_of(load_with("server_login_retry = 7"));
  CHECK(contains(both, "attempt_interval and server_login_retry are the same setting"));
  CHECK(contains(both, "test.ini:12 has the other one"));
}

TEST_CASE("a setting stands in its own section") {
  const std::string problems = problems_of(load_with("max_attempts = 3"));
  CHECK(contains(problems, "test.ini:12: max_attempts stands in [pgproxy]"));
  CHECK(contains(problems, "it belongs to [recovery]"));
  CHECK(contains(problems_of(load_with("[health]\nserver_lifetime = 3")),
                 "server_lifetime stands in [health]"));
  CHECK(contains(problems_of(load_text("[pgproxy]\n", "test.ini")),
                 "failure_threshold must be given in [health]"));
}

TEST_CASE("a client that waits hears the reason before its login is over") {
  const std::string problems = problems_of(load_with("client_login_timeout = 50"));
  CHECK(contains(problems, "query_wait_timeout = 50 is not less than client_login_timeout = 50"));
  CHECK(contains(problems, "client_login_timeout = 61"));
  CHECK(problems_of(load_with("client_login_timeout = 51")) == "");
  CHECK(problems_of(load_with("client_login_timeout = 0")) == "");
  CHECK(problems_of(load_instead("query_wait_timeout", "query_wait_timeout = 0")) == "");
  CHECK(contains(problems_of(load_with("[databases]\nslow = query_wait_timeout=60")),
                 "test.ini:13: database \"slow\": query_wait_timeout = 60"));
}

TEST_CASE("a dead server is known as one before those who wait for it give up") {
  const Loaded slow = load_instead("failure_threshold", "failure_threshold = 7");
  CHECK(contains(problems_of(slow),
                 "failure_threshold * (check_interval + check_timeout) = 7 * (5 + 3) = 56"));
  CHECK(contains(problems_of(slow), "query_wait_timeout = 68.2"));
  CHECK(problems_of(load_instead("failure_threshold", "failure_threshold = 6")) == "");
  CHECK(worst_case_detection(load_with("").settings) == std::chrono::seconds(24));
}

TEST_CASE("health checks that are off are a warning, and nothing may wait for one") {
  const Loaded off = load_instead("check_interval", "check_interval = 0");
  CHECK(contains(warnings_of(off), "check_interval = 0: no server's health is checked"));
  CHECK(contains(problems_of(off), "failed_until = health_check, but check_interval = 0"));
  CHECK(contains(problems_of(load_instead("check_timeout", "check_timeout = 0")),
                 "check_timeout: 0 would let one check last for ever"));
}

TEST_CASE("min_pool_size fits into every pool's size") {
  CHECK(problems_of(load_with("min_pool_size = 21")) ==
        "test.ini:12: min_pool_size 21 is larger than the pool's size, 20\n"
        "  hint: min_pool_size = 20 keeps the whole pool open\n");
  const std::string problems = problems_of(
      load_with("min_pool_size = 5\n[databases]\na = user=u pool_size=4\nb = user=u "
                "min_pool_size=21\nc = user=u pool_size=30 min_pool_size=30\n[users]\nu = "
                "pool_size=3\n"));
  CHECK(contains(problems,
                 "test.ini:14: database \"a\": min_pool_size 5 is larger than the pool's "
                 "size, 4\n"));
  CHECK(contains(problems, "test.ini:15: database \"b\": min_pool_size 21 is larger"));
  CHECK_FALSE(contains(problems, "\"c\""));
  CHECK(contains(problems, "test.ini:18: user \"u\": min_pool_size 5 is larger"));
}

TEST_CASE("the console's names are no databases") {
  const std::string problems =
      problems_of(load_with("[databases]\npgproxy = user=u\npgbouncer = user=u\n"));
  CHECK(contains(problems, "test.ini:13: database \"pgproxy\": this name is the console's"));
  CHECK(contains(problems, "test.ini:14: database \"pgbouncer\": this name is the console's"));
}

TEST_CASE("no databases: a warning") {
  const Loaded loaded =
      load_text("[pgproxy]" + std::string(kRequired) + std::string(kRequiredToo), "test.ini");
  CHECK(problems_of(loaded) == "");
  CHECK(warnings_of(loaded) == "test.ini: [databases] is empty: there is only the console\n");
}

TEST_CASE("TLS settings that need each other") {
  CHECK(problems_of(load_with("client_tls_sslmode = verify-ca\nclient_tls_key_file = k")) ==
        "test.ini:12: client_tls_cert_file must be given: client_tls_sslmode is not disable\n"
        "  hint: client_tls_cert_file = /etc/pgproxy/server.crt\n"
        "test.ini:12: client_tls_ca_file must be given: client_tls_sslmode is not disable\n"
        "  hint: client_tls_ca_file = /etc/pgproxy/root.crt, with whoever signs clients' "
        "certificates\n");
  CHECK(problems_of(load_with("client_tls_sslmode = require\nclient_tls_key_file = k\n"
                              "client_tls_cert_file = c")) == "");
  CHECK(contains(problems_of(load_with("server_tls_sslmode = verify-full")),
                 "server_tls_ca_file must be given: server_tls_sslmode verifies servers"));
  CHECK(contains(problems_of(load_with("server_tls_cert_file = c")),
                 "server_tls_key_file and server_tls_cert_file belong together"));
  CHECK(contains(warnings_of(load_with("server_tls_ca_file = c")), "is not used"));
}

TEST_CASE("TLS without a question is for those who insist on it") {
  const std::string direct = "server_tls_sslnegotiation = direct\n";
  CHECK(
      contains(problems_of(load_with(direct)), "test.ini:12: server_tls_sslnegotiation = direct"));
  CHECK(contains(problems_of(load_with(direct + "server_tls_sslmode = prefer")), "test.ini:12: "));
  CHECK(problems_of(load_with(direct + "server_tls_sslmode = require")) == "");
}

TEST_CASE("revocation lists without authorities are a mistake") {
  const std::string client =
      "client_tls_sslmode = require\nclient_tls_key_file = k\nclient_tls_cert_file = c\n";
  CHECK(contains(problems_of(load_with(client + "client_tls_crl_file = l")),
                 "client_tls_ca_file must be given"));
  CHECK(problems_of(load_with(client + "client_tls_crl_file = l\nclient_tls_ca_file = a")) == "");
  CHECK(contains(problems_of(load_with("server_tls_crl_file = l")),
                 "test.ini:12: server_tls_crl_file would not be used"));
}
