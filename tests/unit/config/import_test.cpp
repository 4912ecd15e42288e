#include "pgproxy/config/import.hpp"

#include <doctest/doctest.h>

#include "sample.hpp"

using namespace pgproxy::config;

namespace {

std::string problems_of(const Imported& imported) {
  return problems_of(Loaded{.settings = {}, .problems = imported.problems});
}

/// A server of 100 connections, 3 of them reserved, where others hold two.
ServerFacts server_of_test() {
  return {.host = "10.0.0.7",
          .port = 5432,
          .error = {},
          .max_connections = 100,
          .superuser_reserved_connections = 3,
          .others = 2,
          .role_limits = {{"app", -1}, {"web", -1}},
          .database_limits = {{"shop", -1}}};
}

AskServers answering(const ServerFacts& facts, const ImportLogin& login) {
  return [=](const Settings&) {
    return ImportAnswers{.login = login, .servers = {facts}, .reason = ""};
  };
}

const ImportLogin login_of_test{
    .user = "app", .password = "hush", .dbname = "postgres", .origin = "user= of entry shop"};

/// Comments without their line ends.
std::string in_one_line(std::string text) {
  for (std::size_t at = 0; (at = text.find("\n# ", at)) != std::string::npos;) {
    text.replace(at, 3, " ");
  }
  return text;
}

/// What --check would say of a text, if its servers say this.
std::vector<Problem> verdict_of(const std::string& text, const ServerFacts& facts) {
  const Loaded loaded = load_text(text, "pgproxy.ini");
  REQUIRE(problems_of(loaded) == "");
  return judge_capacity(loaded.settings, plan_capacity(loaded.settings), {facts}).problems;
}

/// With app and web in auth_file.
std::string two_users(const TempDirectory& directory, const std::string& entry) {
  const std::string users = directory.write("userlist.txt", "\"app\" \"hush\"\n\"web\" \"hash\"\n");
  return "[databases]\n" + entry + "\n[pgbouncer]\nauth_file = " + users + "\n";
}

}  // namespace

TEST_CASE("an import keeps every key, and writes down what PgBouncer assumes") {
  const TempDirectory directory;
  const std::string users = directory.write("userlist.txt", "\"app\" \"hush\"\n");
  const Imported imported = import_text(
      "[databases]\n"
      "  shop = host=10.0.0.7 dbname=shop_live pool_size=30\n"
      "'my db' = host=/tmp connect_query='select '';'''\n"
      "[users]\n"
      "batch = pool_mode=statement\n"
      "[pgbouncer]\n"
      "auth_file = " +
          users +
          "\n"
          "max_client_conn = 5000\n"
          "reserve_pool_size = 0x5\n"
          "max_client_conn = 6000\n"
          "server_login_retry = 7\n",
      "pgbouncer.ini");
  CHECK(problems_of(imported) == "");
  const Loaded loaded = load_text(imported.text, "pgproxy.ini");
  CHECK(problems_of(loaded) == "");
  const Settings& settings = loaded.settings;
  REQUIRE(settings.databases.size() == 2);
  CHECK(settings.find_database("shop")->dbname == "shop_live");
  CHECK(settings.find_database("shop")->pool_size == 30);
  CHECK(settings.find_database("my db")->connect_query == "select ';'");
  CHECK(settings.find_user("batch")->pool_mode == PoolMode::statement);
  CHECK(settings.max_client_conn == 6000);
  CHECK(settings.reserve_pool_size == 5);
  CHECK(settings.attempt_interval == std::chrono::seconds(7));
  // PgBouncer's defaults, where pgproxy has none.
  CHECK(settings.pool_mode == PoolMode::session);
  CHECK(settings.auth_type == AuthType::md5);
  CHECK(settings.server_tls_sslmode == SslMode::prefer);
  CHECK(settings.default_pool_size == 20);
  CHECK(settings.idle_transaction_timeout == pgproxy::Duration::zero());
  CHECK(contains(imported.text, "\n# ADDED. "));
}

TEST_CASE("what an import cannot keep is said, in the file and beside it") {
  const Imported imported = import_text(
      "[pgbouncer]\n"
      "auth_type = any\n"
      "default_pool_size = 0\n"
      "peer_id = 3\n"
      "pkt_buf = 8192\n"
      "pool_moed = session\n"
      "[databases]\n"
      "shop = user=app pool_size=0 host=10.0.0.7\n"
      "[peers]\n"
      "1 = host=10.0.0.8\n",
      "pgbouncer.ini");
  const std::string problems = problems_of(imported);
  CHECK(contains(problems, "pgbouncer.ini:3: default_pool_size: \"0\""));
  CHECK(contains(problems, "pgbouncer.ini:4: peer_id: \"3\": not in this version"));
  CHECK(contains(problems, "pgbouncer.ini:6: unknown setting \"pool_moed\""));
  CHECK(contains(problems, "pgbouncer.ini:8: database \"shop\": pool_size: \"0\""));
  CHECK(contains(problems, "pgbouncer.ini:10: \"1\": section [peers] is not in this version"));
  CHECK(imported.problems.size() == 5);
  CHECK(contains(imported.text, "\n;peer_id = 3\n"));
  CHECK(contains(imported.text, "\n;pkt_buf = 8192\n"));
  CHECK(contains(imported.text,
                 "\n;shop = user=app pool_size=0 host=10.0.0.7\nshop = user=app host=10.0.0.7\n"));
  const Loaded loaded = load_text(imported.text, "pgproxy.ini");
  CHECK(problems_of(loaded) == "");
  CHECK(loaded.settings.default_pool_size == 20);
}

