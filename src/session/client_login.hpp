#pragma once

#include <optional>
#include <string>

#include "session/client_session.hpp"

namespace pgproxy::session {

/// What a client needs only until it is logged in.
struct ClientSession::Login {
  std::string input;
  wire::StartupMessage startup;
  std::optional<auth::ClientAuth> auth;
  bool asked_for_ssl = false;
  bool asked_for_gssenc = false;
  bool is_direct_tls = false;  ///< began with TLS instead of asking for it
  bool is_console = false;
  bool is_owner = false;  ///< runs as the user that pgproxy runs as: the console needs no password
  std::string reply;      ///< the last word of the authentication: leaves with what follows it
  std::string raw_settings;  ///< what the client gave, application_name left out: key of the cache
  Error replay_error;
};

}  // namespace pgproxy::session
