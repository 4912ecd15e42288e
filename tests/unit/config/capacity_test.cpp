// Little's law, the sums of [databases], and whether they fit into a server.
#include "pgproxy/config/capacity.hpp"

#include <doctest/doctest.h>

#include "sample.hpp"

using namespace pgproxy;
using namespace pgproxy::config;

namespace {

/// The sample's settings with `capacity` in place of what the sample has of it, and `entries`.
Loaded load_enforced(std::string_view capacity, std::string_view entries,
                     std::string_view more = "") {
  std::string rest(kRequiredToo);
  const auto set = [&rest](std::string_view name, std::string_view value) {
    const std::size_t at = rest.find("\n" + std::string(name) + " = ") + 1;
    rest.replace(at, rest.find('\n', at) - at, std::string(name) + " = " + std::string(value));
  };
  set("check", "enforce");
  set("capacity_check_interval", "60");
  while (!capacity.empty()) {  // "name=value name=value"
    const std::string_view pair = capacity.substr(0, capacity.find(' '));
    capacity.remove_prefix(std::min(capacity.size(), pair.size() + 1));
    set(pair.substr(0, pair.find('=')), pair.substr(pair.find('=') + 1));
  }
  return load_text("[databases]\n" + std::string(entries) + "[pgproxy]" + std::string(kRequired) +
                       std::string(more) + "\n" + rest +
                       "[capacity]\ncontrol_user = control\ncontrol_dbname = postgres\n",
                   "test.ini");
}

ServerFacts facts_of(const std::string& host, std::uint32_t max_connections) {
  return {.host = host,
          .port = 5432,
          .max_connections = max_connections,
          .superuser_reserved_connections = 3};
}

const CapacityRow& row_of(const CapacityVerdict& verdict, std::string_view kind) {
  const auto found = std::ranges::find(verdict.rows, kind, &CapacityRow::kind);
  REQUIRE(found != verdict.rows.end());
  return *found;
}

CapacityVerdict judge(const Loaded& loaded, const std::vector<ServerFacts>& facts) {
  return judge_capacity(loaded.settings, plan_capacity(loaded.settings), facts);
}

}  // namespace

TEST_CASE("auto is what the expected load needs, by Little's law") {
  const Loaded loaded = load_enforced("expected_rps=100 mean_transaction_ms=20",
                                      "app = host=a user=u pool_size=auto min_pool_size=auto\n");
  CHECK(problems_of(loaded) == "");
  const PoolSettings pool =
      effective_settings(loaded.settings, *loaded.settings.find_database("app"), "u");
  CHECK(pool.pool_size == 3);  // 2.857
  CHECK(pool.min_pool_size == 3);
  const Need need = needed_connections(loaded.settings, *loaded.settings.find_database("app"), "u");
  CHECK(need.arithmetic() == "100 transactions/s * 20 ms / 1000 / 0.7 = 2.857, rounded up: 3");
}

TEST_CASE("what is whole but for the rounding of its factors is not rounded up") {
  const Loaded loaded = load_enforced("expected_rps=1000 mean_transaction_ms=7",
                                      "app = host=a user=u pool_size=auto\n");
  CHECK(effective_settings(loaded.settings, loaded.settings.databases[0], "u").pool_size == 10);
}

TEST_CASE("a size below the need is refused with the arithmetic, where it is given") {
  const Loaded loaded = load_enforced("expected_rps=1 mean_transaction_ms=1",
                                      "app = host=a user=u pool_size=9 expected_rps=1000 "
                                      "mean_transaction_ms=7\n");
  CHECK(
      problems_of(loaded) ==
      "test.ini:2: pool app/u: pool_size = 9 is less than its load needs: 1000 transactions/s * "
      "7 ms / 1000 / 0.7 = 10, rounded up: 10\n"
      "  hint: pool_size = 10 or auto; or correct expected_rps and mean_transaction_ms, which may "
      "stand in the entry\n");
  CHECK(problems_of(load_enforced("check=report expected_rps=1000 mean_transaction_ms=7",
                                  "app = host=a user=u pool_size=9\n")) == "");
}

