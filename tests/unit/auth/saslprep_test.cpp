#include "auth/saslprep.hpp"

#include <doctest/doctest.h>

#include "auth/scram_exchange.hpp"

using namespace pgproxy::auth;
using namespace std::literals;

TEST_CASE("passwords are prepared as RFC 4013 has it in its examples") {
  CHECK(saslprep("I\u00adX") == "IX");
  CHECK(saslprep("user") == "user");
  CHECK(saslprep("USER") == "USER");
  CHECK(saslprep("\u00aa") == "a");
  CHECK(saslprep("\u2168") == "IX");
}

TEST_CASE("what looks alike is alike, and other blanks are blanks") {
  CHECK(saslprep("pa\u0308ss") == "p\u00e4ss");
  CHECK(saslprep("two\u00a0words") == "two words");
  CHECK(saslprep("10\u00b2") == "102");
}

TEST_CASE("what SASLprep has no answer for stays as it is") {
  const auto stays = [](std::string_view password) { return saslprep(password) == password; };
  CHECK(stays(""));
  CHECK(stays("bell\x07"));             // ASCII
  CHECK(stays("p\u00e4ss\x07\u00b2"));  // prohibited
  CHECK(stays("\u0627\u00b2"));         // begins from right to left, but does not end so
  CHECK(stays("\U0001f600\u00b2"));     // not assigned in Unicode 3.2
  CHECK(stays("\xff\u00b2"));           // no UTF-8
  CHECK(stays("\u00ad"));               // nothing would be left
  CHECK(stays("\u00b2\0\u00b2"sv));
}

TEST_CASE("keys are derived from the prepared password") {
  CHECK(derive_keys("10\u00b2", "salt", 2).client_key == derive_keys("102", "salt", 2).client_key);
}