TEST_CASE("an import tells what is wrong with the result as a whole") {
  const Imported imported = import_text("[pgbouncer]\nauth_type = md5\n", "pgbouncer.ini");
  CHECK(contains(problems_of(imported), "auth_file must be given"));
  CHECK(contains(problems_of(import_file("/nonexistent/pgbouncer.ini")), "/nonexistent"));
}

TEST_CASE("servers that have answered have their limits enforced") {
  ServerFacts facts = server_of_test();
  facts.role_limits["app"] = 40;
  const Imported imported = import_text(
      "[databases]\nshop = host=10.0.0.7 user=app password=hush pool_size=30\n[pgbouncer]\n"
      "auth_type = any\n",
      "pgbouncer.ini", answering(facts, login_of_test));
  CHECK(problems_of(imported) == "");
  CHECK(contains(imported.text, "\ncheck = enforce\n"));
  CHECK(contains(imported.text, "\ncontrol_user = app\n"));
  CHECK(contains(imported.text, "\ncontrol_password = hush\n"));
  CHECK(contains(imported.text, "\ncontrol_dbname = postgres\n"));
  CHECK_FALSE(contains(imported.text, "max_db_connections"));
  const std::string words = in_one_line(imported.text);
  CHECK(contains(words,
                 "ADDED. The servers were asked as app in database postgres; they said: "
                 "10.0.0.7:5432: max_connections 100, superuser_reserved_connections 3, "
                 "reserved_connections 0, connection limit 40 of role app; roles that this "
                 "file does not name hold 2 connections"));
  CHECK(contains(words, "role app at 10.0.0.7:5432: fits: 30 [shop/app: pool_size 30 "));
  CHECK(contains(words, "connection limit 40 of role app * safety_margin 0.8 = 32"));
  CHECK(contains(words, "The login that worked (user= of entry shop). A role of pgproxy's own"));
  CHECK_FALSE(contains(words, "Which role may ask"));
  CHECK(verdict_of(imported.text, facts).empty());
}

TEST_CASE("an entry whose users are not known is bounded by what there is room for") {
  const TempDirectory directory;
  ServerFacts facts = server_of_test();
  const std::string source = two_users(directory, "shop = host=10.0.0.7");
  const Imported roomy = import_text(source, "pgbouncer.ini", answering(facts, login_of_test));
  CHECK(problems_of(roomy) == "");
  CHECK(contains(roomy.text, "\nshop = host=10.0.0.7 max_db_connections=40\n"));
  CHECK(contains(roomy.text, "\ncheck = enforce\n"));
  CHECK(contains(roomy.text, "\napp = weight=1\n"));           // who asks is a user all the same
  CHECK_FALSE(contains(roomy.text, "\ncontrol_password = "));  // it stands in auth_file
  facts.max_connections = 40;
  const Imported narrow = import_text(source, "pgbouncer.ini", answering(facts, login_of_test));
  CHECK(contains(narrow.text, "\nshop = host=10.0.0.7 max_db_connections=20\n"));
  CHECK(contains(narrow.text, "\ncheck = enforce\n"));
  CHECK(verdict_of(narrow.text, facts).empty());
  CHECK(contains(in_one_line(narrow.text),
                 "(pool_size 20 + reserve_pool_size 0) * 1 pool = 20, at least what the load "
                 "needs: 3. PgBouncer had no limit; auth_file knows 2 users, and there is no room "
                 "for a pool for each"));
}

TEST_CASE("an entry that has a bound keeps it, and known users need none") {
  const TempDirectory directory;
  const auto import = [&](const std::string& entry) {
    return import_text(two_users(directory, entry), "pgbouncer.ini",
                       answering(server_of_test(), login_of_test))
        .text;
  };
  CHECK(contains(import("shop = host=10.0.0.7 max_db_connections=9"),
                 "\nshop = host=10.0.0.7 max_db_connections=9\n"));
  const std::string text = import("shop = host=10.0.0.7\n[users]\nweb = pool_size=5");
  CHECK(contains(text, "\nshop = host=10.0.0.7\n"));
  CHECK(contains(in_one_line(text), "fits: 20 [shop/app: "));
  CHECK(contains(in_one_line(text), " + 5 [shop/web: "));
}

