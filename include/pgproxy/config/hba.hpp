#pragma once

#include <string>
#include <vector>

#include "pgproxy/config/auth_type.hpp"
#include "pgproxy/config/ip_address.hpp"
#include "pgproxy/config/pattern.hpp"

// What auth_hba_file and auth_ident_file say, checked (PostgreSQL docs 21.1, 21.2).
namespace pgproxy::config {

/// One entry of a list of databases or users.
struct HbaName {
  enum class Kind { all, same_user, replication, name, pattern };

  Kind kind = Kind::all;
  std::string name = {};  ///< Kind::name
  Pattern pattern = {};   ///< Kind::pattern

  bool operator==(const HbaName&) const = default;
};

/// Which connections a line of auth_hba_file is about.
enum class HbaConnection { local, host, hostssl, hostnossl, hostgssenc, hostnogssenc };
/// From where; without meaning for HbaConnection::local.
enum class HbaFrom { all, same_host, same_net, range };
/// What beside the method a line asks of the client's certificate.
enum class ClientCert { off, verify_ca, verify_full };

/// One line of auth_hba_file.
struct HbaLine {
  std::string file;
  int line = 0;
  HbaConnection connection = HbaConnection::local;
  std::vector<HbaName> databases;
  std::vector<HbaName> users;
  HbaFrom from = HbaFrom::all;
  IpRange range;  ///< HbaFrom::range
  AuthType method = AuthType::reject;
  std::string map;  ///< of auth_ident_file; empty: names must be equal
  ClientCert client_cert = ClientCert::off;
  bool common_name_only = false;  ///< clientname=CN: no other name of the certificate counts

  /// Wherever they stand.
  bool says_the_same_as(const HbaLine& other) const {
    return connection == other.connection && databases == other.databases && users == other.users &&
           from == other.from && range == other.range && method == other.method &&
           map == other.map && client_cert == other.client_cert &&
           common_name_only == other.common_name_only;
  }
};

/// One line of auth_ident_file: who may log in as whom.
struct IdentLine {
  std::string file;
  int line = 0;
  std::string map;
  /// Kind::name or Kind::pattern; whose first group replaces \1 in a database user of Kind::name.
  HbaName system_user;
  HbaName database_user;  ///< Kind::all, name or pattern

  /// Wherever they stand.
  bool says_the_same_as(const IdentLine& other) const {
    return map == other.map && system_user == other.system_user &&
           database_user == other.database_user;
  }
};

}  // namespace pgproxy::config
