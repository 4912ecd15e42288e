#pragma once

#include <memory>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string>

namespace pgproxy::net {

struct FreeOpenssl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(X509_CRL* list) const { X509_CRL_free(list); }
};
template <class T>
using OpensslPtr = std::unique_ptr<T, FreeOpenssl>;

/// The oldest entry of OpenSSL's error queue in words: it is nearest to the cause. Empties the
/// queue.
std::string take_openssl_error();

}  // namespace pgproxy::net
