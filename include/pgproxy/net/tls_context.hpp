#pragma once

#include <expected>
#include <memory>
#include <string>

#include "pgproxy/config/settings.hpp"
#include "pgproxy/io/transport.hpp"

namespace pgproxy::net {

/// A TLS setting that cannot be used: its name, OpenSSL's reason, and what to do.
struct TlsProblem {
  std::string setting;
  std::string message;
  std::string hint = {};
};
using TlsContextResult = std::expected<std::shared_ptr<const io::TlsContext>, TlsProblem>;

/// Our side towards clients, from client_tls_*; nullptr where that is disable. Reads the files.
TlsContextResult make_client_tls(const config::Settings& settings);
/// Our side towards servers, from server_tls_*.
TlsContextResult make_server_tls(const config::Settings& settings);

}  // namespace pgproxy::net
