#include "auth/secret.hpp"

#include <doctest/doctest.h>
#include <string>

#include "auth/scram_exchange.hpp"

using namespace pgproxy;
using namespace pgproxy::auth;
using namespace std::literals;
using Kind = Secret::Kind;

namespace {

Kind kind_of(const std::string& stored) {
  return parse_secret(&stored).kind;
}

// What PostgreSQL stores for RFC 7677's example: password "pencil", 4096 rounds.
constexpr auto pencil =
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="sv;

}  // namespace

TEST_CASE("stored secrets are told apart as PostgreSQL tells them") {
  CHECK(parse_secret(nullptr).kind == Kind::unknown);
  CHECK(kind_of("") == Kind::empty);
  CHECK(kind_of("hello") == Kind::plain);
  CHECK(kind_of("md5" + std::string(32, 'a')) == Kind::md5);
  CHECK(kind_of("md5" + std::string(31, 'a')) == Kind::plain);
  CHECK(kind_of("md5" + std::string(32, 'A')) == Kind::plain);
  CHECK(kind_of("md5" + std::string(32, 'g')) == Kind::plain);
  CHECK(kind_of("SCRAM-SHA-256") == Kind::plain);
  CHECK(kind_of(std::string(pencil)) == Kind::scram);
}

TEST_CASE("a SCRAM secret is taken apart") {
  const std::string stored(pencil);
  const ScramVerifier verifier = parse_secret(&stored).verifier;
  CHECK(verifier.iterations == 4096);
  CHECK(verifier.salt.size() == 16);
  const ScramVerifier derived = make_verifier("pencil", verifier.salt, 4096);
  CHECK(verifier.stored_key == derived.stored_key);
  CHECK(verifier.server_key == derived.server_key);
}

TEST_CASE("a damaged SCRAM secret is no plain password") {
  for (std::size_t length = "SCRAM-SHA-256$"sv.size(); length < pencil.size(); ++length) {
    CHECK(kind_of(std::string(pencil.substr(0, length))) == Kind::malformed);
  }
  for (const auto count : {"0", "-1", "4096x", "4294967296", "2147483648", ""}) {
    std::string stored(pencil);
    CHECK(kind_of(stored.replace(14, 4, count)) == Kind::malformed);
  }
  CHECK(kind_of(std::string(pencil) + "=") == Kind::malformed);
  CHECK(kind_of(std::string(pencil) + ":") == Kind::malformed);
}

TEST_CASE("md5 answers are those of PostgreSQL") {
  const std::string plain = "secret";
  const std::string stored = md5_of_user(parse_secret(&plain), "joe");
  CHECK(stored == "c59ec932d911ffdf487595b5a2adf973");
  const std::string hashed = "md5" + stored;
  CHECK(md5_of_user(parse_secret(&hashed), "joe") == stored);
  CHECK(md5_answer(stored, "abcd") == "md504b590e28ca03d93dbfaa35428dd6b74");
}
