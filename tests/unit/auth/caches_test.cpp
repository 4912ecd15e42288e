#include <doctest/doctest.h>
#include <string>

#include "auth/scram_exchange.hpp"

#include "pgproxy/auth/client_key_cache.hpp"
#include "pgproxy/auth/verifier_cache.hpp"

using namespace pgproxy::auth;

TEST_CASE("a verifier is derived once per password, and anew when that changes") {
  VerifierCache cache(2);
  const ScramVerifier first = cache.of_password("joe", "one");
  const ScramVerifier derived = make_verifier("one", first.salt, 2);
  CHECK(first.iterations == 2);
  CHECK(first.stored_key == derived.stored_key);
  CHECK(first.server_key == derived.server_key);
  CHECK(cache.of_password("joe", "one").stored_key == first.stored_key);
  CHECK(cache.of_password("joe", "two").stored_key != first.stored_key);
  CHECK(cache.of_password("joe", "one").stored_key == first.stored_key);
  CHECK(cache.has("joe", "one"));
  CHECK_FALSE(cache.has("joe", "two"));
  CHECK_FALSE(cache.has("ann", "one"));
}

TEST_CASE("unknown and known users show one salt per name, on every loop") {
  VerifierCache here;
  VerifierCache there;
  CHECK(here.mock("joe").salt == there.mock("joe").salt);
  CHECK(here.mock("joe").salt == here.of_password("joe", "x").salt);
  CHECK(here.mock("joe").salt != here.mock("ann").salt);
  CHECK(here.mock("joe").salt.size() == 16);
  CHECK(here.mock("joe").iterations == VerifierCache::default_iterations);
}

TEST_CASE("client keys depend on password, salt and iterations") {
  ClientKeyCache cache;
  const ScramClientKeys keys = cache.keys("p", "s", 2);
  CHECK(keys.client_key == derive_keys("p", "s", 2).client_key);
  CHECK(cache.keys("p", "s", 2).client_key == keys.client_key);
  CHECK(cache.size() == 1);
  CHECK(cache.keys("q", "s", 2).client_key != keys.client_key);
  CHECK(cache.keys("p", "t", 2).client_key != keys.client_key);
  CHECK(cache.keys("p", "s", 3).client_key != keys.client_key);
  CHECK(cache.size() == 4);
}

TEST_CASE("client keys are bounded however many salts a server invents") {
  ClientKeyCache cache;
  for (std::size_t i = 0; i < 2 * ClientKeyCache::max_entries + 5; ++i) {
    cache.keys("p", std::to_string(i), 1);
    REQUIRE(cache.size() <= ClientKeyCache::max_entries);
  }
}
