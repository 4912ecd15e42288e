#include "control/control_target.hpp"

#include <fmt/format.h>
#include <string_view>

#include "control/tls_parameters.hpp"

#include "pgproxy/config/password_hash.hpp"

namespace pgproxy::control {
namespace {

/// As in auth_file, where control_password is not given.
std::string password_of(const config::Settings& settings) {
  if (!settings.control_password.empty()) return settings.control_password;
  const auto secret = settings.secrets.find(settings.control_user);
  return secret != settings.secrets.end() ? secret->second : "";
}

/// What auth_file has is enough to recognise a client, and not to log in.
bool has_verifier_only(const config::Settings& settings) {
  return settings.control_password.empty() && config::is_password_hash(password_of(settings));
}

std::string password_hint(const config::Settings& settings) {
  const std::string& user = settings.control_user;
  if (has_verifier_only(settings)) {
    return fmt::format(
        "auth_file has no password of \"{}\" but what recognises it: set control_password.", user);
  }
  if (password_of(settings).empty()) {
    return fmt::format("Set control_password, or give \"{}\" a line in auth_file.", user);
  }
  return fmt::format(
      "Set {} to the password of role \"{}\" at that server.",
      settings.control_password.empty() ? "its line in auth_file" : "control_password", user);
}

std::string hint_of(const config::Settings& settings, const std::string& database,
                    const Error& error) {
  const std::string& user = settings.control_user;
  if (error.sqlstate == "28P01") return password_hint(settings);
  if (error.sqlstate.starts_with("28")) {
    return fmt::format(
        "control_user = {0} has to be a role with LOGIN and pg_monitor at that server, and its "
        "pg_hba.conf has to let it in: \"host {1} {0} <address of pgproxy> scram-sha-256\".",
        user, database);
  }
  if (error.sqlstate == "3D000" && database == settings.control_dbname) {
    return fmt::format(
        "Set control_dbname to a database that each server has, as control_dbname = postgres, or "
        "CREATE DATABASE {} there.",
        database);
  }
  if (error.sqlstate == "42501") {
    return fmt::format(
        "At that server: GRANT pg_monitor TO {0}; GRANT CONNECT ON DATABASE {1} TO "
        "{0}.",
        user, database);
  }
  if (error.sqlstate == "53300") {
    return fmt::format(
        "The server has no connection left for control_user = {0}: raise max_connections there by "
        "one, or ALTER ROLE {0} CONNECTION LIMIT and ALTER DATABASE {1} CONNECTION LIMIT, "
        "whichever is used up.",
        user, database);
  }
  if (error.sqlstate.starts_with("57P")) {
    return "The server starts or stops, or somebody ended that connection: its log tells.";
  }
  if (!error.hint.empty()) return error.hint;
  return "Start the server, or correct host and port of its entry in [databases].";
}

}  // namespace

std::vector<std::string> hosts_of(const config::Settings& settings, const config::Database& entry) {
  return entry.hosts.empty() ? std::vector{settings.unix_socket_dir} : entry.hosts;
}

Target control_target(const config::Settings& settings, const std::string& host,
                      std::uint16_t port) {
  return {.hosts = {host},
          .port = port,
          .dbname = settings.control_dbname,
          .user = settings.control_user,
          .password = password_of(settings),
          .tls = tls_parameters(settings),
          .may_be_in_clear = may_be_in_clear(settings),
          .has_keepalives = true,
          .timeout = settings.server_connect_timeout};
}

Error explain_control_error(const config::Settings& settings, const std::string& server,
                            const Error& error) {
  return {.sqlstate = error.sqlstate,
          .message = fmt::format("{} as control_user \"{}\" in control_dbname \"{}\": {}", server,
                                 settings.control_user, settings.control_dbname, error.message),
          .detail = error.detail,
          .hint = hint_of(settings, settings.control_dbname, error)};
}

Error explain_control_error(const config::Settings& settings, const std::string& server,
                            const std::string& dbname, const Error& error) {
  return {.sqlstate = error.sqlstate,
          .message = fmt::format("{} as control_user \"{}\" in database \"{}\": {}", server,
                                 settings.control_user, dbname, error.message),
          .detail = error.detail,
          .hint = hint_of(settings, dbname, error)};
}

std::string text_array(const std::vector<std::string>& elements) {
  std::string text = "{";
  for (const std::string& element : elements) {
    text += text.size() > 1 ? ",\"" : "\"";
    for (const char c : element) {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
    text += '"';
  }
  return text + '}';
}

}  // namespace pgproxy::control
