#include "control/published_plan.hpp"

#include <doctest/doctest.h>

namespace pgproxy::control {
namespace {

const PublishedPlan plan{
    .slot = 2, .instances = 5, .total = 40, .digest = 0x1f3a, .instance = "web1:4711"};

Row row_of(const std::string& slot, const std::string& pid, const std::string& name, bool is_own) {
  return {"false",
          slot,
          pid,
          name,
          "10.0.0.7",
          "41234",
          "2026-01-02 03:04:05+00",
          is_own ? "true" : "false",
          "ignored"};
}

std::vector<Holder> others(const std::string& name) {
  const auto holders = read_holders(std::vector<Row>{row_of("1", "77", name, false)});
  REQUIRE(holders);
  return holders->others;
}

}  // namespace

TEST_CASE("a plan's text is read back") {
  CHECK(plan.text() == "pgproxy 2/5 plan=1f3a total=40 web1:4711");
  const auto read = read_plan(plan.text());
  REQUIRE(read);
  CHECK(read->slot == 2);
  CHECK(read->instance == "web1:4711");
  CHECK(read->agrees_with(plan));
}

TEST_CASE("a long host name gives way to the numbers and the process") {
  PublishedPlan large{.slot = 1000,
                      .instances = 1000,
                      .total = 1'000'000'000,
                      .digest = 0xffff,
                      .instance = std::string(200, 'h') + ":4194304"};
  CHECK(large.text().size() == 63);
  CHECK(large.text().ends_with("h:4194304"));
  CHECK(read_plan(large.text())->agrees_with(large));
  CHECK(read_plan(large.text())->is_of(large));
}

TEST_CASE("a process is told from others") {
  CHECK(plan.is_of({.instance = "web1:4711"}));
  CHECK_FALSE(plan.is_of({.instance = "web1:471"}));
  CHECK_FALSE(plan.is_of({.instance = "web2:4711"}));
}

TEST_CASE("other texts are no plans") {
  for (const auto* text :
       {"", "pgproxy", "psql", "pgproxy 2/5 plan=1f3a total=40 ",
        "pgproxy 2/5 plan=12345 total=40 a:1", "pgproxy x/5 plan=1 total=4 a:1",
        "pgproxy 2/5 total=40 plan=1f3a a:1", "pgproxy -1/5 plan=1 total=4 a:1"}) {
    CHECK_FALSE(read_plan(text));
  }
}

TEST_CASE("plans differ by instances, by total, and by how roles and databases share it") {
  CHECK(digest_of({{"a", 1}, {"b", 2}}, {}) != digest_of({{"a", 2}, {"b", 1}}, {}));
  CHECK(digest_of({{"a", 1}}, {}) != digest_of({}, {{"a", 1}}));
  CHECK(digest_of({{"a", 1}}, {{"d", 1}}) == digest_of({{"a", 1}}, {{"d", 1}}));
  for (auto change :
       {+[](PublishedPlan& p) { p.instances = 4; }, +[](PublishedPlan& p) { p.total = 41; },
        +[](PublishedPlan& p) { p.digest = 1; }}) {
    PublishedPlan other = plan;
    change(other);
    CHECK_FALSE(plan.agrees_with(other));
  }
}

TEST_CASE("holders are read, ours apart") {
  Row nobody(9, std::nullopt);
  nobody[0] = "true";
  const auto none = read_holders(std::vector<Row>{nobody});
  REQUIRE(none);
  CHECK(none->is_standby);
  CHECK(none->others.empty());
  CHECK_FALSE(none->own_slot);

  const auto two = read_holders(
      std::vector<Row>{row_of("1", "77", "psql", false), row_of("2", "78", plan.text(), true)});
  REQUIRE(two);
  CHECK_FALSE(two->is_standby);
  CHECK(two->own_slot == 2);
  REQUIRE(two->others.size() == 1);
  CHECK(two->others[0].backend_pid == 77);
  CHECK_FALSE(two->others[0].plan);
}

TEST_CASE("who gets no slot hears of all that have one") {
  PublishedPlan own = plan;
  own.instances = 1;
  const Error error =
      all_slots_taken("10.0.0.1:5432", own, others("pgproxy 1/1 plan=1f3a total=40 web2:12"));
  CHECK(error.message ==
        "instances = 1, and 1 already hold the slots of 10.0.0.1:5432: slot 1: web2:12 (instances "
        "= 1, 40 connections (plan 1f3a)) from 10.0.0.7:41234 since 2026-01-02 03:04:05+00, "
        "backend 77");
  CHECK(error.hint.contains("Raise instances to 2"));
  CHECK(error.hint.contains("within 25 s"));
}

TEST_CASE("another plan is refused with both of them") {
  CHECK_FALSE(find_conflict("s:1", plan, others("pgproxy 1/5 plan=1f3a total=40 web2:12")));

  const auto total = find_conflict("s:1", plan, others("pgproxy 1/5 plan=ab total=60 web2:12"));
  REQUIRE(total);
  CHECK(total->message.contains("plans instances = 5, 40 connections (plan 1f3a) at s:1"));
  CHECK(total->message.contains("web2:12 (instances = 5, 60 connections (plan 00ab))"));
  CHECK(total->detail.empty());
  CHECK(total->hint.contains("instances"));

  const auto shares = find_conflict("s:1", plan, others("pgproxy 1/5 plan=ab total=40 web2:12"));
  REQUIRE(shares);
  CHECK(shares->detail.contains("roles and databases"));

  const auto stranger = find_conflict("s:1", plan, others("psql"));
  REQUIRE(stranger);
  CHECK(stranger->message.contains("\"psql\" (no plan that can be read)"));
  CHECK(stranger->hint.contains("pg_monitor"));
}

}  // namespace pgproxy::control
