#include "net/tls_engine.hpp"

#include <openssl/err.h>
#include <vector>

#include "net/tls_certificate.hpp"
#include "tls_fixture.hpp"

using namespace pgproxy;
using namespace pgproxy::net;
using namespace pgproxy::net::test;
using Role = TlsEngine::Role;
using Handshake = TlsEngine::Handshake;
using Ending = TlsEngine::Ending;

namespace {

OpensslPtr<SSL_CTX> context_for(Role role, const Identity* identity, const std::string& ca_file) {
  OpensslPtr<SSL_CTX> context(
      SSL_CTX_new(role == Role::server ? TLS_server_method() : TLS_client_method()));
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  if (identity != nullptr) {
    SSL_CTX_use_certificate(context.get(), identity->certificate.get());
    SSL_CTX_use_PrivateKey(context.get(), identity->key.get());
  }
  if (!ca_file.empty()) {
    SSL_CTX_load_verify_file(context.get(), ca_file.c_str());
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  }
  return context;
}

/// Two engines and the bytes that are on their way between them.
struct Pipe {
  Pipe(SSL_CTX& client_context, SSL_CTX& server_context, TlsEngine::Expectation of_server = {},
       TlsEngine::Expectation of_client = {})
      : client(client_context, Role::client, std::move(of_server)),
        server(server_context, Role::server, std::move(of_client)) {}

  /// Bytes are handed over in pieces of this size.
  void shake_hands(std::size_t piece = ~std::size_t{0}) {
    client_progress = step(client, to_client, to_server, piece);
    while (client_progress != Handshake::failed && server_progress != Handshake::failed) {
      if (client_progress == Handshake::done && server_progress == Handshake::done) return;
      const std::size_t before = to_client.size() + to_server.size();
      if (server_progress == Handshake::needs_input && !to_server.empty()) {
        server_progress = step(server, to_server, to_client, piece);
      }
      if (client_progress == Handshake::needs_input && !to_client.empty()) {
        client_progress = step(client, to_client, to_server, piece);
      }
      REQUIRE(before + to_client.size() + to_server.size() > 0);
    }
  }

  static Handshake step(TlsEngine& engine, std::string& input, std::string& output,
                        std::size_t piece) {
    const std::string taken = input.substr(0, piece);
    Bytes in = as_bytes(taken);
    const Handshake progress = engine.handshake(in, output);
    input.erase(0, taken.size() - in.size());
    return progress;
  }

  /// What `engine` makes of everything that is on its way to it, piece by piece.
  std::string read(TlsEngine& engine, std::string& input, std::size_t piece = ~std::size_t{0}) {
    std::string text;
    while (!input.empty() && end == Ending::none) {
      const std::string taken = input.substr(0, piece);
      input.erase(0, taken.size());
      std::vector<std::uint8_t> plain(taken.size() + TlsEngine::max_record_bytes);
      std::string answers;
      const TlsEngine::Read got = engine.read(as_bytes(taken), plain, answers);
      text += as_text(Bytes(plain).first(got.count));
      end = got.end;
    }
    CHECK(ERR_peek_error() == 0);
    return text;
  }
  std::string read_at_server(std::size_t piece = ~std::size_t{0}) {
    return read(server, to_server, piece);
  }
  std::string read_at_client() { return read(client, to_client); }

  TlsEngine client;
  TlsEngine server;
  Handshake client_progress = Handshake::needs_input;
  Handshake server_progress = Handshake::needs_input;
  std::string to_client;
  std::string to_server;
  Ending end = Ending::none;
};

struct Contexts {
  Issuer issuer;
  Identity identity = issuer.issue("pooler", "DNS:db.example,IP:10.0.0.7");
  OpensslPtr<SSL_CTX> server = context_for(Role::server, &identity, "");
  OpensslPtr<SSL_CTX> client = context_for(Role::client, nullptr, issuer.ca_file());
};

}  // namespace

