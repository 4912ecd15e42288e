#include <utility>

#include "session/client_login.hpp"

#include "pgproxy/session/sessions.hpp"

// How a client comes to TLS: by SSLRequest, or by beginning with it (PostgreSQL docs 55.2.10).
namespace pgproxy::session {
namespace {

constexpr char first_byte_of_tls = 0x16;  // a handshake record

}  // namespace

bool ClientSession::may_use_tls() const {
  return sessions_.tls() != nullptr && transport_->tls() == nullptr && !transport_->peer().is_unix;
}

std::string ClientSession::tls_text() const {
  const io::TlsInfo* tls = transport_->tls();
  return tls != nullptr ? tls->text() : std::string();
}

/// True: there may be more to read.
bool ClientSession::answer_encryption_request(wire::StartupKind kind) {
  const bool is_ssl = kind == wire::StartupKind::ssl_request;
  bool& asked = is_ssl ? login_->asked_for_ssl : login_->asked_for_gssenc;
  if (transport_->tls() != nullptr) {
    fail({.sqlstate = "08P01", .message = "request for encryption inside TLS"});
    return false;
  }
  // What is glued behind the request was sent before encryption was agreed on: an attacker's, if
  // anybody's (CVE-2021-3935).
  if (std::exchange(asked, true) || login_->input.size() > 8) {
    fail({.sqlstate = "08P01",
          .message = is_ssl ? "received unencrypted data after SSL request"
                            : "received unencrypted data after GSSAPI encryption request"});
    return false;
  }
  login_->input.clear();
  const bool is_granted = is_ssl && may_use_tls();
  send(is_granted ? "S" : "N");
  if (is_granted) start_tls({});
  return !is_granted;
}

void ClientSession::start_tls(Bytes received) {
  login_->tls_since = sessions_.loop().now();
  transport_ = sessions_.tls()->start(std::move(transport_), received, "");
  transport_->set_listener(*this);
}

bool ClientSession::is_shaking_hands() const {
  return login_ != nullptr && login_->tls_since != TimePoint{} && transport_->tls() == nullptr;
}

/// The wait for a turn among other handshakes is part of what the client sees.
void ClientSession::on_established() {
  sessions_.counters().tls_handshakes.add(sessions_.loop().now() - login_->tls_since);
}

bool ClientSession::begins_with_tls() const {
  const bool is_first = !login_->asked_for_ssl && !login_->asked_for_gssenc;
  return is_first && login_->input.starts_with(first_byte_of_tls) && may_use_tls();
}

void ClientSession::start_direct_tls() {
  login_->asked_for_ssl = true;
  login_->is_direct_tls = true;
  const std::string received = std::exchange(login_->input, {});
  start_tls(as_bytes(received));
}

/// What encryption the client has against what it must have.
std::optional<Error> ClientSession::encryption_error() const {
  const io::TlsInfo* tls = transport_->tls();
  if (tls == nullptr) {
    const bool is_needed = sessions_.settings().client_tls_sslmode >= config::SslMode::require;
    if (!is_needed || transport_->peer().is_unix) return std::nullopt;
    return Error{.sqlstate = "28000",
                 .message = "SSL required",
                 .detail = "client_tls_sslmode lets nobody log in over TCP without TLS.",
                 .hint =
                     "Connect with sslmode=require (or verify-full), or set client_tls_sslmode "
                     "= prefer in pgproxy's configuration."};
  }
  if (login_->is_direct_tls && tls->application_protocol.empty()) {
    return Error{.sqlstate = "08P01",
                 .message = "direct TLS without ALPN",
                 .detail = "Who begins with TLS must offer the protocol \"postgresql\" in it.",
                 .hint = "Connect with sslnegotiation=postgres, or with libpq 17 or later."};
  }
  return std::nullopt;
}

}  // namespace pgproxy::session
