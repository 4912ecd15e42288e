#pragma once

#include <optional>
#include <string>

#include "session/client_session.hpp"

#include "pgproxy/auth/login_rules.hpp"
#include "pgproxy/io/secret_source.hpp"

namespace pgproxy::session {

/// What a client needs only until it is logged in.
struct ClientSession::Login {
  TimePoint since{};      ///< when the client connected
  TimePoint tls_since{};  ///< when its handshake began
  std::string input;
  wire::StartupMessage startup;
  explicit Login(ClientSession& session) : found(session) {}

  /// Hears what auth_query found.
  struct Found final : io::SecretListener {
    explicit Found(ClientSession& session) : session_(session) {}
    void on_secret(const io::FoundSecret& answer) override { session_.on_secret(answer); }
    std::optional<std::string> secret = {};

   private:
    ClientSession& session_;
  };

  /// What the operating system says: at once, but for names of its users.
  struct Facts final : auth::SystemFacts {
    std::optional<std::string> user_name(std::uint32_t uid) override;
    std::optional<std::vector<config::IpRange>> own_networks() override;
    std::optional<std::uint32_t> wanted_uid = {};  ///< whose name has to be looked up first
    std::optional<std::optional<std::string>> known_name = {};
  };
  class NameLookup;
  class PasswordCheck;

  Facts facts;
  auth::LoginDecision decision;  ///< what the client has to prove
  /// nullptr: the client has not said who it is, or a PasswordCheck has it.
  std::unique_ptr<auth::ClientAuth> auth;
  Found found;
  std::unique_ptr<io::PendingJob> job;  ///< the login goes on when it is done
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
