#include "pgproxy/route/write_fences.hpp"

#include <doctest/doctest.h>

using pgproxy::route::WalPosition;
using pgproxy::route::WriteFences;

namespace {

WalPosition position(std::uint64_t lsn) {
  return {.timeline = 1, .lsn = lsn};
}

}  // namespace

TEST_CASE("a fence is the first answer to a question sent since") {
  WriteFences fences;
  CHECK_FALSE(fences.first_since(0));
  fences.answered(3, position(30));
  fences.answered(5, position(50));
  CHECK(fences.first_since(0) == position(30));
  CHECK(fences.first_since(3) == position(30));
  CHECK(fences.first_since(4) == position(50));
  CHECK(fences.first_since(5) == position(50));
  CHECK_FALSE(fences.first_since(6));
}

TEST_CASE("an answer whose number does not grow is left out") {
  WriteFences fences;
  fences.answered(5, position(50));
  fences.answered(5, position(51));
  fences.answered(4, position(40));
  CHECK(fences.first_since(0) == position(50));
  fences.answered(6, position(60));
  CHECK(fences.first_since(6) == position(60));
}

TEST_CASE("where the answer has been overwritten, a later one stands for it") {
  WriteFences fences;
  const std::uint64_t last = 2 * WriteFences::capacity + 7;
  for (std::uint64_t number = 1; number <= last; ++number) {
    fences.answered(number, position(10 * number));
  }
  const std::uint64_t oldest = last - WriteFences::capacity + 1;
  CHECK(fences.first_since(1) == position(10 * oldest));
  CHECK(fences.first_since(oldest) == position(10 * oldest));
  CHECK(fences.first_since(oldest + 1) == position(10 * (oldest + 1)));
  CHECK(fences.first_since(last) == position(10 * last));
  CHECK_FALSE(fences.first_since(last + 1));
}

TEST_CASE("every number finds the first one that is not smaller, at any turn of the ring") {
  WriteFences fences;
  for (std::uint64_t number = 2; number <= 3 * WriteFences::capacity; number += 2) {
    fences.answered(number, position(number));
    const std::uint64_t asked = number - 3;
    if (number > 4) CHECK(fences.first_since(asked) == position(asked + 1));
  }
}
