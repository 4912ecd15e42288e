#include "pgproxy/auth/server_auth.hpp"

#include <doctest/doctest.h>
#include <string>
#include <vector>

#include "auth/scram_exchange.hpp"
#include "auth/secret.hpp"

#include "pgproxy/auth/client_auth.hpp"
#include "pgproxy/wire/encode.hpp"
#include "pgproxy/wire/message.hpp"

using namespace pgproxy;
using namespace pgproxy::auth;
using namespace std::literals;

namespace {

constexpr auto md5_secret = "md5c59ec932d911ffdf487595b5a2adf973";  // "secret" for joe
constexpr auto scram_secret =
    "SCRAM-SHA-256$4:c2FsdHNhbHQ=$OMnPErLqHSY6b6SlsfHwh4m63VQHE+lcAZVVt/f8Cf0=:"
    "Z9mQsImH9jGyodJk+kn29rlrrSHnE2dJdg5pFojFxSM=";
constexpr auto offer = "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"sv;

/// joe logs in to a server whose messages the test writes.
class Login {
 public:
  explicit Login(std::string secret, const ProvenScram* proven = nullptr,
                 std::string channel_binding = {})
      : auth_("joe", std::move(secret), cache_, proven, std::move(channel_binding)) {}

  Result<bool> receive(std::string_view body) {
    answer_.clear();
    return auth_.on_authentication(as_bytes(body), answer_);
  }
  Result<bool> receive(std::uint32_t code, std::string_view payload = {}) {
    std::string body;
    wire::put_u32(body, code);
    return receive(body.append(payload));
  }
  /// Body of the 'p' message that answered the last request.
  std::string answer() const {
    wire::Header header;
    REQUIRE(wire::parse_header(as_bytes(answer_), header) == wire::HeaderStatus::complete);
    REQUIRE(header.type == 'p');
    REQUIRE(header.total_bytes() == answer_.size());
    return answer_.substr(wire::header_bytes);
  }
  bool answered_nothing() const { return answer_.empty(); }

  Error explain(const Error& refusal) const { return auth_.explain(refusal); }

  /// The client-first-message in the SASLInitialResponse.
  std::string client_first(std::string_view mechanism = scram_mechanism) const {
    const std::string body = answer();
    wire::Cursor cursor(as_bytes(body));
    CHECK(cursor.c_string() == mechanism);
    const std::uint32_t length = cursor.u32();
    const std::string message(as_text(cursor.bytes(length)));
    CHECK(cursor.ok_and_empty());
    return message;
  }

 private:
  ClientKeyCache cache_;
  std::string answer_;
  ServerAuth auth_;
};

std::string sqlstate_of(const Result<bool>& result) {
  return result ? "" : result.error().sqlstate;
}

bool is_ok(const Result<bool>& result) {
  return result.has_value() && *result;
}
bool wants_more(const Result<bool>& result) {
  return result.has_value() && !*result;
}

/// A server that does its part of SCRAM; `password` is the one it knows.
ScramServer start_scram(Login& login, std::string_view password = "secret") {
  ScramServer server(make_verifier(password, "salt", 4));
  REQUIRE(wants_more(login.receive(10, offer)));
  const auto challenge = server.on_client_first(login.client_first());
  REQUIRE(challenge);
  REQUIRE(wants_more(login.receive(11, *challenge)));
  return server;
}

}  // namespace

TEST_CASE("a server that trusts us needs no secret") {
  Login login("");
  CHECK(is_ok(login.receive(0)));
  CHECK(login.answered_nothing());
}

TEST_CASE("a clear text request gets the plain password") {
  Login login("secret");
  CHECK(wants_more(login.receive(3)));
  CHECK(login.answer() == "secret\0"s);
  CHECK(is_ok(login.receive(0)));
}

TEST_CASE("an md5 request is answered from a plain or md5 secret") {
  for (const auto* secret : {"secret", md5_secret}) {
    Login login(secret);
    CHECK(wants_more(login.receive(5, "abcd")));
    CHECK(login.answer() == "md504b590e28ca03d93dbfaa35428dd6b74\0"s);
    CHECK(is_ok(login.receive(0)));
  }
}

TEST_CASE("SCRAM: both sides prove themselves, then AuthenticationOk counts") {
  Login login("secret");
  ScramServer server = start_scram(login);
  const auto proof = server.on_client_final(login.answer());
  REQUIRE(proof);
  REQUIRE(*proof);
  CHECK(wants_more(login.receive(12, **proof)));
  CHECK(login.answered_nothing());
  CHECK(is_ok(login.receive(0)));
}

