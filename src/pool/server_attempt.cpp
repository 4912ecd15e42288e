#include "pool/server_attempt.hpp"

#include <utility>

#include "pgproxy/wire/encode.hpp"

namespace pgproxy::pool {

ServerAttempt::ServerAttempt(Pool& pool, io::ServerAddress address, io::ConnectListener& listener,
                             std::optional<CancelRoute> cancel)
    : pool_(pool), address_(std::move(address)), listener_(listener), cancel_(std::move(cancel)) {
  attempt_ = pool.loop().connector().connect(cancel_ ? cancel_->address : address_, *this);
}

void ServerAttempt::on_connected(std::unique_ptr<io::Transport> transport) {
  attempt_.reset();
  const bool wants_tls = pool_.global().server_tls_sslmode != config::SslMode::disable;
  if (!wants_tls || address_.is_unix()) return listener_.on_connected(std::move(transport));
  PGPROXY_ASSERT(pool_.context().server_tls != nullptr);
  transport_ = std::move(transport);
  if (is_direct()) return start_tls();
  transport_->set_listener(*this);
  std::string packet;
  wire::put_ssl_request(packet);
  transport_->write(as_bytes(packet));
}

void ServerAttempt::on_connect_failed(const Error& error) {
  listener_.on_connect_failed(error);  // may destroy *this
}

/// The answer to SSLRequest is one byte. More than that was sent before there was encryption, by
/// whoever sits in between (CVE-2021-23222). An ErrorResponse in its place could be anybody's, too:
/// its text is not passed on.
void ServerAttempt::on_data(Bytes bytes) {
  const char answer = static_cast<char>(bytes[0]);
  if (bytes.size() > 1 && (answer == 'S' || answer == 'N')) {
    return fail("received unencrypted data after SSL response",
                "Something between pgproxy and the server may be tampering with the connection.");
  }
  if (answer == 'S') return start_tls();
  if (answer == 'N') return go_on_unencrypted();
  fail("the answer to the request for TLS is not PostgreSQL's",
       "Check that host and port of the database entry name a PostgreSQL server; its log may tell "
       "more.");
}

bool ServerAttempt::is_direct() const {
  return pool_.global().server_tls_sslnegotiation == config::SslNegotiation::direct;
}

void ServerAttempt::start_tls() {
  transport_ = pool_.context().server_tls->start(std::move(transport_), {}, address_.host);
  transport_->set_listener(*this);
}

void ServerAttempt::go_on_unencrypted() {
  if (pool_.global().server_tls_sslmode > config::SslMode::prefer) {
    return fail("server does not support TLS, which server_tls_sslmode asks for",
                "Set ssl = on at the server, or server_tls_sslmode = prefer (or disable) here.");
  }
  if (cancel_ && cancel_->is_encrypted) {
    return fail("server does not offer TLS any more, which the session to be cancelled has",
                "Something between pgproxy and the server may be tampering with the connection.");
  }
  if (!cancel_) pool_.note_unencrypted(address_);
  listener_.on_connected(std::move(transport_));  // may destroy *this
}

void ServerAttempt::on_established() {
  // Without it, TLS may have been made with a server of another protocol.
  if (is_direct() && transport_->tls()->application_protocol.empty()) {
    return fail(
        "the server does not name PostgreSQL's protocol (ALPN) in direct TLS",
        "Check that host and port of the database entry name a PostgreSQL server of version "
        "17 or later, or set server_tls_sslnegotiation = postgres.");
  }
  listener_.on_connected(std::move(transport_));  // may destroy *this
}

void ServerAttempt::on_closed(const std::string& reason) {
  if (reason.starts_with("TLS")) return fail(reason, tls_hint(reason, is_direct()));
  fail("server closed the connection when asked for TLS: " + reason, "See the server's log.",
       "08006");
}

void ServerAttempt::fail(std::string what, std::string hint, std::string sqlstate) {
  listener_.on_connect_failed({.sqlstate = std::move(sqlstate),
                               .message = fmt::format("connection to server \"{}\" port {}: {}",
                                                      address_.host, address_.port, what),
                               .hint = std::move(hint)});  // may destroy *this
}

std::string tls_hint(const std::string& reason, bool is_direct) {
  const auto tells = [&reason](std::string_view part) {
    return reason.find(part) != std::string::npos;
  };
  if (tells("does not match host name")) {
    return "Give the database entry a host that the certificate names, or set server_tls_sslmode = "
           "verify-ca.";
  }
  if (tells("certificate revoked")) {
    return "server_tls_crl_file has the server's certificate, or one above it: give the server a "
           "new one.";
  }
  if (tells("CRL")) {
    return "Let server_tls_crl_file hold a current list of each authority between the server's "
           "certificate and its root, the root's too.";
  }
  if (tells("certificate verify failed")) {
    return "Let server_tls_ca_file hold the authority that signed the server's certificate, or set "
           "server_tls_sslmode = require, which verifies nobody.";
  }
  if (tells("alert")) {
    return "The server refused us: it may want server_tls_cert_file and server_tls_key_file, "
           "signed by its ssl_ca_file; see its log.";
  }
  if (is_direct) {
    return "Direct TLS needs PostgreSQL 17 or later: set server_tls_sslnegotiation = postgres for "
           "older servers.";
  }
  return "Compare server_tls_protocols (secure) and server_tls_ciphers (default) with the server's "
         "ssl_min_protocol_version and ssl_ciphers; see its log.";
}

}  // namespace pgproxy::pool
