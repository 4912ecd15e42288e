#include <doctest/doctest.h>

#include "config/connection_string.hpp"
#include "config/userlist.hpp"
#include "sample.hpp"

using namespace pgproxy::config;

TEST_CASE("a database has all of PgBouncer's keys that this version knows") {
  const Loaded loaded = load_with(
      "[databases]\napp = host=a,b port=5433 dbname=real user=u password='it''s; secret' "
      "pool_size=7 min_pool_size=1 reserve_pool=2 max_db_connections=9 max_db_client_connections=8 "
      "pool_mode=session query_wait_timeout=30.5 query_timeout=7 on_exhausted=reject read_only=1 "
      "server_settings='jit=off, search_path=''a,b''' init_statements='select 1; select 2' "
      "server_lifetime=60 load_balance_hosts=disable "
      "routing=off connect_query='set x = 1; select 2' timezone=UTC application_name = app1 "
      "timezone=CET\n"
      "* = user=u server_lifetime=0\n");
  CHECK(problems_of(loaded) == "");
  const Database* found = loaded.settings.find_database("app");
  REQUIRE(found != nullptr);
  CHECK(found->hosts == std::vector<std::string>{"a", "b"});
  CHECK(found->port == 5433);
  CHECK(found->dbname == "real");
  CHECK(found->user == "u");
  CHECK(found->password == "it's; secret");
  CHECK(found->pool_size == 7);
  CHECK(found->min_pool_size == 1);
  CHECK(found->reserve_pool_size == 2);
  CHECK(found->max_db_connections == 9);
  CHECK(found->max_db_client_connections == 8);
  CHECK(found->pool_mode == PoolMode::session);
  CHECK(found->query_wait_timeout == std::chrono::milliseconds(30'500));
  CHECK(found->server_lifetime == std::chrono::seconds(60));
  CHECK(found->load_balance_hosts == LoadBalanceHosts::disable);
  CHECK(found->connect_query == "set x = 1; select 2");
  CHECK(found->query_timeout == std::chrono::seconds(7));
  CHECK(found->on_exhausted == OnExhausted::reject);
  CHECK(found->read_only);
  CHECK(found->init_statements == "select 1; select 2");
  CHECK(found->place == "test.ini:13");
  CHECK(found->server_settings ==
        std::vector<std::pair<std::string, std::string>>{{"jit", "off"}, {"search_path", "a,b"}});
  using Pair = std::pair<std::string, std::string>;
  CHECK(found->startup_settings ==
        std::vector<Pair>{Pair{"application_name", "app1"}, Pair{"timezone", "CET"}});
  REQUIRE(loaded.settings.auto_database);
  CHECK(loaded.settings.auto_database->name == "*");
  CHECK_FALSE(loaded.settings.auto_database->server_lifetime);  // 0: as if not given
  CHECK(loaded.settings.find_database("*") == nullptr);
  CHECK(loaded.settings.find_database("other") == nullptr);
}

TEST_CASE("a database given twice: the last one counts, with a warning") {
  const Loaded loaded = load_with("[databases]\na = user=u port=1\nb = user=u\na = user=u\n");
  CHECK(warnings_of(loaded) ==
        "test.ini:15: database \"a\" again: test.ini:13 does not count any more\n");
  CHECK(loaded.settings.databases.size() == 3);
  CHECK(loaded.settings.find_database("a")->port == 5432);
}

TEST_CASE("mistakes in a connection string name the database and the key, never a password") {
  const std::string problems = problems_of(
      load_with("[databases]\na = hots=x pool_size=many\nb = user=\nlisten_port = 6432\n"
                "c = password=two words\nd = auth_dbname=pgproxy\n"
                "e = user=u auth_query='select hush' auth_dbname=none\n"));
  CHECK(problems ==
        "test.ini:13: database \"a\": unknown key \"hots\"\n  hint: did you mean \"host\"?\n"
        "test.ini:13: database \"a\": pool_size: \"many\": want auto, 1 to 10000\n"
        "  hint: 0 would mean unlimited; pgproxy has no unlimited server counts\n"
        "test.ini:14: database \"b\": user: empty\n  hint: leave the key out instead\n"
        "test.ini:15: database \"listen_port\": want key=value pairs\n"
        "  hint: the setting listen_port belongs to [pgproxy]\n"
        "test.ini:16: database \"c\": want key=value after password\n"
        "  hint: a value with blanks is written in single quotes, 'a b'\n"
        "test.ini:17: database \"d\": cannot use the reserved \"pgproxy\" database as an "
        "auth_dbname\n"
        "  hint: auth_dbname = postgres, with an entry of that name in [databases]\n"
        "test.ini:18: database \"e\": auth_query: there is no $1 in it, for the user's name\n"
        "  hint: auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = $1\n"
        "test.ini:18: database \"e\": auth_dbname: there is no entry \"none\"\n"
        "  hint: in [databases]: none = host=... port=...\n");
}

TEST_CASE("connection strings: blanks around =, quotes, errors") {
  const auto pairs = parse_connection_string("  a=1 b = 'x ''y'' z'\tc= =  d='='  ");
  REQUIRE(pairs);
  REQUIRE(pairs->size() == 4);
  CHECK((*pairs)[0].value == "1");
  CHECK((*pairs)[1].value == "x 'y' z");
  CHECK((*pairs)[2].value == "=");
  CHECK((*pairs)[3].value == "=");
  CHECK(parse_connection_string("")->empty());
  for (const char* bad : {"a", "a=", "a=''", "=1", "a='", "a='x", "a='x''", "a='x'y", "a=1 b"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_connection_string(bad));
  }
}

TEST_CASE("a user's settings come before the database's, those before the global ones") {
  const Loaded loaded = load_with(
      "server_lifetime = 7\n[databases]\nd = user=u pool_size=5 pool_mode=session "
      "query_wait_timeout=30\n[users]\nu = pool_size=6 query_timeout=2 pool_mode=statement\n");
  CHECK(problems_of(loaded) == "");
  const Settings& settings = loaded.settings;
  const PoolSettings global = effective_settings(settings, Database{}, "nobody");
  CHECK(global.pool_size == 20);
  CHECK(global.pool_mode == PoolMode::transaction);
  CHECK(global.server_lifetime == std::chrono::seconds(7));
  const Database& database = *settings.find_database("d");
  const PoolSettings by_database = effective_settings(settings, database, "nobody");
  CHECK(by_database.pool_size == 5);
  CHECK(by_database.pool_mode == PoolMode::session);
  CHECK(by_database.query_wait_timeout == std::chrono::seconds(30));
  const PoolSettings by_user = effective_settings(settings, database, "u");
  CHECK(by_user.pool_size == 6);
  CHECK(by_user.pool_mode == PoolMode::statement);
  CHECK(by_user.query_timeout == std::chrono::seconds(2));
  CHECK(by_user.query_wait_timeout == std::chrono::seconds(30));
}

TEST_CASE("userlist: quotes are doubled, comments and old third columns left out") {
  Report report;
  const Secrets secrets = parse_userlist(
      "\xEF\xBB\xBF; comment\r\n# comment\n\n  \"joe\" \"a\"\"b\\c\" \r\n\"x y\"\t\"\" ; none\n"
      "\"old\" \"md5abc\" \"\"\n\"last\"\"\"\"s\"",
      "list", report);
  CHECK(report.warnings().empty());
  const auto problems = report.sorted_problems({"list"});
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].line == 7);
  CHECK(secrets.size() == 3);
  CHECK(secrets.at("joe") == "a\"b\\c");
  CHECK(secrets.at("x y") == "");
  CHECK(secrets.at("old") == "md5abc");
}

