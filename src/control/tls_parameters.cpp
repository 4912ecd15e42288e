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

bool may_be_in_clear(const config::Settings& settings) {
  return settings.server_tls_sslmode == config::SslMode::allow ||
         settings.server_tls_sslmode == config::SslMode::prefer;
}

std::vector<std::pair<std::string, std::string>> tls_parameters(const config::Settings& settings) {
  // A file that is not given is none, and not one in a home directory.
  const auto file = [](const std::string& path) { return path.empty() ? "/dev/null/none" : path; };
  // As towards the pools: libpq would verify in every mode as soon as there is an authority.
  const bool verifies = settings.server_tls_sslmode >= config::SslMode::verify_ca;
  const auto file_of_verification = [&](const std::string& path) {
    return verifies ? file(path) : file("");
  };
  const config::SslMode mode =
      may_be_in_clear(settings) ? config::SslMode::require : settings.server_tls_sslmode;
  const config::TlsProtocols& versions = settings.server_tls_protocols;
  std::vector<std::pair<std::string, std::string>> parameters = {
      {"sslmode", to_string(mode)},
      {"sslrootcert", file_of_verification(settings.server_tls_ca_file)},
      {"sslcert", file(settings.server_tls_cert_file)},
      {"sslkey", file(settings.server_tls_key_file)},
      {"sslcrl", file_of_verification(settings.server_tls_crl_file)},
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