TEST_CASE("users share an entry's load by their weights") {
  const TempDirectory directory;
  const std::string users = directory.write("users", "\"a\" \"x\"\n\"b\" \"x\"\n");
  const std::string more = "auth_file = " + users + "\nauth_type = trust\n";
  const Loaded loaded =
      load_enforced("expected_rps=1000 mean_transaction_ms=7", "app = host=h pool_size=auto\n",
                    more + "[users]\na = weight=3\nb = reserve_pool_size=1\n");
  CHECK(problems_of(loaded) == "");
  const Database& app = loaded.settings.databases[0];
  CHECK(effective_settings(loaded.settings, app, "a").pool_size == 8);  // 7.5
  CHECK(effective_settings(loaded.settings, app, "b").pool_size == 3);  // 2.5
  const CapacityPlan plan = plan_capacity(loaded.settings);
  REQUIRE(plan.hosts.size() == 1);
  // 8 + (3 + 1), health checks, capacity
  CHECK(plan.hosts[0].connections.total() == 14);
  CHECK(plan.hosts[0].roles.at("b").total() == 4);
  CHECK(plan.hosts[0].databases.at("app").total() == 12);
}

TEST_CASE("an entry whose users are not known needs a bound") {
  const TempDirectory directory;
  const std::string users = directory.write("users", "\"a\" \"x\"\n\"b\" \"x\"\n");
  const std::string more = "auth_file = " + users + "\nauth_type = trust\n[users]\na = weight=2\n";
  const std::string problems = problems_of(load_enforced("", "app = host=h\n", more));
  CHECK(contains(problems, "test.ini:2: database \"app\": max_db_connections must be given"));
  CHECK(contains(problems, "hint: max_db_connections = 20 is one pool"));
  const Loaded bounded = load_enforced("", "app = host=h max_db_connections=30\n", more);
  CHECK(problems_of(bounded) == "");
  CHECK(plan_capacity(bounded.settings).hosts[0].connections.total() == 32);
}

TEST_CASE("* needs a bound for each database, and one for the server") {
  const std::string problems = problems_of(load_enforced("", "* = host=h\n"));
  CHECK(contains(problems, "database \"*\": max_db_connections must be given"));
  CHECK(contains(problems, "max_host_connections must be given in [pgproxy]"));
  const Loaded bounded = load_enforced("", "* = host=h max_db_connections=30\nx = host=h user=u\n",
                                       "max_host_connections = 70\n");
  CHECK(problems_of(bounded) == "");
  CHECK(plan_capacity(bounded.settings).hosts[0].connections.total() == 70);
}

TEST_CASE("a server has room for all instances, or the sum shows why not") {
  const Loaded loaded =
      load_enforced("instances=3", "app = host=h user=u pool_size=20 reserve_pool_size=5\n");
  CHECK(problems_of(loaded) == "");
  const CapacityVerdict fits = judge(loaded, {facts_of("h", 105)});
  CHECK(fits.problems.empty());
  CHECK(row_of(fits, "server").state == "fits");
  CHECK(row_of(fits, "server").arithmetic ==
        "25 [app/u: pool_size 20 + reserve 5 (test.ini:2)] + 1 [control: health checks] + 1 "
        "[control: capacity] = 27; * 3 instances = 81; allowed: (max_connections 105 - "
        "superuser_reserved_connections 3) * safety_margin 0.8 = 81");
  CHECK(fits.limits.at("h:5432").connections.connections == 25);
  const CapacityVerdict tight = judge(loaded, {facts_of("h", 103)});
  REQUIRE(tight.problems.size() == 1);
  CHECK(row_of(tight, "server").state == "too_small");
  CHECK(tight.problems[0].hint ==
        "take 1 connections from the pools of each instance (pools of 24 with their reserve would "
        "fit), or raise max_connections at the server to 105");
}

