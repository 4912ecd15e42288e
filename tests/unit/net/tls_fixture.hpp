#pragma once

#include <doctest/doctest.h>
#include <fstream>
#include <memory>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string>

#include "net_fixture.hpp"

#include "pgproxy/net/tls_context.hpp"

namespace pgproxy::net::test {

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, FreeKey>;

/// A certificate and its key, as objects and as PEM files.
struct Identity {
  OpensslPtr<X509> certificate;
  KeyPtr key;
  std::string cert_file;
  std::string key_file;
};

/// Makes certificates in a directory of its own.
class Issuer {
 public:
  explicit Issuer(const std::string& name = "root") : root_(make(name, "", nullptr)) {}

  /// `alternatives`: "DNS:localhost,IP:127.0.0.1"; empty: none.
  Identity issue(const std::string& common_name, const std::string& alternatives = "") {
    return make(common_name, alternatives, &root_);
  }
  const std::string& ca_file() const { return root_.cert_file; }

 private:
  Identity make(const std::string& common_name, const std::string& alternatives, Identity* issuer) {
    Identity made{.certificate = OpensslPtr<X509>(X509_new()), .key = KeyPtr(EVP_EC_gen("P-256"))};
    X509& x509 = *made.certificate;
    X509_set_version(&x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(&x509), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(&x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(&x509), 86400);
    X509_set_pubkey(&x509, made.key.get());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(&x509), "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(common_name.data()),
                               static_cast<int>(common_name.size()), -1, 0);
    X509_set_issuer_name(&x509, X509_get_subject_name(issuer ? issuer->certificate.get() : &x509));
    add(x509, NID_basic_constraints, issuer != nullptr ? "CA:FALSE" : "critical,CA:TRUE");
    if (!alternatives.empty()) add(x509, NID_subject_alt_name, alternatives);
    REQUIRE(X509_sign(&x509, issuer ? issuer->key.get() : made.key.get(), EVP_sha256()) > 0);
    const std::string file = directory_.path + '/' + std::to_string(serial_);
    made.cert_file = file + ".crt";
    made.key_file = file + ".key";
    write(made.cert_file, [&](BIO* bio) { return PEM_write_bio_X509(bio, &x509); });
    write(made.key_file, [&](BIO* bio) {
      return PEM_write_bio_PrivateKey(bio, made.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    });
    return made;
  }

  static void add(X509& x509, int nid, const std::string& value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
    REQUIRE(extension != nullptr);
    X509_add_ext(&x509, extension, -1);
    X509_EXTENSION_free(extension);
  }

  template <class Print>
  static void write(const std::string& file, Print print) {
    const OpensslPtr<BIO> bio(BIO_new_file(file.c_str(), "w"));
    REQUIRE(print(bio.get()) == 1);
  }

  TemporaryDirectory directory_;
  long serial_ = 0;
  Identity root_;
};

/// Settings that speak TLS on both sides.
inline config::Settings tls_settings_for(const Identity& server, const std::string& ca_file) {
  config::Settings settings;
  settings.client_tls_sslmode = config::SslMode::require;
  settings.client_tls_cert_file = server.cert_file;
  settings.client_tls_key_file = server.key_file;
  settings.client_tls_protocols = settings.server_tls_protocols = {.v1_2 = true, .v1_3 = true};
  settings.client_tls_ciphers = settings.server_tls_ciphers = "default";
  settings.client_tls_ecdhcurve = "auto";
  settings.server_tls_sslmode = config::SslMode::verify_full;
  settings.server_tls_ca_file = ca_file;
  return settings;
}

}  // namespace pgproxy::net::test
