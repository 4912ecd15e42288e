#include "pgproxy/pool/capacity.hpp"

#include <doctest/doctest.h>
#include <vector>

using namespace pgproxy::pool;

namespace {

struct Limits {
  CapacityLock lock;
  Budget database;
  Budget user;
  Budget host;
  Budget role;
  Budget there;
  ServerBudgets server() { return {host, role, there}; }
  Capacity capacity(std::uint32_t size, std::uint32_t reserve = 0) {
    return {lock, size, reserve, database, user};
  }
};

}  // namespace

TEST_CASE("a pool gives as many permits as its size, and each again when it is returned") {
  Limits limits;
  Capacity capacity = limits.capacity(2);
  auto first = capacity.try_reserve(false, limits.server());
  {
    const auto second = capacity.try_reserve(false, limits.server());
    CHECK(second.has_value());
    CHECK(capacity.blocking_limit(limits.server()) == CapacityLimit::pool);
    CHECK_FALSE(capacity.try_reserve(false, limits.server()).has_value());
  }
  CHECK(capacity.used() == 1);
  CHECK(limits.database.used == 1);
  first.reset();
  CHECK(capacity.used() == 0);
  CHECK(limits.user.used == 0);
}

TEST_CASE("the reserve is used only when asked for and only when the pool itself is full") {
  Limits limits;
  Capacity capacity = limits.capacity(1, 1);
  const auto own = capacity.try_reserve(true, limits.server());
  CHECK(capacity.used() == 1);
  CHECK_FALSE(capacity.try_reserve(false, limits.server()).has_value());
  auto reserved = capacity.try_reserve(true, limits.server());
  CHECK(reserved.has_value());
  CHECK_FALSE(capacity.try_reserve(true, limits.server()).has_value());
  reserved.reset();
  CHECK(capacity.used() == 1);
  CHECK(capacity.try_reserve(true, limits.server()).has_value());
}

TEST_CASE("pools of one database or one user share its limit") {
  Limits limits;
  SUBCASE("database") {
    limits.database.limit = 1;
  }
  SUBCASE("user") {
    limits.user.limit = 1;
  }
  Capacity one = limits.capacity(5);
  Capacity two = limits.capacity(5, 5);
  auto permit = one.try_reserve(false, limits.server());
  CHECK_FALSE(two.try_reserve(true, limits.server()).has_value());
  CHECK(two.blocking_limit(limits.server()) ==
        (limits.database.limit == 1 ? CapacityLimit::database : CapacityLimit::user));
  permit.reset();
  CHECK(two.try_reserve(false, limits.server()).has_value());
}

TEST_CASE("a permit that moves is still one permit") {
  Limits limits;
  Capacity capacity = limits.capacity(3);
  std::vector<Permit> permits;
  for (int i = 0; i < 3; ++i) permits.push_back(*capacity.try_reserve(false, limits.server()));
  CHECK(capacity.used() == 3);
  permits.front() = std::move(permits.back());
  permits.pop_back();
  CHECK(capacity.used() == 2);
  permits.clear();
  CHECK(capacity.used() == 0);
}

TEST_CASE("a connection counts at its server: in all, for the role and for the database") {
  Limits limits;
  Budget* shared = nullptr;
  CapacityLimit expected{};
  SUBCASE("host") {
    shared = &limits.host;
    expected = CapacityLimit::host;
  }
  SUBCASE("role") {
    shared = &limits.role;
    expected = CapacityLimit::server_role;
  }
  SUBCASE("database") {
    shared = &limits.there;
    expected = CapacityLimit::server_database;
  }
  Capacity one = limits.capacity(5);
  Capacity two = limits.capacity(5);
  auto permit = one.try_reserve(false, limits.server());
  CHECK(shared->used == 1);
  shared->given = 1;
  CHECK_FALSE(two.try_reserve(false, limits.server()).has_value());
  CHECK(two.blocking_limit(limits.server()) == expected);
  // Another server has room of its own.
  Limits other;
  auto elsewhere = two.try_reserve(false, other.server());
  REQUIRE(elsewhere.has_value());
  CHECK(limits.host.used == 1);
  elsewhere.reset();
  CHECK(other.host.used == 0);
  permit.reset();
  CHECK(two.try_reserve(false, limits.server()).has_value());
}

TEST_CASE("the smaller of a configured and a given limit counts, and nothing may be given") {
  Budget budget{.limit = 3, .used = 2};
  CHECK(budget.most() == 3);
  CHECK(budget.has_room());
  budget.given = 2;
  CHECK_FALSE(budget.has_room());
  CHECK_FALSE(budget.is_exceeded());
  budget.given = 0;
  CHECK(budget.is_exceeded());
  budget.given = 10;
  CHECK(budget.most() == 3);
  budget = {};
  CHECK(budget.most() == Budget::unlimited);
}

TEST_CASE("another pool's connections are in the way where room would come of them alone") {
  Limits limits;
  Capacity starving = limits.capacity(5);
  Capacity other = limits.capacity(5);
  const auto first = other.try_reserve(false, limits.server());
  const auto second = other.try_reserve(false, limits.server());
  const auto relieves = [&](const ServerBudgets& there) {
    return starving.is_relieved_by(other, there, limits.server());
  };
  limits.host.given = 2;
  CHECK(relieves(limits.server()));
  limits.host.given = 1;  // lowered: both of them are
  CHECK(relieves(limits.server()));
  limits.host.given = 0;  // none will ever do
  CHECK_FALSE(relieves(limits.server()));
  limits.host.given = 2;
  Limits elsewhere;
  CHECK_FALSE(relieves(elsewhere.server()));
  limits.database.limit = 2;
  CHECK(relieves(limits.server()));
  CHECK_FALSE(relieves(elsewhere.server()));
  limits.host.given.reset();
  CHECK(relieves(elsewhere.server()));  // database entry and user are the same anywhere
}