TEST_CASE("what a hint proposes fits") {
  const Loaded loaded = load_enforced("instances=3", "app = host=h user=u pool_size=40\n");
  const CapacityVerdict tight = judge(loaded, {facts_of("h", 100)});
  const std::string& hint = tight.problems.at(0).hint;
  const auto raised = static_cast<std::uint32_t>(
      std::stoul(hint.substr(hint.find("server to ") + std::string("server to ").size())));
  CHECK(judge(loaded, {facts_of("h", raised)}).problems.empty());
  CHECK_FALSE(judge(loaded, {facts_of("h", raised - 1)}).problems.empty());
  const std::string size =
      hint.substr(hint.find("pools of ") + 9, hint.find(" with") - hint.find("pools of ") - 9);
  const Loaded smaller =
      load_enforced("instances=3", "app = host=h user=u pool_size=" + size + "\n");
  CHECK(judge(smaller, {facts_of("h", 100)}).problems.empty());
}

TEST_CASE("roles and databases have limits of their own") {
  const Loaded loaded = load_enforced("", "app = host=h user=u dbname=live pool_size=20\n");
  ServerFacts facts = facts_of("h", 100);
  facts.role_limits = {{"u", 20}};
  facts.database_limits = {{"live", -1}};
  const CapacityVerdict verdict = judge(loaded, {facts});
  REQUIRE(verdict.problems.size() == 1);
  CHECK(contains(verdict.problems[0].message, "role u at h:5432 has no room for the pools"));
  CHECK(contains(verdict.problems[0].hint, "ALTER ROLE u CONNECTION LIMIT 25"));
  CHECK(verdict.limits.at("h:5432").roles.at("u").connections == 16);
  CHECK(verdict.limits.at("h:5432").databases.empty());
}

TEST_CASE("a server that cannot be asked is a problem with a remedy") {
  const Loaded loaded = load_enforced("", "app = host=h user=u\n");
  ServerFacts facts = facts_of("h", 0);
  facts.error = Error{.sqlstate = "08006", .message = "nobody is there"};
  const CapacityVerdict verdict = judge(loaded, {facts});
  REQUIRE(verdict.problems.size() == 1);
  CHECK(contains(verdict.problems[0].message, "nobody is there"));
  CHECK(contains(verdict.problems[0].hint, "check = off"));
  CHECK(verdict.limits.empty());
}

TEST_CASE("others may hold more than the margin leaves to them") {
  const Loaded loaded = load_enforced("", "app = host=h user=u pool_size=75\n");
  ServerFacts facts = facts_of("h", 100);
  facts.others = 30;
  const CapacityVerdict verdict = judge(loaded, {facts});
  CHECK(verdict.problems.empty());
  CHECK(row_of(verdict, "server").state == "crowded");
  CHECK(contains(row_of(verdict, "server").hint, "others hold 30 connections"));
}

TEST_CASE("control_user is wanted by what asks") {
  CHECK(contains(problems_of(load_instead("check", "check = report")),
                 "control_user must be given in [capacity]: check is not off"));
  CHECK(contains(problems_of(load_instead("coordination", "coordination = advisory_lock")),
                 "control_dbname must be given in [capacity]: coordination = advisory_lock"));
}

TEST_CASE("a query may take as long as a transaction does") {
  CHECK(contains(
      problems_of(load_with("[databases]\nx = user=u query_timeout=2 mean_transaction_ms=3000\n")),
      "query_timeout = 2 is less than mean_transaction_ms = 3000"));
}

TEST_CASE("expected loads that all entries give are not missed in [capacity]") {
  std::string text = "[pgproxy]" + std::string(kRequired) +
                     "[databases]\na = user=u expected_rps=5 mean_transaction_ms=3\n" +
                     std::string(kRequiredToo);
  for (const std::string_view line : {"expected_rps = 1\n", "mean_transaction_ms = 1\n"}) {
    text.erase(text.find(line), line.size());
  }
  CHECK(problems_of(load_text(text, "test.ini")) == "");
  text.replace(text.find("expected_rps=5 "), 15, "");
  CHECK(contains(problems_of(load_text(text, "test.ini")),
                 "expected_rps must be given in [capacity]"));
}

