#include "net/tls_engine.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <openssl/err.h>
#include <utility>

#include "net/tls_certificate.hpp"

#include "pgproxy/base/assert.hpp"

namespace pgproxy::net {

std::string take_openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "unknown reason";
  if (ERR_SYSTEM_ERROR(code)) return std::strerror(ERR_GET_REASON(code));
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "OpenSSL error " + std::to_string(code);
}

namespace {

/// SSL_get_error() wants an empty queue before each call; it nearly always is, and looking is
/// cheap.
void forget_openssl_errors() {
  if (ERR_peek_error() != 0) ERR_clear_error();
}

}  // namespace

// The BIO between OpenSSL and one call of ours: it reads from the caller's bytes and writes to the
// caller's string, so that nothing is copied once more and nothing is kept.

int TlsEngine::read_wire(BIO* bio, char* into, std::size_t size, std::size_t* count) {
  auto& wire = *static_cast<Wire*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (wire.in.empty()) {
    BIO_set_retry_read(bio);
    return 0;
  }
  *count = std::min(size, wire.in.size());
  std::memcpy(into, wire.in.data(), *count);
  wire.in = wire.in.subspan(*count);
  return 1;
}

int TlsEngine::write_wire(BIO* bio, const char* from, std::size_t size, std::size_t* count) {
  auto& wire = *static_cast<Wire*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  wire.out->append(from, size);
  *count = size;
  return 1;
}

long TlsEngine::control_wire(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* TlsEngine::wire_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pgproxy");
    if (made == nullptr) throw std::bad_alloc();
    BIO_meth_set_read_ex(made, read_wire);
    BIO_meth_set_write_ex(made, write_wire);
    BIO_meth_set_ctrl(made, control_wire);
    return made;
  }();
  return method;
}

TlsEngine::TlsEngine(SSL_CTX& context, Role role, Expectation expected)
    : ssl_(SSL_new(&context)), role_(role), expected_(std::move(expected)) {
  BIO* bio = BIO_new(wire_method());
  if (ssl_ == nullptr || bio == nullptr) throw std::bad_alloc();
  BIO_set_data(bio, &wire_);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);  // owns it
  if (role == Role::server) {
    SSL_set_accept_state(ssl_.get());
  } else {
    SSL_set_connect_state(ssl_.get());
  }
  SSL_set_app_data(ssl_.get(), this);
  if (!expected_.server_name.empty()) {
    SSL_set_tlsext_host_name(ssl_.get(), expected_.server_name.c_str());
  }
}

TlsEngine::~TlsEngine() = default;

TlsEngine::Handshake TlsEngine::handshake(Bytes& in, std::string& out) {
  attach(in, &out);
  forget_openssl_errors();
  const int status = SSL_do_handshake(ssl_.get());
  in = wire_.in;
  if (status == 1) {
    note_facts();
    return accepts_peer() ? Handshake::done : Handshake::failed;
  }
  if (SSL_get_error(ssl_.get(), status) == SSL_ERROR_WANT_READ) return Handshake::needs_input;
  is_broken_ = true;
  error_ = failure();
  return Handshake::failed;
}

bool TlsEngine::is_next_cheap() const {
  // A client's certificate, where one is asked for, comes behind our Finished (RFC 8446, 2).
  if (role_ == Role::server && SSL_get_verify_mode(ssl_.get()) != SSL_VERIFY_NONE) return false;
  char byte = 0;
  return SSL_get_finished(ssl_.get(), &byte, sizeof byte) > 0;  // ours has been sent
}

std::string TlsEngine::failure() const {
  const long verified = SSL_get_verify_result(ssl_.get());
  std::string reason = take_openssl_error();
  if (expected_.is_verified && verified != X509_V_OK) {
    reason += std::string(": ") + X509_verify_cert_error_string(verified) + rejected_;
  }
  return reason;
}

