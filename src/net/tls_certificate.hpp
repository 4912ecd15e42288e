#pragma once

#include <string>
#include <vector>

#include "net/openssl.hpp"

namespace pgproxy::net {

/// The subject's common name; empty: none, or one that is no text.
std::string common_name(const X509& certificate);
/// For people: subject, serial number and issuer, whatever strange things stand there.
std::string described(const X509& certificate);
/// The DNS names of its subjectAltName.
std::vector<std::string> dns_names(const X509& certificate);
/// As libpq: IP addresses and DNS names of the subjectAltName, the common name only where there are
/// none; a wildcard stands for the first label alone.
bool names_host(const X509& certificate, const std::string& host);
bool is_ip_address(const std::string& host);
/// RFC 5929, section 4.1; empty: the signature's algorithm has no hash to use.
std::string end_point_hash(const X509& certificate);

}  // namespace pgproxy::net
