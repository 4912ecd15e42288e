#pragma once

#include <memory>

#include "pgproxy/config/load.hpp"
#include "pgproxy/io/transport.hpp"

namespace pgproxy::app {

/// Our sides in TLS; nullptr where it is disabled.
struct Tls {
  std::shared_ptr<const io::TlsContext> clients;
  std::shared_ptr<const io::TlsContext> servers;
};

/// Reads keys and certificates; what is wrong with them becomes a problem of the configuration.
Tls load_tls(config::Loaded& loaded);

}  // namespace pgproxy::app
