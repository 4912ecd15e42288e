#include "pgproxy/route/choose.hpp"

#include <array>
#include <chrono>
#include <doctest/doctest.h>
#include <string>
#include <vector>

using namespace pgproxy::route;
using namespace std::chrono_literals;

namespace {

HostView standby(std::uint64_t lsn, std::optional<pgproxy::Duration> lag = 0ms) {
  HostView host;
  host.role = Role::standby;
  host.position = {.timeline = 1, .lsn = lsn};
  host.lag = lag;
  return host;
}
HostView with_role(Role role) {
  HostView host = standby(1000);
  host.role = role;
  return host;
}

/// A number, or the reason.
std::string choose(std::vector<HostView> hosts, std::vector<ReplicaLoad> loads,
                   const ReplicaDemand& demand = {}) {
  ClusterView view;
  view.hosts = std::move(hosts);
  loads.resize(view.hosts.size());
  const auto chosen = choose_replica(view, loads, demand);
  return chosen ? std::to_string(*chosen) : std::string(to_string(chosen.error()));
}

WalPosition fence(std::uint64_t lsn, std::uint32_t timeline = 1) {
  return {.timeline = timeline, .lsn = lsn};
}

}  // namespace

TEST_CASE("only standbys that may be used are chosen") {
  CHECK(choose({}, {}) == "no_replica");
  CHECK(choose({with_role(Role::primary), with_role(Role::unknown)}, {}) == "no_replica");
  CHECK(choose({with_role(Role::primary), standby(1)}, {}) == "1");
  CHECK(choose({standby(1), standby(1)}, {{.may_connect = false}, {}}) == "1");
  CHECK(choose({standby(1)}, {{.may_connect = false}}) == "no_replica");
  CHECK(choose({standby(1)}, {{.weight = 0}}) == "no_replica");
}

TEST_CASE("the least work for its weight") {
  const std::vector<HostView> two = {standby(1), standby(1)};
  CHECK(choose(two, {{.outstanding = 3}, {.outstanding = 2}}) == "1");
  CHECK(choose(two, {{.outstanding = 2}, {.outstanding = 3}}) == "0");
  CHECK(choose(two, {{.outstanding = 3, .weight = 3}, {.outstanding = 1}}) == "0");
  CHECK(choose(two, {{.outstanding = 6, .weight = 3}, {.outstanding = 1}}) == "1");
  CHECK(choose(two, {{.weight = 1}, {.weight = 2}}) == "1");
  constexpr std::uint32_t most = 0xffffffff;
  CHECK(choose(two, {{.outstanding = most, .weight = 1}, {.outstanding = 0, .weight = most}}) ==
        "1");
}

TEST_CASE("transactions spread by weight") {
  ClusterView view;
  view.hosts = {standby(1), standby(1), standby(1)};
  std::array<ReplicaLoad, 3> loads = {{{.weight = 1}, {.weight = 2}, {.weight = 3}}};
  for (int count = 0; count < 60; ++count) {
    const auto chosen = choose_replica(view, loads, {});
    REQUIRE(chosen);
    ++loads[*chosen].outstanding;
  }
  CHECK(loads[0].outstanding == 10);
  CHECK(loads[1].outstanding == 20);
  CHECK(loads[2].outstanding == 30);
}

TEST_CASE("equals take turns") {
  const std::vector<HostView> three = {standby(1), with_role(Role::primary), standby(1)};
  CHECK(choose(three, {}, {.turn = 0}) == "0");
  CHECK(choose(three, {}, {.turn = 1}) == "2");
  CHECK(choose(three, {}, {.turn = 2}) == "2");
  CHECK(choose(three, {}, {.turn = 3}) == "0");
}

TEST_CASE("lag is put up with so far, and has to be known then") {
  const std::vector<HostView> hosts = {standby(1, 5s), standby(1, 1s)};
  CHECK(choose(hosts, {{}, {.outstanding = 9}}, {.max_lag = 2s}) == "1");
  CHECK(choose(hosts, {{}, {.outstanding = 9}}, {.max_lag = 5s}) == "0");
  CHECK(choose(hosts, {}, {.max_lag = 100ms}) == "lag");
  CHECK(choose({standby(1, std::nullopt)}, {}, {.max_lag = 1s}) == "lag");
  CHECK(choose({standby(1, std::nullopt)}, {}) == "0");
}

TEST_CASE("a fence has to be replayed") {
  const std::vector<HostView> hosts = {standby(90), standby(100)};
  CHECK(choose(hosts, {{}, {.outstanding = 9}}, {.fence = fence(100)}) == "1");
  CHECK(choose(hosts, {{}, {.outstanding = 9}}, {.fence = fence(90)}) == "0");
  CHECK(choose(hosts, {}, {.fence = fence(101)}) == "own_write");
  CHECK(choose(hosts, {}, {.fence = fence(50, 2)}) == "own_write");
}

TEST_CASE("the reason is that of the standby that came closest") {
  const ReplicaDemand demand{.fence = fence(100), .max_lag = 1s};
  CHECK(choose({standby(100, 2s), standby(90)}, {}, demand) == "own_write");
  CHECK(choose({standby(90), standby(100, 2s)}, {}, demand) == "own_write");
  CHECK(choose({with_role(Role::primary), standby(100, 2s)}, {}, demand) == "lag");
  CHECK(choose({standby(100), standby(100, 2s)}, {{.may_connect = false}}, demand) == "lag");
}