TEST_CASE("our two sides log in to each other by every method") {
  using enum config::AuthType;
  const auto bodies = [](std::string& out) {
    std::vector<std::string> list;
    wire::Header header;
    while (wire::parse_header(as_bytes(out), header) == wire::HeaderStatus::complete) {
      list.push_back(out.substr(wire::header_bytes, header.body_bytes));
      out.erase(0, header.total_bytes());
    }
    return list;
  };
  for (const config::AuthType type : {any, trust, plain, md5, scram_sha_256}) {
    const auto verifiers = std::make_shared<VerifierCache>(4);
    ClientKeyCache keys;
    const std::string secret = "secret";
    ClientAuth asking(type, "joe", &secret, verifiers);
    ServerAuth proving("joe", secret, keys);
    std::string to_prover;
    auto outcome = asking.start(to_prover);
    while (true) {
      std::string to_asker;
      for (const auto& body : bodies(to_prover)) {
        REQUIRE(wants_more(proving.on_authentication(as_bytes(body), to_asker)));
      }
      if (outcome != ClientAuth::Outcome::need_more) break;
      const auto answers = bodies(to_asker);
      REQUIRE(answers.size() == 1);
      outcome = asking.on_password_message(as_bytes(answers[0]), to_prover);
    }
    CHECK(outcome == ClientAuth::Outcome::accepted);
    std::string none;
    CHECK(is_ok(proving.on_authentication(as_bytes("\0\0\0\0"sv), none)));
  }
}

namespace {

/// What a client has proven with password "secret" for `secret`, a SCRAM secret.
ProvenScram proof_for(const std::string& secret) {
  const ScramVerifier verifier = parse_secret(&secret).verifier;
  return {.verifier = verifier,
          .client_key = derive_keys("secret", verifier.salt, verifier.iterations).client_key};
}

}  // namespace

TEST_CASE("a SCRAM secret logs in with what a client has proven for it") {
  const ProvenScram proven = proof_for(scram_secret);
  Login login(scram_secret, &proven);
  REQUIRE(wants_more(login.receive(10, offer)));
  ScramServer server(proven.verifier);
  REQUIRE(wants_more(login.receive(11, *server.on_client_first(login.client_first()))));
  const auto signature = server.on_client_final(login.answer());
  REQUIRE(signature);
  REQUIRE(*signature);
  CHECK(wants_more(login.receive(12, **signature)));
  CHECK(is_ok(login.receive(0)));
}

TEST_CASE("what differs between our SCRAM secret and the server's is told") {
  const ProvenScram proven = proof_for(scram_secret);
  const auto begin = [&](Login& login, const ScramVerifier& verifier) {
    REQUIRE(wants_more(login.receive(10, offer)));
    return login.receive(11, *ScramServer(verifier).on_client_first(login.client_first()));
  };
  const auto verifier = [&](std::string salt, std::uint32_t iterations) {
    return make_verifier("secret", std::move(salt), iterations);
  };
  const std::string salt = proven.verifier.salt;
  Login other_salt(scram_secret, &proven);
  const auto salt_differs = begin(other_salt, verifier("other", proven.verifier.iterations));
  CHECK(sqlstate_of(salt_differs) == "28P01");
  CHECK(salt_differs.error().message.contains("salt"));
  Login other_count(scram_secret, &proven);
  const auto count_differs = begin(other_count, verifier(salt, 5));
  CHECK(count_differs.error().message.contains("iteration count"));
  CHECK(count_differs.error().hint.contains("auth_file"));

  const Error refusal{.sqlstate = "28P01", .message = "password authentication failed"};
  Login other_key(scram_secret, &proven);
  REQUIRE(wants_more(begin(other_key, verifier(salt, proven.verifier.iterations))));
  CHECK(other_key.explain(refusal).detail.contains("stored key"));
  CHECK(other_key.explain(refusal).message == refusal.message);
  CHECK(other_key.explain({.sqlstate = "53300"}).detail.empty());
  Login with_password("secret");
  REQUIRE(wants_more(begin(with_password, verifier(salt, 4))));
  CHECK(with_password.explain(refusal).detail.empty());
}

TEST_CASE("what was proven for a secret of before is no use") {
  ProvenScram proven = proof_for(scram_secret);
  proven.verifier.salt = "of before";
  Login login(scram_secret, &proven);
  const auto result = login.receive(10, offer);
  CHECK(sqlstate_of(result) == "28P01");
  CHECK(result.error().message.contains("no client has logged in"));
}

TEST_CASE("SCRAM-SHA-256-PLUS is chosen where both sides can") {
  Login bound("secret", nullptr, "certificate");
  REQUIRE(wants_more(bound.receive(10, offer)));
  ScramServer server(make_verifier("secret", "salt", 4));
  const auto challenge =
      server.on_client_first(bound.client_first(scram_plus_mechanism), true, "certificate");
  REQUIRE(challenge);
  REQUIRE(wants_more(bound.receive(11, *challenge)));
  const auto signature = server.on_client_final(bound.answer());
  REQUIRE(signature);
  CHECK(signature->has_value());

  Login not_offered("secret", nullptr, "certificate");
  REQUIRE(wants_more(not_offered.receive(10, "SCRAM-SHA-256\0\0"sv)));
  CHECK(not_offered.client_first().starts_with("y,,"));
  Login plaintext("secret");
  REQUIRE(wants_more(plaintext.receive(10, offer)));
  CHECK(plaintext.client_first().starts_with("n,,"));
}