TEST_CASE("what one side writes the other one reads, whatever the pieces") {
  Contexts contexts;
  for (const std::size_t piece : {1UL, 7UL, 1000UL, ~0UL}) {
    CAPTURE(piece);
    Pipe pipe(*contexts.client, *contexts.server);
    pipe.shake_hands(piece);
    REQUIRE(pipe.client_progress == Handshake::done);
    REQUIRE(pipe.server_progress == Handshake::done);
    CHECK(pipe.read_at_client() == "");  // the session ticket
    const std::string text = numbered_text(100'000);
    pipe.client.write(as_bytes(text), as_bytes("the end"), pipe.to_server);
    CHECK(pipe.read_at_server(piece) == text + "the end");
    pipe.server.write(as_bytes("back"), {}, pipe.to_client);
    CHECK(pipe.read_at_client() == "back");
    CHECK(pipe.end == Ending::none);
  }
}

TEST_CASE("what comes with the last bytes of the handshake is not lost") {
  Contexts contexts;
  Pipe pipe(*contexts.client, *contexts.server);
  while (pipe.client_progress != Handshake::done) {
    pipe.client_progress = Pipe::step(pipe.client, pipe.to_client, pipe.to_server, ~0UL);
    if (pipe.client_progress == Handshake::done) break;
    Pipe::step(pipe.server, pipe.to_server, pipe.to_client, ~0UL);
  }
  pipe.client.write(as_bytes("startup"), {}, pipe.to_server);
  CHECK(Pipe::step(pipe.server, pipe.to_server, pipe.to_client, ~0UL) == Handshake::done);
  CHECK(pipe.read_at_server() == "startup");
}

TEST_CASE("what is left is cheap once Finished was sent, unless a certificate is to come") {
  Contexts contexts;
  const auto after_first_flight = [&] {
    Pipe pipe(*contexts.client, *contexts.server);
    CHECK_FALSE(pipe.client.is_next_cheap());
    CHECK_FALSE(pipe.server.is_next_cheap());
    Pipe::step(pipe.client, pipe.to_client, pipe.to_server, ~0UL);
    Pipe::step(pipe.server, pipe.to_server, pipe.to_client, ~0UL);
    CHECK_FALSE(pipe.client.is_next_cheap());
    return pipe.server.is_next_cheap();
  };
  SUBCASE("TLS 1.3") {
    CHECK(after_first_flight());
  }
  SUBCASE("TLS 1.3, and the client has to begin again with another group") {
    SSL_CTX_set1_groups_list(contexts.server.get(), "P-384");
    CHECK_FALSE(after_first_flight());
  }
  SUBCASE("TLS 1.3, and the client is asked for its certificate") {
    SSL_CTX_set_verify(contexts.server.get(), SSL_VERIFY_PEER, nullptr);
    CHECK_FALSE(after_first_flight());
  }
  SUBCASE("TLS 1.2, where keys are still to be agreed on") {
    SSL_CTX_set_max_proto_version(contexts.server.get(), TLS1_2_VERSION);
    CHECK_FALSE(after_first_flight());
  }
}

TEST_CASE("close_notify is an end, a cut is not, and a changed byte is an error") {
  Contexts contexts;
  Pipe pipe(*contexts.client, *contexts.server);
  pipe.shake_hands();
  pipe.client.write(as_bytes("last words"), {}, pipe.to_server);
  SUBCASE("close_notify") {
    pipe.client.finish(pipe.to_server);
    CHECK(pipe.read_at_server() == "last words");
    CHECK(pipe.end == Ending::closed);
  }
  SUBCASE("cut in the middle of a record") {
    pipe.to_server.pop_back();
    CHECK(pipe.read_at_server() == "");
    CHECK(pipe.end == Ending::none);
  }
  SUBCASE("changed") {
    pipe.client.write(as_bytes("changed"), {}, pipe.to_server);
    pipe.to_server.back() ^= 1;
    CHECK(pipe.read_at_server() == "last words");
    CHECK(pipe.end == Ending::failed);
    CHECK(pipe.server.error().find("bad record mac") != std::string::npos);
    pipe.server.write(as_bytes("no more"), {}, pipe.to_client);
    CHECK(pipe.read_at_client() == "");
  }
}

TEST_CASE("what is no TLS fails the handshake") {
  Contexts contexts;
  Pipe pipe(*contexts.client, *contexts.server);
  pipe.to_server = std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8);
  CHECK(Pipe::step(pipe.server, pipe.to_server, pipe.to_client, ~0UL) == Handshake::failed);
  CHECK(pipe.server.error() == "wrong version number");
  CHECK(ERR_peek_error() == 0);
}