TEST_CASE("userlist: broken lines are told by number, without their text") {
  using namespace std::string_view_literals;
  Report report;
  const Secrets secrets = parse_userlist(
      "joe hush\n\"joe\" hush\n\"joe\n\"\" \"x\"\n\"a\" \"b\" c\n\"n\" \"\0\"\n"sv, "list", report);
  CHECK(secrets.empty());
  const auto problems = report.sorted_problems({"list"});
  CHECK(problems.size() == 6);
  for (const Problem& problem : problems) CHECK_FALSE(contains(problem.message, "hush"));
}

TEST_CASE("server_settings are pairs") {
  for (const std::string wrong : {"jit", "=off", "jit=off,,work_mem=1MB"}) {
    const Loaded loaded = load_with("[databases]\nd = server_settings='" + wrong + "'\n");
    CAPTURE(wrong);
    CHECK(contains(problems_of(loaded), "want name=value, several by commas"));
  }
}

TEST_CASE("server_settings that no session can set are problems at start") {
  const std::string problems = problems_of(
      load_with("[databases]\nd = server_settings='work_mem=1MB,shared_buffers=1GB'\n"));
  CHECK(contains(problems,
                 "test.ini:13: database \"d\": server_settings: shared_buffers cannot be set for a "
                 "session"));
  CHECK_FALSE(contains(problems, "work_mem"));
}

TEST_CASE("a pool's settings are told with where they are given") {
  const Loaded loaded = load_with(
      "[databases]\nd = user=u pool_size=5 query_wait_timeout=30\n[users]\nu = query_timeout=2\n");
  const Settings& settings = loaded.settings;
  const std::string text = describe_pool_settings(settings, *settings.find_database("d"), "u");
  CHECK(contains(text, "pool_size = 5 (test.ini:13)"));
  CHECK(contains(text, "query_timeout = 2 (test.ini:15)"));
  CHECK(contains(text, "max_db_connections = 0 (default)"));
  CHECK(contains(text, "idle_transaction_timeout = 60 (test.ini:7)"));
}
