#include "pgproxy/net/tls_context.hpp"

#include <new>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string_view>
#include <utility>

#include "net/tls_certificate.hpp"
#include "net/tls_transport.hpp"

namespace pgproxy::net {
namespace {

using Outcome = std::expected<void, TlsProblem>;

/// What clients offer by ALPN, as it stands in the handshake (libpq 17 and later).
constexpr std::string_view postgresql_protocol = "\x0apostgresql";

/// Names and values of the settings of one side.
struct Side {
  TlsEngine::Role role;
  std::string prefix;  ///< "client_tls", "server_tls"
  config::SslMode mode;
  const std::string& key_file;
  const std::string& cert_file;
  const std::string& ca_file;
  const std::string& crl_file;
  config::TlsProtocols protocols;
  const std::string& ciphers;
  const std::string& tls13_ciphers;
};

std::unexpected<TlsProblem> problem(const Side& side, std::string_view setting,
                                    const std::string& value, std::string hint) {
  return std::unexpected(TlsProblem{side.prefix + std::string(setting),
                                    '"' + value + "\": " + take_openssl_error(), std::move(hint)});
}

/// Nobody is there to type a passphrase.
int no_passphrase(char* /*into*/, int /*size*/, int /*for_writing*/, void* /*data*/) {
  return 0;
}

Outcome use_protocols(SSL_CTX& context, const Side& side) {
  SSL_CTX_set_min_proto_version(&context, side.protocols.v1_2 ? TLS1_2_VERSION : TLS1_3_VERSION);
  SSL_CTX_set_max_proto_version(&context, side.protocols.v1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
  return {};
}

Outcome use_ciphers(SSL_CTX& context, const Side& side) {
  const std::string& wanted = side.ciphers;
  const bool is_systems =
      wanted == "default" || wanted == "secure" || wanted == "fast" || wanted == "normal";
  const std::string list = wanted == "all" ? "ALL:!aNULL:!eNULL" : wanted;
  if (!is_systems && SSL_CTX_set_cipher_list(&context, list.c_str()) != 1) {
    return problem(side, "_ciphers", wanted, "default takes the system's; see openssl ciphers -v");
  }
  if (!side.tls13_ciphers.empty() &&
      SSL_CTX_set_ciphersuites(&context, side.tls13_ciphers.c_str()) != 1) {
    return problem(side, "13_ciphers", side.tls13_ciphers,
                   "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256");
  }
  return {};
}

Outcome use_certificate(SSL_CTX& context, const Side& side) {
  if (side.cert_file.empty() || side.key_file.empty()) return {};
  if (SSL_CTX_use_certificate_chain_file(&context, side.cert_file.c_str()) != 1) {
    return problem(
        side, "_cert_file", side.cert_file,
        "it is read as the user who runs pgproxy, and must be a certificate in PEM form");
  }
  if (SSL_CTX_use_PrivateKey_file(&context, side.key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
    return problem(side, "_key_file", side.key_file,
                   "it is read as the user who runs pgproxy, and must be the key of \"" +
                       side.cert_file + "\" in PEM form without a passphrase");
  }
  return {};
}

Outcome use_authorities(SSL_CTX& context, const Side& side) {
  if (side.ca_file.empty()) return {};
  if (SSL_CTX_load_verify_file(&context, side.ca_file.c_str()) != 1) {
    return problem(
        side, "_ca_file", side.ca_file,
        "it is read as the user who runs pgproxy, and must hold certificates in PEM form");
  }
  if (side.role == TlsEngine::Role::server) {
    SSL_CTX_set_client_CA_list(&context, SSL_load_client_CA_file(side.ca_file.c_str()));
  }
  ERR_clear_error();
  return {};
}

/// As PostgreSQL and libpq: with lists, each certificate up to the root has to be on none.
Outcome use_revocations(SSL_CTX& context, const Side& side) {
  if (side.crl_file.empty()) return {};
  const auto bad_file = [&side] {
    return problem(side, "_crl_file", side.crl_file,
                   "it is read as the user who runs pgproxy, and must hold certificate revocation "
                   "lists in PEM form");
  };
  const OpensslPtr<BIO> file(BIO_new_file(side.crl_file.c_str(), "r"));
  if (file == nullptr) return bad_file();
  X509_STORE* store = SSL_CTX_get_cert_store(&context);
  int count = 0;
  while (const OpensslPtr<X509_CRL> list{
      PEM_read_bio_X509_CRL(file.get(), nullptr, nullptr, nullptr)}) {
    if (X509_STORE_add_crl(store, list.get()) != 1) return bad_file();
    ++count;
  }
  // The end of the file is an error, too: there is no other list.
  const bool is_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (count == 0 || !is_end) return bad_file();
  ERR_clear_error();
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  return {};
}

/// Towards clients: as PostgreSQL, ask for a certificate as soon as there is an authority to check
/// it. Towards servers: check only where the mode says so.
bool verifies(const Side& side) {
  if (side.role == TlsEngine::Role::server) return !side.ca_file.empty();
  return side.mode >= config::SslMode::verify_ca;
}

void set_verification(SSL_CTX& context, const Side& side) {
  int mode = verifies(side) ? SSL_VERIFY_PEER : SSL_VERIFY_NONE;
  if (side.mode >= config::SslMode::verify_ca) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_CTX_set_verify(&context, mode, TlsEngine::note_verification);
}

void set_options(SSL_CTX& context) {
  SSL_CTX_set_options(
      &context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(&context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_default_passwd_cb(&context, no_passphrase);
}

/// Whoever offers protocols must offer ours, as with PostgreSQL 17: otherwise a browser could be
/// made to talk to us.
int select_protocol(SSL* /*ssl*/, const unsigned char** chosen, unsigned char* chosen_bytes,
                    const unsigned char* offered, unsigned int offered_bytes, void* /*data*/) {
  unsigned char* found = nullptr;
  const int outcome = SSL_select_next_proto(
      &found, chosen_bytes, reinterpret_cast<const unsigned char*>(postgresql_protocol.data()),
      postgresql_protocol.size(), offered, offered_bytes);
  *chosen = found;
  return outcome == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/// Session tickets: encrypted with keys of this context, so that a reload makes them void. Nothing
/// is kept here per session.
void set_sessions(SSL_CTX& context) {
  static constexpr unsigned char id[] = "pgproxy";
  SSL_CTX_set_session_id_context(&context, id, sizeof id - 1);
  SSL_CTX_set_session_cache_mode(&context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(&context, 1);  // clients that resume come one at a time
}

Outcome set_key_exchange(SSL_CTX& context, const Side& side, const config::Settings& settings) {
  SSL_CTX_set_dh_auto(&context,
                      settings.client_tls_dheparams == config::DheParams::automatic ? 1 : 0);
  const std::string& curves = settings.client_tls_ecdhcurve;
  if (curves != "auto" && SSL_CTX_set1_curves_list(&context, curves.c_str()) != 1) {
    return problem(side, "_ecdhcurve", curves, "auto, or a list such as X25519:prime256v1");
  }
  return {};
}

class Context final : public io::TlsContext {
 public:
  Context(OpensslPtr<SSL_CTX> context, TlsEngine::Role role, bool is_verified, bool names_host)
      : context_(std::move(context)),
        role_(role),
        is_verified_(is_verified),
        names_host_(names_host) {}

  std::unique_ptr<io::Transport> start(std::unique_ptr<io::Transport> plain, Bytes received,
                                       const std::string& host) const override {
    // Every transport in need of TLS was made by a connector or listener of this layer.
    std::unique_ptr<StreamTransport> stream(&dynamic_cast<StreamTransport&>(*plain));
    [[maybe_unused]] const auto* owned_by_stream = plain.release();
    TlsEngine::Expectation expected{.is_verified = is_verified_};
    if (names_host_) expected.host = host;
    if (role_ == TlsEngine::Role::client && !is_ip_address(host)) expected.server_name = host;
    UvLoop& loop = stream->loop();
    return std::make_unique<TlsTransport>(loop, std::move(stream), *context_, role_,
                                          std::move(expected), received);
  }

 private:
  OpensslPtr<SSL_CTX> context_;
  TlsEngine::Role role_;
  bool is_verified_;
  bool names_host_;
};

std::expected<OpensslPtr<SSL_CTX>, TlsProblem> make_context(const Side& side) {
  ERR_clear_error();
  OpensslPtr<SSL_CTX> context(SSL_CTX_new(
      side.role == TlsEngine::Role::server ? TLS_server_method() : TLS_client_method()));
  if (context == nullptr) throw std::bad_alloc();
  set_options(*context);
  for (const auto use :
       {use_protocols, use_ciphers, use_certificate, use_authorities, use_revocations}) {
    if (auto used = use(*context, side); !used) return std::unexpected(used.error());
  }
  set_verification(*context, side);
  return context;
}

}  // namespace

TlsContextResult make_client_tls(const config::Settings& settings) {
  if (settings.client_tls_sslmode == config::SslMode::disable) return nullptr;
  const Side side{TlsEngine::Role::server,       "client_tls",
                  settings.client_tls_sslmode,   settings.client_tls_key_file,
                  settings.client_tls_cert_file, settings.client_tls_ca_file,
                  settings.client_tls_crl_file,  settings.client_tls_protocols,
                  settings.client_tls_ciphers,   settings.client_tls13_ciphers};
  auto context = make_context(side);
  if (!context) return std::unexpected(context.error());
  if (auto set = set_key_exchange(**context, side, settings); !set) {
    return std::unexpected(set.error());
  }
  SSL_CTX_set_alpn_select_cb(context->get(), select_protocol, nullptr);
  set_sessions(**context);
  return std::make_shared<Context>(std::move(*context), side.role, verifies(side), false);
}

TlsContextResult make_server_tls(const config::Settings& settings) {
  if (settings.server_tls_sslmode == config::SslMode::disable) return nullptr;
  const Side side{TlsEngine::Role::client,       "server_tls",
                  settings.server_tls_sslmode,   settings.server_tls_key_file,
                  settings.server_tls_cert_file, settings.server_tls_ca_file,
                  settings.server_tls_crl_file,  settings.server_tls_protocols,
                  settings.server_tls_ciphers,   settings.server_tls13_ciphers};
  auto context = make_context(side);
  if (!context) return std::unexpected(context.error());
  SSL_CTX_set_session_cache_mode(context->get(), SSL_SESS_CACHE_OFF);
  // Named in every handshake, as libpq 17 does: who speaks another protocol can tell.
  const auto* protocol = reinterpret_cast<const unsigned char*>(postgresql_protocol.data());
  if (SSL_CTX_set_alpn_protos(context->get(), protocol, postgresql_protocol.size()) != 0) {
    throw std::bad_alloc();
  }
  return std::make_shared<Context>(std::move(*context), side.role, verifies(side),
                                   side.mode == config::SslMode::verify_full);
}

}  // namespace pgproxy::net
