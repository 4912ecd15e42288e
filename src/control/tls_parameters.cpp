#include "control/tls_parameters.hpp"

#include "pgproxy/base/log.hpp"
#include "pgproxy/control/connection.hpp"

namespace pgproxy::control {
namespace {

/// Once: each connection of ours has the same parameters.
void warn_of_requests() {
  static bool is_said = false;
  if (std::exchange(is_said, true)) return;
  log::line(log::Level::warning,
            "pgproxy's own questions to servers (auth_query, health checks, control_user) ask for "
            "TLS with a request, in spite of server_tls_sslnegotiation = direct: only libpq 17 and "
            "later can do without");
}

}  // namespace

std::vector<std::pair<std::string, std::string>> tls_parameters(const config::Settings& settings) {
  // A file that is not given is none, and not one in a home directory.
  const auto file = [](const std::string& path) { return path.empty() ? "/dev/null/none" : path; };
  const config::TlsProtocols& versions = settings.server_tls_protocols;
  std::vector<std::pair<std::string, std::string>> parameters = {
      {"sslmode", to_string(settings.server_tls_sslmode)},
      {"sslrootcert", file(settings.server_tls_ca_file)},
      {"sslcert", file(settings.server_tls_cert_file)},
      {"sslkey", file(settings.server_tls_key_file)},
      {"sslcrl", file(settings.server_tls_crl_file)},
      {"ssl_min_protocol_version", versions.v1_2 ? "TLSv1.2" : "TLSv1.3"},
      {"ssl_max_protocol_version", versions.v1_3 ? "TLSv1.3" : "TLSv1.2"}};
  if (settings.server_tls_sslnegotiation == config::SslNegotiation::direct) {
    if (knows_direct_tls()) {
      parameters.emplace_back("sslnegotiation", "direct");
    } else {
      warn_of_requests();
    }
  }
  return parameters;
}

}  // namespace pgproxy::control
