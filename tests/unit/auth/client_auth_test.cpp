#include "pgproxy/auth/client_auth.hpp"

#include <doctest/doctest.h>
#include <optional>
#include <string>

#include "auth/scram_exchange.hpp"
#include "auth/secret.hpp"

#include "pgproxy/wire/encode.hpp"
#include "pgproxy/wire/message.hpp"

using namespace pgproxy;
using namespace pgproxy::auth;
using namespace std::literals;
using config::AuthType;
using Outcome = ClientAuth::Outcome;

namespace {

constexpr std::uint32_t iterations = 4;

/// "md5" and the hash of password "secret" for user joe.
constexpr auto md5_secret = "md5c59ec932d911ffdf487595b5a2adf973";
/// A stored verifier of password "secret".
constexpr auto scram_secret =
    "SCRAM-SHA-256$4:c2FsdHNhbHQ=$OMnPErLqHSY6b6SlsfHwh4m63VQHE+lcAZVVt/f8Cf0=:"
    "Z9mQsImH9jGyodJk+kn29rlrrSHnE2dJdg5pFojFxSM=";

struct Request {
  std::uint32_t code = 0;
  std::string payload;
};

/// One login attempt of joe: what a client sends, what it is asked.
class Login {
 public:
  Login(AuthType type, std::optional<std::string> secret, const std::string& channel_binding = {})
      : secret_(std::move(secret)),
        auth_(type, "joe", secret_ ? &*secret_ : nullptr, cache_, channel_binding) {
    outcome = auth_.start(out_);
  }

  Outcome send(std::string_view body) {
    return outcome = auth_.on_password_message(as_bytes(body), out_);
  }
  Outcome send_password(std::string_view password) { return send(std::string(password) + '\0'); }
  Outcome answer_md5(const std::string& password) {
    const Request challenge = request();
    REQUIRE(challenge.code == 5);
    REQUIRE(challenge.payload.size() == 4);
    return send_password(
        md5_answer(md5_of_user(parse_secret(&password), "joe"), challenge.payload));
  }
  Outcome send_sasl_initial(std::string_view message,
                            std::string_view mechanism = scram_mechanism) {
    std::string body;
    wire::put_c_string(body, mechanism);
    wire::put_u32(body, static_cast<std::uint32_t>(message.size()));
    return send(body.append(message));
  }
  /// The whole exchange, as a driver does it.
  Outcome answer_scram(const std::string& password) {
    REQUIRE(request().code == 10);
    ScramClient client;
    send_sasl_initial(client.client_first());
    REQUIRE(outcome == Outcome::need_more);
    const Request request_for_proof = request();
    REQUIRE(request_for_proof.code == 11);
    const auto challenge = client.on_server_first(request_for_proof.payload);
    REQUIRE(challenge);
    const auto keys = derive_keys(password, challenge->salt, challenge->iterations);
    if (send(client.client_final(*challenge, keys)) == Outcome::accepted) {
      const Request proof = request();
      CHECK(proof.code == 12);
      CHECK(client.on_server_final(proof.payload));
    }
    return outcome;
  }

  /// The authentication request that came last; it is taken.
  Request request() {
    wire::Header header;
    REQUIRE(wire::parse_header(as_bytes(out_), header) == wire::HeaderStatus::complete);
    REQUIRE(header.type == 'R');
    REQUIRE(out_.size() == header.total_bytes());
    wire::Cursor cursor(as_bytes(out_).subspan(wire::header_bytes));
    Request request{.code = cursor.u32()};
    request.payload = as_text(cursor.rest());
    out_.clear();
    return request;
  }
  bool asked_nothing() const { return out_.empty(); }
  bool refused_as_wrong_password() const {
    return outcome == Outcome::refused && auth_.error().sqlstate == "28P01" &&
           auth_.error().message == "password authentication failed for user \"joe\"" &&
           auth_.error().detail.empty() && auth_.error().hint.empty() && out_.empty();
  }
  bool refused_as_malformed() const {
    return outcome == Outcome::refused && auth_.error().sqlstate == "08P01" &&
           !auth_.log_reason().empty() && out_.empty();
  }
  const std::string& log_reason() const { return auth_.log_reason(); }
  const ProvenScram* proven() const { return auth_.proven(); }

  Outcome outcome;

 private:
  std::optional<std::string> secret_;
  std::shared_ptr<VerifierCache> cache_ = std::make_shared<VerifierCache>(iterations);
  std::string out_;
  ClientAuth auth_;
};

std::string salt_shown_for(AuthType type, std::optional<std::string> secret) {
  Login login(type, std::move(secret));
  login.request();
  login.send_sasl_initial("n,,n=,r=abc");
  const std::string payload = login.request().payload;
  return payload.substr(payload.find(",s="));
}

}  // namespace

