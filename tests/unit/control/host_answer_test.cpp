#include "control/host_answer.hpp"

#include <doctest/doctest.h>

using namespace pgproxy;
using namespace pgproxy::control;
using route::ClusterView;
using route::Role;
using route::WalPosition;

namespace {

Answer row(std::vector<std::optional<std::string>> cells) {
  return std::vector<Row>{std::move(cells)};
}

route::HostView host(const std::string& name, Role role, std::uint32_t timeline,
                     std::uint64_t lsn = 100) {
  return {.name = name, .role = role, .position = {.timeline = timeline, .lsn = lsn}};
}

ClusterView view_of(std::vector<route::HostView> hosts) {
  return {.hosts = std::move(hosts)};
}

}  // namespace

TEST_CASE("a primary tells the timeline of the file that it writes") {
  route::HostView found;
  REQUIRE(
      read_host_answer(row({"f", "4886718345", "0000000A", std::nullopt, std::nullopt}), found));
  CHECK(found.role == Role::primary);
  CHECK(found.position == WalPosition{.timeline = 10, .lsn = 4886718345});
  CHECK_FALSE(found.lag);
}

TEST_CASE("a standby tells what it has replayed, and how old that is") {
  route::HostView found;
  REQUIRE(read_host_answer(row({"t", "77", std::nullopt, "3", "1.5"}), found));
  CHECK(found.role == Role::standby);
  CHECK(found.position == WalPosition{.timeline = 3, .lsn = 77});
  CHECK(found.lag == std::chrono::milliseconds(1500));
  REQUIRE(read_host_answer(row({"t", "77", std::nullopt, "3", "-0.1"}), found));
  CHECK(found.lag == Duration::zero());  // clocks differ
  REQUIRE(read_host_answer(row({"t", "77", std::nullopt, "3", std::nullopt}), found));
  CHECK_FALSE(found.lag);
}

TEST_CASE("an answer that cannot be read tells nothing") {
  route::HostView found;
  for (const Answer& answer :
       {Answer(std::unexpected(Error{.sqlstate = "08006"})), Answer(std::vector<Row>{}),
        row({"f", "1"}), row({"f", "x", "00000001", std::nullopt, std::nullopt}),
        row({"f", "1", "0000000G", std::nullopt, std::nullopt}),
        row({"t", "1", "00000001", std::nullopt, std::nullopt}),
        row({std::nullopt, "1", "00000001", "1", std::nullopt})}) {
    CHECK_FALSE(read_host_answer(answer, found));
  }
  CHECK(found.role == Role::unknown);
}

TEST_CASE("positions") {
  CHECK(read_position(row({"5", "0000000B"}), 1) == WalPosition{.timeline = 11, .lsn = 5});
  CHECK(read_position(row({"5", std::nullopt}), 4) == WalPosition{.timeline = 4, .lsn = 5});
  CHECK_FALSE(read_position(row({std::nullopt, std::nullopt}), 4));
}

TEST_CASE("the primary is the one that takes writes") {
  ClusterView view = view_of({host("a", Role::standby, 1), host("b", Role::primary, 1)});
  choose_primary(view, std::nullopt, 0);
  CHECK(view.primary == 1);
  view = view_of({host("a", Role::standby, 1), host("b", Role::unknown, 1)});
  choose_primary(view, Chosen{1, 1}, 1);
  CHECK_FALSE(view.primary);
  CHECK(view.reason == "none of the servers takes writes");
}

TEST_CASE("one that has missed a promotion is none") {
  ClusterView view = view_of({host("a", Role::primary, 1), host("b", Role::primary, 2)});
  choose_primary(view, Chosen{0, 1}, 1);
  CHECK(view.primary == 1);
  CHECK(view.hosts[0].role == Role::replaced);
  CHECK(view.hosts[0].evidence == "it takes writes on timeline 1, but there is timeline 2 by now");
  // Nor when the new one is away: what is written to it would be lost.
  view = view_of({host("a", Role::primary, 1), host("b", Role::unknown, 2)});
  choose_primary(view, Chosen{1, 2}, 2);
  CHECK_FALSE(view.primary);
  CHECK(view.reason.starts_with("a: it takes writes on timeline 1"));
}

