#include "pgproxy/pool/capacity.hpp"

#include <doctest/doctest.h>
#include <vector>

using namespace pgproxy::pool;

namespace {

struct Limits {
  CapacityLock lock;
  Budget database;
  Budget user;
  Capacity capacity(std::uint32_t size, std::uint32_t reserve = 0) {
    return {lock, size, reserve, database, user};
  }
};

}  // namespace

TEST_CASE("a pool gives as many permits as its size, and each again when it is returned") {
  Limits limits;
  Capacity capacity = limits.capacity(2);
  auto first = capacity.try_reserve(false);
  {
    const auto second = capacity.try_reserve(false);
    CHECK(second.has_value());
    CHECK(capacity.blocking_limit() == CapacityLimit::pool);
    CHECK_FALSE(capacity.try_reserve(false).has_value());
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
  const auto own = capacity.try_reserve(true);
  CHECK(capacity.used() == 1);
  CHECK_FALSE(capacity.try_reserve(false).has_value());
  auto reserved = capacity.try_reserve(true);
  CHECK(reserved.has_value());
  CHECK_FALSE(capacity.try_reserve(true).has_value());
  reserved.reset();
  CHECK(capacity.used() == 1);
  CHECK(capacity.try_reserve(true).has_value());
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
  auto permit = one.try_reserve(false);
  CHECK_FALSE(two.try_reserve(true).has_value());
  CHECK(two.blocking_limit() ==
        (limits.database.limit == 1 ? CapacityLimit::database : CapacityLimit::user));
  permit.reset();
  CHECK(two.try_reserve(false).has_value());
}

TEST_CASE("a permit that moves is still one permit") {
  Limits limits;
  Capacity capacity = limits.capacity(3);
  std::vector<Permit> permits;
  for (int i = 0; i < 3; ++i) permits.push_back(*capacity.try_reserve(false));
  CHECK(capacity.used() == 3);
  permits.front() = std::move(permits.back());
  permits.pop_back();
  CHECK(capacity.used() == 2);
  permits.clear();
  CHECK(capacity.used() == 0);
}