TEST_CASE("peer and cert take a known user, and refuse another in their own words") {
  CHECK(Login(AuthType::peer, "").outcome == Outcome::accepted);
  CHECK(Login(AuthType::cert, "x").asked_nothing());
  const auto cache = std::make_shared<VerifierCache>(1);
  for (const auto& [type, message] :
       {std::pair(AuthType::peer, "Peer authentication failed for user \"joe\""),
        std::pair(AuthType::cert, "certificate authentication failed for user \"joe\"")}) {
    ClientAuth auth(type, "joe", nullptr, cache);
    std::string out;
    CHECK(auth.start(out) == Outcome::refused);
    CHECK(auth.error().sqlstate == "28000");
    CHECK(auth.error().message == message);
    CHECK(out.empty());
  }
}

TEST_CASE("who must fail is asked, and refused as for a wrong password") {
  const auto cache = std::make_shared<VerifierCache>(1);
  const std::string secret = "secret";
  ClientAuth auth(AuthType::plain, "joe", &secret, cache);
  auth.must_fail("wrong certificate");
  std::string out;
  CHECK(auth.start(out) == Outcome::need_more);
  CHECK_FALSE(out.empty());
  CHECK(auth.on_password_message(as_bytes("secret\0"sv), out) == Outcome::refused);
  CHECK(auth.error().sqlstate == "28P01");
  CHECK(auth.error().message == "password authentication failed for user \"joe\"");
  CHECK(auth.log_reason() == "wrong certificate");
}

TEST_CASE("trust takes any known user, even one with an empty password, and asks nothing") {
  CHECK(Login(AuthType::trust, "").outcome == Outcome::accepted);
  CHECK(Login(AuthType::trust, "x").asked_nothing());
  Login unknown(AuthType::trust, std::nullopt);
  CHECK(unknown.refused_as_wrong_password());
  CHECK(unknown.log_reason() == "no such user");
}

TEST_CASE("any takes everyone") {
  CHECK(Login(AuthType::any, std::nullopt).outcome == Outcome::accepted);
  CHECK(Login(AuthType::any, "x").asked_nothing());
}

TEST_CASE("plain asks for the password and checks it against every kind of secret") {
  for (const auto* secret : {"secret", md5_secret, scram_secret}) {
    Login right(AuthType::plain, secret);
    CHECK(right.request().code == 3);
    CHECK(right.send_password("secret") == Outcome::accepted);
    CHECK(right.asked_nothing());
    for (const auto* wrong_password :
         {"", "Secret", "secret1", "secre", md5_secret, scram_secret}) {
      Login wrong(AuthType::plain, secret);
      wrong.request();
      wrong.send_password(wrong_password);
      CHECK(wrong.refused_as_wrong_password());
    }
  }
}

TEST_CASE("md5 answers are checked against plain and md5 secrets") {
  for (const auto* secret : {"secret", md5_secret}) {
    CHECK(Login(AuthType::md5, secret).answer_md5("secret") == Outcome::accepted);
    Login wrong(AuthType::md5, secret);
    wrong.answer_md5("wrong");
    CHECK(wrong.refused_as_wrong_password());
    CHECK(wrong.log_reason() == "wrong password");
  }
}

TEST_CASE("a password in clear text does not answer an md5 challenge, nor does the stored hash") {
  for (const auto* sent : {"secret", md5_secret, ""}) {
    Login login(AuthType::md5, "secret");
    login.request();
    login.send_password(sent);
    CHECK(login.refused_as_wrong_password());
  }
}

TEST_CASE("md5 with a stored SCRAM secret leads to SCRAM") {
  CHECK(Login(AuthType::md5, scram_secret).answer_scram("secret") == Outcome::accepted);
  Login wrong(AuthType::md5, scram_secret);
  wrong.answer_scram("wrong");
  CHECK(wrong.refused_as_wrong_password());
}

TEST_CASE("SCRAM works with plain and SCRAM secrets, and proves our side") {
  for (const auto* secret : {"secret", scram_secret}) {
    CHECK(Login(AuthType::scram_sha_256, secret).answer_scram("secret") == Outcome::accepted);
    Login wrong(AuthType::scram_sha_256, secret);
    wrong.answer_scram("wrong");
    CHECK(wrong.refused_as_wrong_password());
  }
}