int TlsEngine::note_verification(int is_good, X509_STORE_CTX* context) {
  if (is_good != 0) return is_good;
  const auto* ssl = static_cast<const SSL*>(
      X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx()));
  const X509* certificate = X509_STORE_CTX_get_current_cert(context);
  auto* self = static_cast<TlsEngine*>(SSL_get_app_data(ssl));
  if (self != nullptr && certificate != nullptr) {
    self->rejected_ = " (" + described(*certificate) + ')';
  }
  return is_good;
}

void TlsEngine::note_facts() {
  info_.version = SSL_get_version(ssl_.get());
  info_.cipher = SSL_get_cipher_name(ssl_.get());
  const unsigned char* protocol = nullptr;
  unsigned int protocol_bytes = 0;
  SSL_get0_alpn_selected(ssl_.get(), &protocol, &protocol_bytes);
  info_.application_protocol.assign(reinterpret_cast<const char*>(protocol), protocol_bytes);
  const X509* peer = SSL_get0_peer_certificate(ssl_.get());
  if (peer != nullptr) {
    info_.has_peer_certificate = true;
    info_.peer_common_name = common_name(*peer);
    info_.peer_names = dns_names(*peer);
    info_.is_peer_verified =
        expected_.is_verified && SSL_get_verify_result(ssl_.get()) == X509_V_OK;
  }
  const X509* servers = role_ == Role::server ? SSL_get_certificate(ssl_.get()) : peer;
  if (servers != nullptr) info_.server_end_point = end_point_hash(*servers);
}

/// The chain was OpenSSL's matter; the name is ours, for a better text.
bool TlsEngine::accepts_peer() {
  const Expectation expected = std::exchange(expected_, {});
  if (expected.host.empty()) return true;
  const X509* peer = SSL_get0_peer_certificate(ssl_.get());
  if (peer != nullptr && names_host(*peer, expected.host)) return true;
  std::string named;
  for (const std::string& name : info_.peer_names) named += " \"" + name + '"';
  if (named.empty() && !info_.peer_common_name.empty()) {
    named = " \"" + info_.peer_common_name + '"';
  }
  error_ = "server certificate does not match host name \"" + expected.host + "\"; it names" +
           (named.empty() ? " no host" : named);
  return false;
}

TlsEngine::Read TlsEngine::read(Bytes in, std::span<std::uint8_t> plain, std::string& out) {
  Read read;
  attach(in, &out);
  forget_openssl_errors();
  while (!wire_.in.empty() || SSL_pending(ssl_.get()) > 0) {
    PGPROXY_ASSERT(read.count < plain.size());
    std::size_t count = 0;
    const int status =
        SSL_read_ex(ssl_.get(), plain.data() + read.count, plain.size() - read.count, &count);
    if (status == 1) {
      read.count += count;
      continue;
    }
    const int error = SSL_get_error(ssl_.get(), status);
    if (error == SSL_ERROR_WANT_READ) break;  // the rest of a record is to come
    if (error == SSL_ERROR_ZERO_RETURN) {
      read.end = Ending::closed;
      break;
    }
    read.end = Ending::failed;
    is_broken_ = true;
    error_ = take_openssl_error();
    break;
  }
  return read;
}

void TlsEngine::write(Bytes first, Bytes second, std::string& out) {
  if (is_broken_) return;
  attach({}, &out);
  forget_openssl_errors();
  encrypt(first);
  encrypt(second);
}

void TlsEngine::encrypt(Bytes bytes) {
  if (bytes.empty() || is_broken_) return;
  std::size_t count = 0;
  if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &count) == 1) return;
  // The BIO takes everything: what is left are the limits of the protocol itself.
  is_broken_ = true;
  error_ = take_openssl_error();
}

void TlsEngine::finish(std::string& out) {
  if (is_broken_) return;
  attach({}, &out);
  forget_openssl_errors();
  SSL_shutdown(ssl_.get());
  forget_openssl_errors();
}

}  // namespace pgproxy::net
