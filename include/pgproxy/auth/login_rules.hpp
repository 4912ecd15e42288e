#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pgproxy/base/result.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/io/transport.hpp"

// What a client has to prove, by auth_type or by the lines of auth_hba_file (PostgreSQL docs 21.1).
namespace pgproxy::auth {

enum class Replication { none, physical, logical };

/// What is known of a login before the client has proved anything.
struct LoginRequest {
  io::Endpoint peer;
  const io::TlsInfo* tls = nullptr;  ///< nullptr: not encrypted
  std::string user;
  std::string database;
  /// Another name for the same, as of the console's two; a line that names either matches. May be
  /// empty.
  std::string other_database = {};
  Replication replication = Replication::none;
};

/// What only the operating system knows; asked when a line needs it.
class SystemFacts {
 public:
  /// nullopt: nobody has this user id.
  virtual std::optional<std::string> user_name(std::uint32_t uid) = 0;
  /// Own addresses, with the masks of the networks that they are in. nullopt: the system does not
  /// say.
  virtual std::optional<std::vector<config::IpRange>> own_networks() = 0;

 protected:
  ~SystemFacts() = default;
};
/// The real one: getpwuid_r() and getifaddrs(). Thread safe. Name services over a network may make
/// user_name() block.
SystemFacts& operating_system();

/// The first of `lines` that matches; nullptr: none, or it is not known whether one does. Pure but
/// for `system`.
const config::HbaLine* find_hba_line(const std::vector<config::HbaLine>& lines,
                                     const LoginRequest& request, SystemFacts& system);

/// Whether whoever is `name` elsewhere may log in as `user`, by the lines of `map`; without a map
/// the names must be equal.
bool may_log_in_as(const std::string& name, const std::string& user, const std::string& map,
                   const std::vector<config::IdentLine>& lines);

/// How the login goes on.
struct LoginDecision {
  /// For ClientAuth: any, trust, plain, md5, scram_sha_256, or peer and cert that were right.
  config::AuthType method = config::AuthType::reject;
  std::optional<Error> refusal;  ///< the end of it: 28000 in PostgreSQL's words
  /// Not empty: the client is to be asked, and refused in the end; see ClientAuth::must_fail.
  std::string must_fail;
  std::string log_reason;  ///< after a refusal: why, with the line, for the log only
};

/// Thread: any that `system` allows.
LoginDecision decide_login(const config::Settings& settings, const LoginRequest& request,
                           SystemFacts& system);

}  // namespace pgproxy::auth