TEST_CASE("a standby has its timeline from a primary: one that is behind it has missed that") {
  ClusterView view = view_of(
      {host("a", Role::primary, 1), host("b", Role::unknown, 0), host("c", Role::standby, 2)});
  CHECK(latest_timeline(view) == 2);
  CHECK(choose_primary(view, std::nullopt, 0));
  CHECK_FALSE(view.primary);
  CHECK(view.hosts[0].evidence == "it takes writes on timeline 1, but there is timeline 2 by now");
  // What a server said once that does not answer now is kept by whoever asks.
  view = view_of({host("a", Role::primary, 1), host("c", Role::unknown, 2)});
  CHECK(latest_timeline(view) == 1);
}

TEST_CASE("a promotion ends the turn of the one before") {
  ClusterView view = view_of({host("a", Role::unknown, 1), host("b", Role::primary, 2)});
  CHECK(choose_primary(view, Chosen{0, 1}, 1));
  CHECK(view.primary == 1);
}

TEST_CASE("of two on one timeline it is the one that was, or none") {
  ClusterView view = view_of({host("a", Role::primary, 2), host("b", Role::primary, 2)});
  CHECK_FALSE(choose_primary(view, Chosen{1, 2}, 2));
  CHECK(view.primary == 1);
  CHECK(view.reason == "a and b both take writes on timeline 2; the one before stays");
  CHECK_FALSE(choose_primary(view, std::nullopt, 2));
  CHECK_FALSE(view.primary);
  // Both have left the timeline on which b was chosen.
  CHECK_FALSE(choose_primary(view, Chosen{1, 1}, 1));
  CHECK_FALSE(view.primary);
}

TEST_CASE("a second one on a timeline does not take the place of one that is only asked again") {
  ClusterView view = view_of({host("a", Role::primary, 2), host("b", Role::unknown, 2)});
  CHECK_FALSE(choose_primary(view, Chosen{1, 2}, 2));
  CHECK_FALSE(view.primary);
  CHECK(view.reason ==
        "a takes writes on timeline 2, on which b was the primary: it is used once that one "
        "stands by");
  view.hosts[1].role = Role::standby;
  CHECK(choose_primary(view, Chosen{1, 2}, 2));
  CHECK(view.primary == 0);
}

TEST_CASE("positions are those of the primary, not of one that takes writes beside it") {
  ClusterView view = view_of({host("a", Role::primary, 1), host("b", Role::primary, 2),
                              host("c", Role::standby, 2), host("d", Role::unknown, 1)});
  choose_primary(view, Chosen{0, 1}, 1);
  CHECK(role_to_sample(view, 0) == Role::unknown);
  CHECK(role_to_sample(view, 1) == Role::primary);
  CHECK(role_to_sample(view, 2) == Role::standby);
  CHECK(role_to_sample(view, 3) == Role::unknown);
  // On the same timeline a second one keeps its role.
  view = view_of({host("a", Role::primary, 2), host("b", Role::primary, 2)});
  choose_primary(view, Chosen{1, 2}, 2);
  CHECK(role_to_sample(view, 0) == Role::unknown);
  CHECK(role_to_sample(view, 1) == Role::primary);
}

TEST_CASE("lag in bytes") {
  ClusterView view = view_of({host("a", Role::primary, 1, 500), host("b", Role::standby, 1, 200),
                              host("c", Role::standby, 1, 600), host("d", Role::unknown, 1, 1)});
  choose_primary(view, std::nullopt, 0);
  measure_lag(view);
  CHECK(view.hosts[1].lag_bytes == 300);
  CHECK(view.hosts[2].lag_bytes == 0);  // it was asked later
  CHECK_FALSE(view.hosts[0].lag_bytes);
  CHECK_FALSE(view.hosts[3].lag_bytes);
}
