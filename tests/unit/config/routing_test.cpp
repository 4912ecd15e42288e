#include <algorithm>
#include <chrono>
#include <doctest/doctest.h>

#include "sample.hpp"

#include "pgproxy/config/capacity.hpp"

using namespace pgproxy::config;
using std::chrono::seconds;

namespace {

const std::string control = "[capacity]\ncontrol_user = c\ncontrol_dbname = postgres\n";
const std::string routed =
    "[routing]\nrouting = read_only_transactions\nread_consistency = session\n"
    "on_no_replica = primary\nfailover_hold = 20\n";

Loaded load_entry(const std::string& line, const std::string& sections = control + routed) {
  return load_with("[databases]\napp = user=u " + line + "\n" + sections);
}

}  // namespace

TEST_CASE("several hosts have no silent value") {
  const std::string problems = problems_of(load_entry("host=a,b", control));
  CHECK(
      contains(problems, "database \"app\": routing must be given: the entry names several hosts"));
  CHECK(problems_of(load_entry("host=a,b routing=off", control)) == "");
  const std::string more = problems_of(load_entry("host=a,b routing=primary_only", control));
  for (const std::string name : {"read_consistency", "on_no_replica", "failover_hold"}) {
    CHECK(contains(more, name + " must be given"));
  }
  CHECK(problems_of(load_entry("host=a", control)) == "");
  CHECK(problems_of(load_entry("host=a,b")) == "");
}

TEST_CASE("a value that was refused is not missed, too") {
  for (const Loaded& loaded : {load_entry("host=a,b routing=selcts", control),
                               load_entry("host=a,b", control + "[routing]\nrouting = x\n")}) {
    CHECK(contains(problems_of(loaded), "want off, primary_only"));
    CHECK_FALSE(contains(problems_of(loaded), "routing must be given"));
  }
}

TEST_CASE("what cannot be routed is said") {
  CHECK(contains(problems_of(load_entry("host=a,b", routed)), "routing needs control_user"));
  CHECK(contains(problems_of(load_entry("host=a,b", "[capacity]\ncontrol_user = c\n" + routed)),
                 "routing needs control_user and control_dbname"));
  for (const std::string balance : {"round-robin", "disable"}) {
    const std::string entry = "host=a,b load_balance_hosts=" + balance;
    CHECK(contains(problems_of(load_entry(entry)), "load_balance_hosts has no effect"));
    CHECK(problems_of(load_entry(entry + " routing=off")) == "");
  }
  CHECK(contains(problems_of(load_entry("host=a routing=primary_only")),
                 "routing needs several hosts"));
  CHECK(contains(problems_of(load_entry("host=a,b pool_mode=session")),
                 "routing needs pool_mode = transaction"));
  CHECK(contains(problems_of(load_with("[databases]\napp = host=a,b\n[users]\nx = "
                                       "pool_mode=session\n" +
                                       control + routed)),
                 "routing needs pool_mode = transaction, for user \"x\" too"));
  CHECK(contains(problems_of(load_entry("host=a,b,a")), "host a stands in its list twice"));
  CHECK(contains(problems_of(load_entry("host=a,b read_consistency=bounded")),
                 "read_consistency = bounded needs max_replica_lag"));
  CHECK(contains(problems_of(load_entry("host=a,b failover_hold=50")),
                 "failover_hold is not less than query_wait_timeout"));
  CHECK(contains(problems_of(load_entry("host=a,b routing=selects",
                                        control + routed + "catalog_interval = 0\n")),
                 "catalog_interval: 0 would ask without a pause"));
  CHECK(contains(problems_of(load_entry("host=a,b", control + routed + "probe_interval = 0\n")),
                 "probe_interval: 0 would ask without a pause"));
  for (const std::string weights : {"1", "1,2,3", "1,0", "1,x"}) {
    CHECK(contains(problems_of(load_entry("host=a,b host_weights='" + weights + "'")),
                   "host_weights has to have a number for each host"));
  }
}

TEST_CASE("an entry goes before [routing]") {
  const Loaded loaded = load_entry(
      "host=a,b pool_size=7 replica_pool_size=50% host_weights='1,3' on_no_replica=error "
      "max_replica_lag=2");
  CHECK(problems_of(loaded) == "");
  const Database& entry = loaded.settings.databases.front();
  const RoutingSettings routing = routing_settings(loaded.settings, entry, "u");
  CHECK(routing.routing == Routing::read_only_transactions);
  CHECK(routing.read_consistency == ReadConsistency::session);
  CHECK(routing.on_no_replica == OnNoReplica::error);
  CHECK(routing.failover_hold == seconds(20));
  CHECK(routing.max_replica_lag == seconds(2));
  CHECK(routing.replica_pool_size == 4);
  CHECK(routing.host_weights == std::vector<std::uint32_t>{1, 3});
  CHECK(is_routed(loaded.settings, entry));
}

TEST_CASE("a server counts as what it needs most: as the primary or as a standby") {
  const auto sum_at = [](const std::string& line) {
    const CapacityPlan plan = plan_capacity(load_entry(line).settings);
    REQUIRE(plan.hosts.size() == 3);
    CHECK(plan.hosts[0].connections.total() == plan.hosts[1].connections.total());
    return plan.hosts[0].connections.total();
  };
  const auto usual = sum_at("host=a,b pool_size=7 replica_pool_size=2");
  CHECK(sum_at("host=a,b pool_size=7 replica_pool_size=12") == usual + 5);
  CHECK(sum_at("host=a,b pool_size=7 routing=off") == usual - 1);  // nobody asks for roles
  CHECK(sum_at("host=a,b pool_size=7 replica_pool_size=2 routing=selects") == usual + 1);
}

TEST_CASE("a server that does not answer is not waited for without an end") {
  std::string rest(kRequiredToo);
  const auto set = [&rest](std::string_view line, std::string_view value) {
    rest.replace(rest.find(line), line.size(), value);
  };
  set("check_interval = 5", "check_interval = 0");
  set("check_timeout = 3", "check_timeout = 0");
  set("failed_until = health_check", "failed_until = reconnect");
  const auto load_for = [&](const std::string& entry) {
    return load_text(
        "[databases]\n" + entry + "\n[pgproxy]" + std::string(kRequired) + rest + control + routed,
        "test.ini");
  };
  CHECK(contains(problems_of(load_for("app = host=a,b user=u")),
                 "check_timeout: 0 would let a question for a server's role last for ever"));
  CHECK(problems_of(load_for("app = host=a user=u")) == "");
}

TEST_CASE("who asks for roles counts at the servers of the entry for all other names, too") {
  const auto own_at = [](const std::string& line) {
    const Loaded loaded = load_with("[databases]\n* = user=u " + line + "\n" + control + routed);
    const CapacityPlan plan = plan_capacity(loaded.settings);
    const auto host = std::ranges::find(plan.hosts, "a", &HostPlan::host);
    REQUIRE(host != plan.hosts.end());
    return std::ranges::count_if(host->connections.terms, &CapacityTerm::is_own);
  };
  CHECK(own_at("host=a,b") == own_at("host=a,b routing=off") + 1);
  CHECK(own_at("host=a,b routing=selects") == own_at("host=a,b") + 1);
}