TEST_CASE("SCRAM-SHA-256-PLUS is offered where there is a channel to bind to") {
  CHECK(Login(AuthType::scram_sha_256, "x").request().payload == "SCRAM-SHA-256\0\0"s);
  Login bound(AuthType::scram_sha_256, scram_secret, "certificate");
  CHECK(bound.request().payload == "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"s);
  ScramClient client;
  bound.send_sasl_initial(client.client_first(ScramClient::Binding::end_point, "certificate"),
                          scram_plus_mechanism);
  const auto challenge = client.on_server_first(bound.request().payload);
  REQUIRE(challenge);
  const auto keys = derive_keys("secret", challenge->salt, challenge->iterations);
  CHECK(bound.send(client.client_final(*challenge, keys)) == Outcome::accepted);

  Login without(AuthType::scram_sha_256, "secret", "certificate");
  CHECK(without.answer_scram("secret") == Outcome::accepted);
  Login downgraded(AuthType::scram_sha_256, "secret", "certificate");
  downgraded.request();
  downgraded.send_sasl_initial("y,,n=,r=abc");
  CHECK(downgraded.refused_as_malformed());
}

TEST_CASE("what is proven for a stored SCRAM secret is known afterwards, and for nothing else") {
  for (const AuthType type : {AuthType::scram_sha_256, AuthType::md5, AuthType::plain}) {
    Login login(type, scram_secret);
    if (type == AuthType::plain) {
      login.request();
      login.send_password("secret");
    } else {
      login.answer_scram("secret");
    }
    REQUIRE(login.proven() != nullptr);
    CHECK(stored_key_of(login.proven()->client_key) == login.proven()->verifier.stored_key);
  }
  Login wrong(AuthType::scram_sha_256, scram_secret);
  wrong.answer_scram("wrong");
  CHECK(wrong.proven() == nullptr);
  Login plain(AuthType::scram_sha_256, "secret");
  plain.answer_scram("secret");
  CHECK(plain.proven() == nullptr);
  CHECK(Login(AuthType::trust, scram_secret).proven() == nullptr);
}

TEST_CASE("SCRAM with an md5 secret fails like a wrong password; only the log knows why") {
  Login login(AuthType::scram_sha_256, md5_secret);
  login.answer_scram("secret");
  CHECK(login.refused_as_wrong_password());
  CHECK(login.log_reason().contains("md5"));
}

TEST_CASE("an unknown user is asked like a known one and refused alike") {
  Login plain(AuthType::plain, std::nullopt);
  CHECK(plain.request().code == 3);
  plain.send_password("secret");
  CHECK(plain.refused_as_wrong_password());
  Login md5(AuthType::md5, std::nullopt);
  md5.answer_md5("secret");
  CHECK(md5.refused_as_wrong_password());
  Login scram(AuthType::scram_sha_256, std::nullopt);
  scram.answer_scram("secret");
  CHECK(scram.refused_as_wrong_password());
  CHECK(scram.log_reason() == "no such user");
}

TEST_CASE("the salt of a user is stable, known or not") {
  const std::string unknown = salt_shown_for(AuthType::scram_sha_256, std::nullopt);
  CHECK(unknown == salt_shown_for(AuthType::scram_sha_256, std::nullopt));
  CHECK(unknown == salt_shown_for(AuthType::scram_sha_256, "secret"));
  CHECK(unknown == salt_shown_for(AuthType::scram_sha_256, md5_secret));
}

TEST_CASE("empty passwords never match, stored or sent") {
  for (const auto* sent : {"", "x"}) {
    Login plain(AuthType::plain, "");
    plain.request();
    plain.send_password(sent);
    CHECK(plain.refused_as_wrong_password());
  }
  Login md5(AuthType::md5, "");
  md5.answer_md5("");
  CHECK(md5.refused_as_wrong_password());
  Login scram(AuthType::scram_sha_256, "");
  scram.answer_scram("");
  CHECK(scram.refused_as_wrong_password());
  CHECK(scram.log_reason().contains("empty"));
}

TEST_CASE("a damaged SCRAM secret lets nobody in") {
  const std::string damaged = std::string(scram_secret).substr(0, 60);
  Login plain(AuthType::plain, damaged);
  plain.request();
  plain.send_password(damaged);
  CHECK(plain.refused_as_wrong_password());
  Login scram(AuthType::scram_sha_256, damaged);
  scram.answer_scram(damaged);
  CHECK(scram.refused_as_wrong_password());
  CHECK(scram.log_reason().contains("malformed"));
}

TEST_CASE("a password message is one string and nothing else") {
  for (const auto body : {""sv, "secret"sv, "secret\0x"sv, "secret\0\0"sv}) {
    for (const AuthType type : {AuthType::plain, AuthType::md5}) {
      Login login(type, "secret");
      login.request();
      login.send(body);
      CHECK(login.refused_as_malformed());
    }
  }
  Login login(AuthType::plain, "secret");
  login.request();
  login.send_password(std::string(ClientAuth::max_message_bytes, 'x'));
  CHECK(login.refused_as_malformed());
}

TEST_CASE("absurd lengths in a SASLInitialResponse are refused") {
  const auto message = "n,,n=,r=abc"sv;
  for (const std::uint32_t length :
       {0u, 1u, 10u, 12u, 0x7fffffffu, 0x80000000u, 0xfffffff0u, 0xffffffffu}) {
    std::string body;
    wire::put_c_string(body, scram_mechanism);
    wire::put_u32(body, length);
    body += message;
    Login login(AuthType::scram_sha_256, "secret");
    login.request();
    login.send(body);
    CHECK(login.refused_as_malformed());
  }
}