TEST_CASE("without a usable secret the error tells where to give one") {
  struct Case {
    std::string secret;
    std::uint32_t code;
    std::string_view payload;
  };
  for (const auto& [secret, code, payload] :
       {Case{"", 3, ""}, Case{"", 5, "abcd"}, Case{"", 10, offer}, Case{md5_secret, 3, ""},
        Case{md5_secret, 10, offer}, Case{scram_secret, 3, ""}, Case{scram_secret, 5, "abcd"},
        Case{scram_secret, 10, offer}, Case{"SCRAM-SHA-256$broken", 10, offer}}) {
    Login login(secret);
    const auto result = login.receive(code, payload);
    CHECK(sqlstate_of(result) == "28P01");
    CHECK(result.error().hint.contains("password="));
    CHECK(result.error().message.contains("joe"));
    CHECK(login.answered_nothing());
  }
}

TEST_CASE("methods that we do not speak are named") {
  const auto message = [](std::uint32_t code, std::string_view payload = {}) {
    Login login("secret");
    const auto result = login.receive(code, payload);
    CHECK(sqlstate_of(result) == "0A000");
    return result ? "" : result.error().message;
  };
  CHECK(message(2).contains("Kerberos V5"));
  CHECK(message(7).contains("GSSAPI"));
  CHECK(message(9).contains("SSPI"));
  CHECK(message(99).contains("99"));
  CHECK(message(10, "OAUTHBEARER\0X\0\0"sv).contains("OAUTHBEARER, X"));
}

TEST_CASE("AuthenticationOk before the server's proof is refused") {
  Login early("secret");
  REQUIRE(wants_more(early.receive(10, offer)));
  CHECK(sqlstate_of(early.receive(0)) == "08P01");
  Login later("secret");
  start_scram(later);
  CHECK(sqlstate_of(later.receive(0)) == "08P01");
}

TEST_CASE("a server that does not know the password cannot pass") {
  Login login("secret");
  start_scram(login, "other");
  CHECK(sqlstate_of(login.receive(12, "v=" + std::string(43, 'A') + "=")) == "08P01");
  CHECK(sqlstate_of(login.receive(0)) == "08P01");
}

TEST_CASE("a server cannot talk us down from SCRAM once it has begun") {
  for (const std::uint32_t code : {3u, 5u, 10u}) {
    Login login("secret");
    REQUIRE(wants_more(login.receive(10, offer)));
    CHECK(sqlstate_of(login.receive(code, code == 5    ? "abcd"sv
                                          : code == 10 ? offer
                                                       : ""sv)) == "08P01");
    CHECK(login.answered_nothing());
  }
}

TEST_CASE("messages out of order are refused") {
  CHECK(sqlstate_of(Login("secret").receive(11, "r=x,s=c2FsdA==,i=1")) == "08P01");
  CHECK(sqlstate_of(Login("secret").receive(12, "v=AAAA")) == "08P01");
  Login twice("secret");
  REQUIRE(wants_more(twice.receive(3)));
  CHECK(sqlstate_of(twice.receive(3)) == "08P01");
  Login continued("secret");
  start_scram(continued);
  CHECK(sqlstate_of(continued.receive(11, "r=x,s=c2FsdA==,i=1")) == "08P01");
  Login after_ok("secret");
  REQUIRE(is_ok(after_ok.receive(0)));
  CHECK(sqlstate_of(after_ok.receive(0)) == "08P01");
  CHECK(sqlstate_of(after_ok.receive(3)) == "08P01");
}

TEST_CASE("malformed messages are refused") {
  for (const auto body : {""sv, "\0\0\0"sv, "\0\0\0\0x"sv, "\0\0\0\x03x"sv, "\0\0\0\x05"sv,
                          "\0\0\0\x05"
                          "abc"sv,
                          "\0\0\0\x05"
                          "abcde"sv,
                          "\0\0\0\x0a"sv, "\0\0\0\x0aSCRAM-SHA-256"sv,
                          "\0\0\0\x0aSCRAM-SHA-256\0"sv, "\0\0\0\x0aSCRAM-SHA-256\0\0x"sv}) {
    CHECK(sqlstate_of(Login("secret").receive(body)) == "08P01");
  }
}

TEST_CASE("huge nonces and salts and iteration counts are refused") {
  const std::string huge(max_sasl_message_bytes, 'A');
  const auto receive = [](auto make_challenge) {
    Login login("secret");
    REQUIRE(wants_more(login.receive(10, offer)));
    const std::string first = login.client_first();
    return sqlstate_of(login.receive(11, make_challenge(first.substr(first.find("r=")))));
  };
  CHECK(receive([&](auto nonce) { return nonce + huge + ",s=c2FsdA==,i=1"; }) == "08P01");
  CHECK(receive([&](auto nonce) { return nonce + "x,s=" + huge + ",i=1"; }) == "08P01");
  CHECK(receive([&](auto nonce) { return nonce + "x,s=c2FsdA==,i=2147483648"; }) == "08P01");
  CHECK(receive([&](auto nonce) { return nonce + "x,s=c2FsdA==,i=0"; }) == "08P01");
  CHECK(receive([&](auto nonce) { return nonce + "x,s=c2FsdA==,i=1"; }).empty());
}