TEST_CASE("an entry that looks users up has users that are not known") {
  const TempDirectory directory;
  const std::string users = directory.write("users", "\"a\" \"x\"\n");
  const std::string more = "auth_file = " + users + "\nauth_type = trust\n[users]\na = weight=1\n";
  CHECK(problems_of(load_enforced("", "app = host=h\n", more)) == "");
  const std::string problems = problems_of(load_enforced("", "app = host=h auth_user=a\n", more));
  CHECK(contains(problems, "max_db_connections must be given"));
}

TEST_CASE("who asks servers or sits at the console has no pools") {
  const TempDirectory directory;
  const std::string users =
      directory.write("users", "\"a\" \"x\"\n\"control\" \"x\"\n\"dba\" \"x\"\n");
  const Loaded loaded = load_enforced("", "app = host=h\n",
                                      "auth_file = " + users +
                                          "\nauth_type = trust\nadmin_users = dba\n"
                                          "[users]\na = weight=1\n");
  CHECK(problems_of(loaded) == "");
  CHECK(pool_users(loaded.settings, loaded.settings.databases[0]) == std::vector<std::string>{"a"});
}

TEST_CASE("connections of our own count for their role and database, too") {
  const Loaded loaded = load_enforced("", "app = host=h user=u dbname=postgres pool_size=20\n");
  ServerFacts facts = facts_of("h", 100);
  facts.role_limits = {{"control", 1}};
  facts.database_limits = {{"postgres", 27}};
  const CapacityVerdict verdict = judge(loaded, {facts});
  REQUIRE(verdict.problems.size() == 2);
  CHECK(contains(verdict.problems[0].message, "role control at h:5432"));
  CHECK(contains(verdict.problems[1].message, "database postgres at h:5432"));
  // floor(27 * 0.8) = 21, less two of our own
  CHECK(verdict.limits.at("h:5432").databases.at("postgres").connections == 19);
}

TEST_CASE("an entry of users that are not known is judged as a whole") {
  const TempDirectory directory;
  const std::string users = directory.write("users", "\"a\" \"x\"\n");
  const Loaded loaded = load_enforced("expected_rps=1000 mean_transaction_ms=21",
                                      "app = host=h max_db_connections=60\n",
                                      "auth_file = " + users + "\nauth_type = trust\n");
  CHECK(problems_of(loaded) == "");
  const CapacityVerdict verdict = judge(loaded, {facts_of("h", 100)});
  CHECK(row_of(verdict, "pool").name == "app/*");
  CHECK(row_of(verdict, "pool").state == "fits");
  CHECK(contains(row_of(verdict, "pool").arithmetic, "has max_db_connections 60"));
}

TEST_CASE("with a crowded server's hint it is neither crowded nor too small") {
  const Loaded loaded = load_enforced("", "app = host=h user=u pool_size=75\n");
  ServerFacts facts = facts_of("h", 100);
  facts.others = 30;
  const std::string hint = row_of(judge(loaded, {facts}), "server").hint;
  facts.max_connections = static_cast<std::uint32_t>(
      std::stoul(hint.substr(hint.find("server to ") + std::string("server to ").size())));
  CHECK(row_of(judge(loaded, {facts}), "server").state == "fits");
}

TEST_CASE("a server of a list may be away while another one answers") {
  const Loaded loaded = load_enforced("", "app = host=a,b user=u\n");
  ServerFacts away = facts_of("a", 0);
  away.error = Error{.sqlstate = "08006", .message = "nobody is there"};
  const CapacityVerdict verdict = judge(loaded, {away, facts_of("b", 100)});
  CHECK(verdict.problems.empty());
  CHECK(row_of(verdict, "server").state == "unknown");
  ServerFacts both = away;
  both.host = "b";
  CHECK(judge(loaded, {away, both}).problems.size() == 2);
}

TEST_CASE("asking a server has an end") {
  CHECK(contains(
      problems_of(load_enforced("", "app = host=h user=u\n", "server_connect_timeout = 0\n")),
      "server_connect_timeout = 0 would wait for ever"));
}