TEST_CASE("all databases of a server share what it allows") {
  const TempDirectory directory;
  const Imported imported = import_text(two_users(directory, "* = host=10.0.0.7"), "pgbouncer.ini",
                                        answering(server_of_test(), login_of_test));
  CHECK(problems_of(imported) == "");
  CHECK(contains(imported.text, "\n* = host=10.0.0.7 max_db_connections=20\n"));
  CHECK(contains(imported.text, "\nmax_host_connections = 77\n"));
  CHECK(contains(imported.text, "\ncheck = enforce\n"));
  CHECK(verdict_of(imported.text, server_of_test()).empty());
}

TEST_CASE("what does not fit is reported with what would") {
  ServerFacts facts = server_of_test();
  facts.database_limits["shop"] = 10;
  const Imported imported = import_text(
      "[databases]\nshop = host=10.0.0.7 user=app pool_size=30\n[pgbouncer]\nauth_type = any\n",
      "pgbouncer.ini", answering(facts, login_of_test));
  CHECK(problems_of(imported) == "");
  CHECK(contains(imported.text, "\ncheck = report\n"));
  CHECK(contains(imported.text, "pool_size=30\n"));
  const std::string words = in_one_line(imported.text);
  CHECK(contains(words, "NOTE. database shop at 10.0.0.7:5432 has no room for the pools: 30 ["));
  CHECK(contains(words, "What would fit: take 22 connections from the pools"));
  CHECK(contains(words, "ALTER DATABASE shop CONNECTION LIMIT 38"));
}

TEST_CASE("servers that were not all asked leave check off, with the reasons") {
  const auto import = [](const ImportAnswers& answers, const std::string& more = "") {
    const Imported imported = import_text(
        "[databases]\nshop = host=10.0.0.7 user=app\n[pgbouncer]\nauth_type = any\n" + more,
        "pgbouncer.ini", [&](const Settings&) { return answers; });
    CHECK(problems_of(imported) == "");
    CHECK(contains(imported.text, "\ncheck = off\n"));
    CHECK_FALSE(contains(imported.text, "\ncontrol_user = "));
    return in_one_line(imported.text);
  };
  ServerFacts away{.host = "10.0.0.8", .port = 5432, .error = {}};
  away.error = pgproxy::Error{.message = "first line\nlisten_port = 1", .hint = "Start it."};
  const std::string words =
      import({.login = {}, .servers = {server_of_test(), away}, .reason = ""});
  CHECK(contains(words, "QUESTION. Which role may ask the servers for their limits?"));
  CHECK(contains(words, "Answered has 10.0.0.7:5432: max_connections 100"));
  CHECK(contains(words,
                 "QUESTION. 10.0.0.8:5432 could not be asked: first line listen_port = 1. "
                 "Start it."));
  CHECK(contains(import({.login = {}, .servers = {}, .reason = "nobody may"}),
                 "Not found out: nobody may."));
  // enforce and report want an end to waiting, which is the file's to give.
  CHECK(contains(import({.login = login_of_test, .servers = {server_of_test()}, .reason = ""},
                        "server_connect_timeout = 0\n"),
                 "server_connect_timeout = 0 would wait for ever"));
}

TEST_CASE("logins are those of entries, auth_user and auth_file, but no hashes") {
  Settings settings;
  settings.databases = {{.name = "shop", .dbname = "shop_live", .user = "app", .password = "one"},
                        {.name = "blog", .user = "web"},
                        {.name = "wiki", .user = "hashed"}};
  settings.auth_user = "asks";
  settings.secrets = {{"asks", "three"},
                      {"hashed", "SCRAM-SHA-256$4096:c2FsdA==$a:b"},
                      {"old", "md50123456789abcdef0123456789abcdef"},
                      {"web", "two"}};
  std::string text;
  for (const ImportLogin& login : import_logins(settings)) {
    text += login.user + ":" + login.password + "@" + login.dbname + " ";
  }
  CHECK(text ==
        "app:one@postgres app:one@shop_live web:two@postgres web:two@blog asks:three@postgres "
        "asks:three@shop_live web:two@shop_live ");
}

TEST_CASE("several hosts go on as PgBouncer had them, with a word of what else there is") {
  const Imported imported = import_text(
      "[databases]\napp = host=a,b port=5433 user=u\none = host=a user=u\n[pgbouncer]\n"
      "auth_type = any\n",
      "pgbouncer.ini", nullptr);
  CHECK(contains(imported.text, "\napp = host=a,b port=5433 user=u routing=off\n"));
  CHECK(contains(imported.text, "\none = host=a user=u\n"));
  CHECK(contains(in_one_line(imported.text), "read_only_transactions reads from the standbys"));
  CHECK_FALSE(contains(problems_of(imported), "routing"));
}
