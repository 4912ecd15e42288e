#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/config/capacity.hpp"
#include "pgproxy/config/load.hpp"

namespace pgproxy::config {

/// What import() makes of a configuration of PgBouncer's.
struct Imported {
  std::string text;  ///< a whole pgproxy.ini
  /// What could not be taken over, and what is wrong with the result; each stands in `text`, too,
  /// unless it is about the result as a whole. Empty: pgproxy starts with it.
  std::vector<Problem> problems;
};

/// A login that a configuration has itself, and with which its servers may be asked.
struct ImportLogin {
  std::string user;
  std::string password;  ///< as given; empty: none
  std::string dbname;    ///< on the servers
  std::string origin;    ///< where it stands: "user= of entry shop"
};

/// The logins of a configuration, in the order in which to try them: the forced users of its
/// entries, auth_user, then those of auth_file. Not those of whom auth_file has a hash only: libpq
/// logs in with passwords.
std::vector<ImportLogin> import_logins(const Settings& settings);

/// What the servers of an imported configuration said of themselves.
struct ImportAnswers {
  /// With which all of them answered; `servers` is what they said then.
  std::optional<ImportLogin> login;
  /// Without such a login: the best that each of them said to any.
  std::vector<ServerFacts> servers;
  std::string reason;  ///< why no server was asked, if so
};
/// Asks the servers of a configuration; may block.
using AskServers = std::function<ImportAnswers(const Settings&)>;

/// Reads a pgbouncer.ini with its %include files. Every key keeps its meaning; what PgBouncer would
/// assume for a setting that pgproxy wants to be given is written down. [capacity] is what the
/// servers allow, where `ask` (none: nobody is asked) has found a login for all of them: enforce
/// then is what --check agrees to. Else check is off, with the reason. Blocks on file I/O.
Imported import_file(const std::string& path, const AskServers& ask = {});

/// The same for a text in memory (tests).
Imported import_text(std::string_view text, const std::string& name, const AskServers& ask = {});

}  // namespace pgproxy::config