TEST_CASE("facts of a connection") {
  Contexts contexts;
  Pipe pipe(*contexts.client, *contexts.server, {.is_verified = true, .host = "db.example"});
  pipe.shake_hands();
  const io::TlsInfo& seen = pipe.client.info();
  CHECK(seen.version == "TLSv1.3");
  CHECK(seen.cipher == "TLS_AES_256_GCM_SHA384");
  CHECK(seen.peer_common_name == "pooler");
  CHECK(seen.peer_names == std::vector<std::string>{"db.example"});
  CHECK(seen.has_peer_certificate);
  CHECK(seen.is_peer_verified);
  // RFC 5929: both sides hash the server's certificate, with the hash of its signature.
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  X509_digest(contexts.identity.certificate.get(), EVP_sha256(), hash, &size);
  CHECK(seen.server_end_point == std::string(reinterpret_cast<char*>(hash), size));
  CHECK(pipe.server.info().server_end_point == seen.server_end_point);
  CHECK_FALSE(pipe.server.info().has_peer_certificate);
  CHECK_FALSE(pipe.server.info().is_peer_verified);
}

TEST_CASE("a certificate that was not checked is not verified") {
  Contexts contexts;
  const auto blind = context_for(Role::client, nullptr, "");
  Pipe pipe(*blind, *contexts.server);
  pipe.shake_hands();
  CHECK(pipe.client.info().has_peer_certificate);
  CHECK_FALSE(pipe.client.info().is_peer_verified);
}

TEST_CASE("a client's certificate, and who signed it") {
  Contexts contexts;
  const auto asking = context_for(Role::server, &contexts.identity, contexts.issuer.ca_file());
  const Identity app = contexts.issuer.issue("app", "DNS:app.example");
  SUBCASE("ours") {
    const auto client = context_for(Role::client, &app, contexts.issuer.ca_file());
    Pipe pipe(*client, *asking, {}, {.is_verified = true});
    pipe.shake_hands();
    CHECK(pipe.server.info().peer_common_name == "app");
    CHECK(pipe.server.info().is_peer_verified);
  }
  SUBCASE("a stranger's") {
    Issuer stranger("stranger");
    const Identity fake = stranger.issue("app");
    const auto client = context_for(Role::client, &fake, contexts.issuer.ca_file());
    Pipe pipe(*client, *asking, {}, {.is_verified = true});
    pipe.shake_hands();
    CHECK(pipe.server_progress == Handshake::failed);
    CHECK(pipe.server.error().starts_with("certificate verify failed: "));
    CHECK_FALSE(pipe.to_client.empty());  // the alert
  }
}

TEST_CASE("the host name is checked when the chain is good") {
  Contexts contexts;
  const auto error_for = [&contexts](const std::string& host) {
    Pipe pipe(*contexts.client, *contexts.server, {.is_verified = true, .host = host});
    pipe.shake_hands();
    return pipe.client.error();
  };
  CHECK(error_for("db.example") == "");
  CHECK(error_for("DB.Example") == "");
  CHECK(error_for("10.0.0.7") == "");
  CHECK(error_for("10.0.0.8").starts_with("server certificate does not match host name"));
  CHECK(error_for("pooler") ==
        "server certificate does not match host name \"pooler\"; it names "
        "\"db.example\"");
}

TEST_CASE("names of certificates as libpq takes them") {
  Issuer issuer;
  const auto names = [&issuer](const std::string& host, const std::string& common_name,
                               const std::string& alternatives = "") {
    return names_host(*issuer.issue(common_name, alternatives).certificate, host);
  };
  CHECK(names("db.example", "db.example"));
  CHECK_FALSE(names("db.example", "db.example", "DNS:other.example"));
  CHECK(names("a.db.example", "x", "DNS:*.db.example"));
  CHECK_FALSE(names("b.a.db.example", "x", "DNS:*.db.example"));
  CHECK_FALSE(names("ab.example", "x", "DNS:a*.example"));
  CHECK_FALSE(names("10.0.0.1", "x", "DNS:*.0.0.1"));
  CHECK(names("10.0.0.1", "10.0.0.1"));
  CHECK_FALSE(names("10.0.0.1", "10.0.0.1", "IP:10.0.0.2"));
  CHECK(names("::1", "x", "IP:0:0:0:0:0:0:0:1"));
}

TEST_CASE("a name with a zero byte in it is no name") {
  Issuer issuer;
  const Identity fake = issuer.issue(std::string("admin\0.evil.example", 19));
  CHECK(common_name(*fake.certificate) == "");
}
