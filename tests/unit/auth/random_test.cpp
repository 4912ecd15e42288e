#include "pgproxy/auth/random.hpp"

#include <array>
#include <doctest/doctest.h>
#include <set>
#include <string_view>

using namespace pgproxy;
using namespace pgproxy::auth;
using namespace std::literals;

TEST_CASE("comparison looks at length and every byte") {
  const auto equal = [](std::string_view a, std::string_view b) {
    return equal_in_constant_time(as_bytes(a), as_bytes(b));
  };
  CHECK(equal("", ""));
  CHECK(equal("abc", "abc"));
  CHECK_FALSE(equal("abc", "abd"));
  CHECK_FALSE(equal("xbc", "abc"));
  CHECK_FALSE(equal("abc", "ab"));
}

TEST_CASE("random bytes and numbers differ") {
  std::array<std::uint8_t, 32> one{};
  std::array<std::uint8_t, 32> other{};
  fill_random(one);
  fill_random(other);
  CHECK(one != other);
  std::set<std::uint64_t> numbers;
  for (int i = 0; i < 8; ++i) numbers.insert(random_u64());
  CHECK(numbers.size() > 1);
}
