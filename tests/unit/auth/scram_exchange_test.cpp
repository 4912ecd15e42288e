#include "auth/scram_exchange.hpp"

#include <doctest/doctest.h>
#include <string>

#include "auth/crypto.hpp"

using namespace pgproxy;
using namespace pgproxy::auth;
using namespace std::literals;

namespace {

// RFC 7677 section 3.
constexpr auto client_first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"sv;
constexpr auto server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"sv;
constexpr auto server_first =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"sv;
constexpr auto client_final =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="sv;
constexpr auto server_final = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="sv;

ScramServer rfc_server(std::string_view password = "pencil") {
  return ScramServer(make_verifier(password, *decode_base64("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096),
                     std::string(server_nonce));
}

bool takes_first(std::string_view message) {
  return ScramServer({.iterations = 1, .salt = "salt"}, "nonce")
      .on_client_first(message)
      .has_value();
}

std::string error_of_final(std::string_view message) {
  ScramServer server({.iterations = 1, .salt = "salt"}, "server");
  REQUIRE(server.on_client_first("y,,n=,r=client"));
  const auto answer = server.on_client_final(message);
  return answer ? "" : answer.error().detail;
}

constexpr auto zero_proof = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="sv;

/// What the client side makes of a server-first-message; `{}` stands for its own nonce.
Result<ScramChallenge> client_answer(std::string message) {
  ScramClient client("abc");
  client.client_first();
  if (const auto at = message.find("{}"); at != std::string::npos) message.replace(at, 2, "abc");
  return client.on_server_first(message);
}

/// A whole exchange; the server's words about it, "" when both sides are content.
std::string exchange(ScramClient::Binding binding, std::string_view seen_by_client, bool is_bound,
                     std::string_view seen_by_server) {
  ScramClient client;
  ScramServer server(make_verifier("pencil", "salt", 2));
  const auto first = server.on_client_first(client.client_first(binding, seen_by_client), is_bound,
                                            seen_by_server);
  if (!first) return first.error().detail;
  const auto challenge = client.on_server_first(*first);
  REQUIRE(challenge);
  const auto keys = derive_keys("pencil", challenge->salt, challenge->iterations);
  const auto signature = server.on_client_final(client.client_final(*challenge, keys));
  if (!signature) return signature.error().detail;
  REQUIRE(*signature);
  CHECK(client.on_server_final(**signature));
  CHECK(server.proven().client_key == keys.client_key);
  return "";
}

}  // namespace

TEST_CASE("the verifying side reproduces RFC 7677's example") {
  ScramServer server = rfc_server();
  CHECK(server.on_client_first(client_first) == std::string(server_first));
  const auto answer = server.on_client_final(client_final);
  REQUIRE(answer);
  CHECK(*answer == std::string(server_final));
}

TEST_CASE("the proof of another password is wrong") {
  ScramServer server = rfc_server("pencil2");
  REQUIRE(server.on_client_first(client_first));
  const auto answer = server.on_client_final(client_final);
  REQUIRE(answer);
  CHECK_FALSE(answer->has_value());
}

TEST_CASE("both sides of ours agree, bound to a channel or not") {
  using enum ScramClient::Binding;
  CHECK(exchange(none, "", false, "") == "");
  CHECK(exchange(none, "", false, "offered") == "");  // a client that cannot
  CHECK(exchange(not_offered, "", false, "") == "");
  CHECK(exchange(end_point, "certificate", true, "certificate") == "");
  CHECK(random_nonce() != random_nonce());
}

TEST_CASE("somebody in between is found out by channel binding") {
  using enum ScramClient::Binding;
  CHECK(exchange(end_point, "theirs", true, "ours").contains("not that of this connection"));
  CHECK(exchange(not_offered, "", false, "offered").contains("did not see"));
  CHECK(exchange(end_point, "certificate", false, "certificate").contains("without that"));
  CHECK(exchange(none, "", true, "certificate").contains("without binding"));
  CHECK(exchange(not_offered, "", true, "certificate").contains("without binding"));
  const auto of_type = [](std::string_view type) {
    ScramServer server(make_verifier("pencil", "salt", 2));
    return server.on_client_first("p=" + std::string(type) + ",,n=,r=abc", true, "c").has_value();
  };
  CHECK(of_type("tls-server-end-point"));
  CHECK_FALSE(of_type("tls-unique"));
}

TEST_CASE("a client-first-message: binding flags n and y, any user name, extensions") {
  CHECK(takes_first("n,,n=,r=abc"));
  CHECK(takes_first("y,,n=joe,r=abc"));
  CHECK(takes_first("n,,n=joe,r=abc,x=future"));
}

TEST_CASE("a malformed client-first-message is refused") {
  for (const auto message :
       {""sv, "n"sv, "n,"sv, "n,,"sv, "x,,n=,r=abc"sv, "n,a=joe,n=,r=abc"sv, "n,,m=x,n=,r=abc"sv,
        "n,,r=abc"sv, "n,,n=joe"sv, "n,,n=joe,"sv, "n,,n=joe,r="sv, "n,,n=joe,r=a b"sv,
        "n,,n=joe,r=a\0b"sv, "n,,n=joe,r=\xc3\xa4"sv, "p=tls-server-end-point,,n=,r=abc"sv}) {
    CHECK_FALSE(takes_first(message));
  }
}

TEST_CASE("a client-final-message must repeat binding and nonce and end with a whole proof") {
  const auto final_message = [](std::string_view front, std::string_view proof = zero_proof) {
    return std::string(front) + ",p=" + std::string(proof);
  };
  CHECK(error_of_final(final_message("c=eSws,r=clientserver")) == "");
  CHECK(error_of_final(final_message("c=eSws,r=clientserver,x=y")) == "");
  CHECK(error_of_final(final_message("c=biws,r=clientserver")).contains("channel binding"));
  CHECK(error_of_final(final_message("r=clientserver")).contains("channel binding"));
  CHECK(error_of_final(final_message("c=eSws,r=client")).contains("nonce"));
  CHECK(error_of_final(final_message("c=eSws,r=clientserver2")).contains("nonce"));
  CHECK(error_of_final(final_message("c=eSws")).contains("nonce"));
  CHECK(error_of_final("c=eSws,r=clientserver").contains("proof"));
  CHECK(error_of_final("").contains("proof"));
  CHECK(error_of_final(final_message("c=eSws,r=clientserver", "")).contains("proof"));
  CHECK(error_of_final(final_message("c=eSws,r=clientserver", "AAAA")).contains("proof"));
  CHECK(error_of_final(final_message("c=eSws,r=clientserver") + ",x=y").contains("proof"));
  CHECK(error_of_final(final_message("c=eSws,r=clientserver") + "AAAA").contains("proof"));
}

TEST_CASE("a hostile server's first message is refused before anything is derived") {
  for (const auto message : {"",
                             "r={}",
                             "r={},s=c2FsdA==,i=1",  // nothing added to our nonce
                             "r=other,s=c2FsdA==,i=1",
                             "r={}x",
                             "r={}x,s=",
                             "r={}x,s=,i=1",
                             "r={}x,s=c2FsdA=,i=1",
                             "r={}x,s=c2FsdA==",
                             "r={}x,s=c2FsdA==,i=",
                             "r={}x,s=c2FsdA==,i=0",
                             "r={}x,s=c2FsdA==,i=-1",
                             "r={}x,s=c2FsdA==,i=1000001",
                             "r={}x,s=c2FsdA==,i=2147483648",
                             "r={}x,s=c2FsdA==,i=99999999999999999999",
                             "r={}x,s=c2FsdA==,i=1x",
                             "r={}x,s=c2FsdA==,i=1,",
                             "r={}x,s=c2FsdA==,i=1,x=y",
                             "m=x,r={}x,s=c2FsdA==,i=1",
                             "r={}\x01,s=c2FsdA==,i=1"}) {
    const auto answer = client_answer(message);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().sqlstate == "08P01");
  }
  CHECK(client_answer("r={}x,s=c2FsdA==,i=1"));
}

TEST_CASE("a server that cannot sign does not know the password") {
  ScramClient client("abc");
  client.client_first();
  const auto challenge = client.on_server_first("r=abcx,s=c2FsdA==,i=1");
  REQUIRE(challenge);
  client.client_final(*challenge, derive_keys("pencil", challenge->salt, challenge->iterations));
  for (const auto& message :
       {"v=" + std::string(zero_proof), "v="s, ""s, "e=other-error"s, "v=AAAA"s}) {
    const auto proved = client.on_server_final(message);
    REQUIRE_FALSE(proved);
    CHECK(proved.error().sqlstate == "08P01");
  }
}
