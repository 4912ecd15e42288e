#include "config/field.hpp"
#include "config/table.hpp"

namespace pgproxy::config {
namespace {

using enum Apply;

constexpr Row<Settings> kTls[] = {
    {"client_tls_sslmode",
     field<&Settings::client_tls_sslmode>(),
     {"disable", "PgBouncer's"},
     on_reload,
     "TLS with clients over TCP. allow, prefer: whoever asks for it gets it; require: others are "
     "refused; verify-ca, verify-full: a certificate that client_tls_ca_file vouches for is needed "
     "as well."},
    {"client_tls_key_file",
     field<&Settings::client_tls_key_file>(),
     {"", "PgBouncer's: none; needed for TLS with clients"},
     on_reload,
     "Private key (PEM, without a passphrase) of client_tls_cert_file."},
    {"client_tls_cert_file",
     field<&Settings::client_tls_cert_file>(),
     {"", "PgBouncer's: none; needed for TLS with clients"},
     on_reload,
     "Certificate (PEM) shown to clients, those of intermediate authorities behind it."},
    {"client_tls_ca_file",
     field<&Settings::client_tls_ca_file>(),
     {"", "PgBouncer's: none; clients are asked for no certificate"},
     on_reload,
     "Authorities (PEM) that sign clients' certificates. As in PostgreSQL a client may come "
     "without "
     "one, unless client_tls_sslmode is verify-ca or verify-full, but not with one of anybody "
     "else."},
    {"client_tls_crl_file",
     field<&Settings::client_tls_crl_file>(),
     {"", "none, as PostgreSQL's ssl_crl_file: no certificate counts as revoked"},
     on_reload,
     "Revocation lists (PEM) for clients' certificates: one of each authority between a "
     "certificate and its root, the root's too. Who is on one is refused, and so is everybody "
     "whose authority's list is missing or out of date."},
    {"client_tls_protocols",
     field<&Settings::client_tls_protocols>(),
     {"secure", "PgBouncer's"},
     on_reload,
     "Versions of TLS: a list of tlsv1.2 and tlsv1.3, or secure or all for both."},
    {"client_tls_ciphers",
     field<&Settings::client_tls_ciphers>(),
     {"default", "PgBouncer's: what the system's OpenSSL holds for safe"},
     on_reload,
     "Ciphers of TLS 1.2, as OpenSSL writes them; or default, secure, fast, normal for the "
     "system's, "
     "all for every one that authenticates and encrypts."},
    {"client_tls13_ciphers",
     field<&Settings::client_tls13_ciphers>(),
     {"", "PgBouncer's: OpenSSL's three"},
     on_reload,
     "Cipher suites of TLS 1.3, separated by colons."},
    {"client_tls_ecdhcurve",
     field<&Settings::client_tls_ecdhcurve>(),
     {"auto", "PgBouncer's: OpenSSL's list, X25519 first"},
     on_reload,
     "Curves for the key exchange, separated by colons; auto."},
    {"client_tls_dheparams",
     field<&Settings::client_tls_dheparams>(),
     {"auto", "PgBouncer's: 2048 bits or more"},
     on_reload,
     "Key exchange by finite fields, for old clients with TLS 1.2."},
    {"worker_threads",
     field<&Settings::worker_threads>({0, 256}),
     {"0",
      "one less than there are processors, and at least one: a processor is left to the clients "
      "that are connected already"},
     on_restart,
     "Threads for what takes long at a login: the steps of TLS handshakes, SCRAM with a password "
     "that is not stored as its secret, the name of a system user (peer). 0: by the number of "
     "processors."},
    {"server_tls_sslmode",
     field<&Settings::server_tls_sslmode>(),
     must_be_given(
         "disable",
         "enough for servers on this machine or in a network that you trust; verify-full, "
         "with server_tls_ca_file, for all others. PgBouncer's own default, prefer, falls "
         "back to an open connection without a word"),
     on_reload,
     "TLS with servers over TCP. allow, prefer: where the server offers it; require: always; "
     "verify-ca: server_tls_ca_file must vouch for the server's certificate; verify-full: which "
     "must "
     "also name its host.",
     {.pgbouncers = "prefer"}},
    {"server_tls_sslnegotiation",
     field<&Settings::server_tls_sslnegotiation>(),
     {"postgres", "libpq's; every version of PostgreSQL understands it"},
     on_reload,
     "How TLS with servers begins, as libpq's sslnegotiation. postgres: with a request for it; "
     "direct: at once, which saves a round trip and needs PostgreSQL 17 or another pgproxy."},
    {"server_tls_ca_file",
     field<&Settings::server_tls_ca_file>(),
     {"", "PgBouncer's: none; needed for verify-ca and verify-full"},
     on_reload,
     "Authorities (PEM) that sign servers' certificates."},
    {"server_tls_crl_file",
     field<&Settings::server_tls_crl_file>(),
     {"", "none, as libpq's sslcrl: no certificate counts as revoked"},
     on_reload,
     "Revocation lists (PEM) for servers' certificates, as client_tls_crl_file; with verify-ca and "
     "verify-full."},
    {"server_tls_key_file",
     field<&Settings::server_tls_key_file>(),
     {"", "PgBouncer's: none"},
     on_reload,
     "Private key (PEM, without a passphrase) of server_tls_cert_file."},
    {"server_tls_cert_file",
     field<&Settings::server_tls_cert_file>(),
     {"", "PgBouncer's: none"},
     on_reload,
     "Certificate (PEM) shown to servers that ask for one (clientcert in pg_hba.conf)."},
    {"server_tls_protocols",
     field<&Settings::server_tls_protocols>(),
     {"secure", "PgBouncer's"},
     on_reload,
     "As client_tls_protocols, with servers."},
    {"server_tls_ciphers",
     field<&Settings::server_tls_ciphers>(),
     {"default", "PgBouncer's: what the system's OpenSSL holds for safe"},
     on_reload,
     "As client_tls_ciphers, with servers."},
    {"server_tls13_ciphers",
     field<&Settings::server_tls13_ciphers>(),
     {"", "PgBouncer's: OpenSSL's three"},
     on_reload,
     "As client_tls13_ciphers, with servers."},
};

}  // namespace

std::span<const Row<Settings>> tls_settings() {
  return kTls;
}

}  // namespace pgproxy::config