TEST_CASE("a SASLInitialResponse cut anywhere is refused") {
  std::string body;
  wire::put_c_string(body, scram_mechanism);
  wire::put_u32(body, 11);
  body += "n,,n=,r=abc";
  for (std::size_t length = 0; length < body.size(); ++length) {
    Login login(AuthType::scram_sha_256, "secret");
    login.request();
    login.send(std::string_view(body).substr(0, length));
    CHECK(login.refused_as_malformed());
  }
}

TEST_CASE("other mechanisms, and SASL messages longer than PostgreSQL takes, are refused") {
  for (const auto mechanism : {"SCRAM-SHA-256-PLUS"sv, "PLAIN"sv, "scram-sha-256"sv, ""sv}) {
    Login login(AuthType::scram_sha_256, "secret");
    login.request();
    login.send_sasl_initial("n,,n=,r=abc", mechanism);
    CHECK(login.refused_as_malformed());
  }
  Login login(AuthType::scram_sha_256, "secret");
  login.request();
  login.send_sasl_initial("n,,n=,r=" + std::string(max_sasl_message_bytes, 'n'));
  CHECK(login.refused_as_malformed());
}

TEST_CASE("messages out of order, repeated, or after the end are refused") {
  Login repeated(AuthType::scram_sha_256, "secret");
  repeated.request();
  repeated.send_sasl_initial("n,,n=,r=abc");
  repeated.request();
  repeated.send_sasl_initial("n,,n=,r=abc");
  CHECK(repeated.refused_as_malformed());

  Login too_early(AuthType::scram_sha_256, "secret");
  too_early.request();
  too_early.send("c=biws,r=abc,p=AAAA");
  CHECK(too_early.refused_as_malformed());

  Login after_success(AuthType::plain, "secret");
  after_success.request();
  REQUIRE(after_success.send_password("secret") == Outcome::accepted);
  after_success.send_password("secret");
  CHECK(after_success.refused_as_malformed());

  Login after_failure(AuthType::plain, "secret");
  after_failure.request();
  after_failure.send_password("wrong");
  after_failure.send_password("secret");
  CHECK(after_failure.refused_as_malformed());

  Login after_trust(AuthType::trust, "secret");
  after_trust.send_password("secret");
  CHECK(after_trust.refused_as_malformed());
}

TEST_CASE("a password message before anything was asked is refused") {
  const auto cache = std::make_shared<VerifierCache>(iterations);
  const std::string secret = "secret";
  for (const AuthType type : {AuthType::plain, AuthType::any}) {
    ClientAuth auth(type, "joe", &secret, cache);
    std::string out;
    CHECK(auth.on_password_message(as_bytes("secret\0"sv), out) == Outcome::refused);
    CHECK(auth.error().sqlstate == "08P01");
  }
}

TEST_CASE("a message that costs many rounds of hashing is announced") {
  const auto cache = std::make_shared<VerifierCache>(iterations);
  const std::string plain = "secret";
  const std::string stored = scram_secret;
  const auto is_slow = [&cache](AuthType type, const std::string* secret) {
    ClientAuth auth(type, "joe", secret, cache);
    std::string out;
    auth.start(out);
    return auth.is_next_slow();
  };
  CHECK(is_slow(AuthType::plain, &stored));
  CHECK_FALSE(is_slow(AuthType::plain, &plain));
  CHECK_FALSE(is_slow(AuthType::scram_sha_256, &stored));
  CHECK_FALSE(is_slow(AuthType::scram_sha_256, nullptr));
  CHECK_FALSE(is_slow(AuthType::md5, &plain));
  CHECK(is_slow(AuthType::scram_sha_256, &plain));
  cache->of_password("joe", plain);
  CHECK_FALSE(is_slow(AuthType::scram_sha_256, &plain));
  cache->of_password("joe", "another");
  CHECK(is_slow(AuthType::scram_sha_256, &plain));
}

TEST_CASE(
    "where secrets are verifiers, the password of an unknown user costs the hashing as well") {
  for (const bool has_verifiers : {false, true}) {
    const auto cache = std::make_shared<VerifierCache>(iterations, has_verifiers);
    ClientAuth auth(AuthType::plain, "nobody", nullptr, cache);
    std::string out;
    auth.start(out);
    CHECK(auth.is_next_slow() == has_verifiers);
    CHECK(auth.on_password_message(as_bytes("secret\0"sv), out) == Outcome::refused);
    CHECK(auth.error().sqlstate == "28P01");
    CHECK(auth.log_reason() == "no such user");
  }
}
