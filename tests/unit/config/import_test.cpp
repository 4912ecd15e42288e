#include "pgproxy/config/import.hpp"

#include <doctest/doctest.h>

#include "sample.hpp"

using namespace pgproxy::config;

namespace {

std::string problems_of(const Imported& imported) {
  return problems_of(Loaded{.settings = {}, .problems = imported.problems});
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
