#include "net/tls_certificate.hpp"

#include <algorithm>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

namespace pgproxy::net {
namespace {

struct FreeNames {
  void operator()(GENERAL_NAMES* names) const { GENERAL_NAMES_free(names); }
};
using NamesPtr = std::unique_ptr<GENERAL_NAMES, FreeNames>;

NamesPtr alternative_names(const X509& certificate) {
  return NamesPtr(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)));
}

/// Empty for what holds a zero byte: it would be one name here and another one elsewhere.
std::string text_of(const ASN1_STRING* string) {
  const auto* bytes = reinterpret_cast<const char*>(ASN1_STRING_get0_data(string));
  std::string text(bytes, static_cast<std::size_t>(ASN1_STRING_length(string)));
  return text.find('\0') == std::string::npos ? text : std::string();
}

/// Whoever made the certificate chose it: printable ASCII, and not more than fits into a line.
std::string text_of(const X509_NAME& name) {
  constexpr std::size_t most = 100;
  const OpensslPtr<BIO> out(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(out.get(), &name, 0, XN_FLAG_RFC2253);
  const char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  std::string text(data, static_cast<std::size_t>(std::max(size, 0L)));
  if (text.size() > most) text = text.substr(0, most) + "...";
  return text;
}

struct FreeNumber {
  void operator()(BIGNUM* number) const { BN_free(number); }
};
struct FreeText {
  void operator()(char* text) const { OPENSSL_free(text); }
};
struct FreeAddress {
  void operator()(ASN1_OCTET_STRING* address) const { ASN1_OCTET_STRING_free(address); }
};

}  // namespace

std::string common_name(const X509& certificate) {
  const X509_NAME* subject = X509_get_subject_name(&certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return {};
  unsigned char* utf8 = nullptr;
  const int size =
      ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  if (size < 0) return {};
  std::string name(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
  OPENSSL_free(utf8);
  return name.find('\0') == std::string::npos ? name : std::string();
}

std::string described(const X509& certificate) {
  ASN1_INTEGER* serial = X509_get_serialNumber(const_cast<X509*>(&certificate));
  const std::unique_ptr<BIGNUM, FreeNumber> number(ASN1_INTEGER_to_BN(serial, nullptr));
  const std::unique_ptr<char, FreeText> digits(number ? BN_bn2hex(number.get()) : nullptr);
  return "subject \"" + text_of(*X509_get_subject_name(&certificate)) + "\", serial number " +
         (digits ? digits.get() : "unreadable") + ", issuer \"" +
         text_of(*X509_get_issuer_name(&certificate)) + '"';
}

std::vector<std::string> dns_names(const X509& certificate) {
  std::vector<std::string> found;
  const NamesPtr names = alternative_names(certificate);
  for (int i = 0, count = sk_GENERAL_NAME_num(names.get()); i < count; ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS) continue;
    if (std::string text = text_of(name->d.dNSName); !text.empty()) found.push_back(text);
  }
  return found;
}

bool is_ip_address(const std::string& host) {
  const std::unique_ptr<ASN1_OCTET_STRING, FreeAddress> address(a2i_IPADDRESS(host.c_str()));
  ERR_clear_error();
  return address != nullptr;
}

bool names_host(const X509& certificate, const std::string& host) {
  auto* subject = const_cast<X509*>(&certificate);  // OpenSSL caches extensions in it
  if (!is_ip_address(host)) {
    return X509_check_host(subject, host.data(), host.size(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
                           nullptr) == 1;
  }
  if (X509_check_ip_asc(subject, host.c_str(), 0) == 1) return true;
  return alternative_names(certificate) == nullptr && common_name(certificate) == host;
}

std::string end_point_hash(const X509& certificate) {
  int hash = NID_undef;
  auto* subject = const_cast<X509*>(&certificate);
  if (X509_get_signature_info(subject, &hash, nullptr, nullptr, nullptr) != 1) {
    ERR_clear_error();
    return {};
  }
  if (hash == NID_md5 || hash == NID_sha1) hash = NID_sha256;
  const EVP_MD* algorithm = EVP_get_digestbynid(hash);
  std::string digest(EVP_MAX_MD_SIZE, '\0');
  unsigned int size = 0;
  if (algorithm == nullptr ||
      X509_digest(&certificate, algorithm, reinterpret_cast<unsigned char*>(digest.data()),
                  &size) != 1) {
    ERR_clear_error();
    return {};
  }
  digest.resize(size);
  return digest;
}

}  // namespace pgproxy::net
