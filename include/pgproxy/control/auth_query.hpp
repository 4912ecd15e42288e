#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "pgproxy/config/settings.hpp"
#include "pgproxy/control/connection.hpp"
#include "pgproxy/io/secret_source.hpp"

namespace pgproxy::control {

/// Looks up users that auth_file does not have, by auth_query as auth_user in the database of
/// auth_dbname or in the client's own. One connection for each of those; clients that ask for the
/// same user at the same time share a question. Answers are kept for auth_query_ttl.
class AuthQuery final : public io::SecretSource {
 public:
  /// `settings` outlives the object.
  AuthQuery(Services services, const config::Settings& settings);
  ~AuthQuery();

  /// Errors for the listener have no word of the server's: those are in the log.
  bool find(std::string_view database, std::string_view user,
            io::SecretListener& listener) override;

 private:
  struct Lookup {
    IntrusiveList<io::SecretListener> listeners;  ///< while the question is under way
    std::optional<std::string> secret;
    TimePoint found_at{};
    bool is_asking = false;
  };
  using Key = std::pair<std::string, std::string>;  ///< database entry, user

  struct Place {
    std::string name;  ///< of the database entry
    const config::Database* entry = nullptr;
    std::string auth_user;
    std::string sql;
  };

  std::optional<Place> place_of(std::string_view database) const;
  bool is_fresh(const Lookup& lookup) const;
  void forget_old_ones();
  Connection& connection_to(const Place& place);
  void on_answer(const Key& key, const std::string& auth_user, const Answer& answer);

  Services services_;
  const config::Settings& settings_;
  std::map<Key, Lookup> lookups_;
  std::map<Key, std::unique_ptr<Connection>> connections_;  ///< by database entry and auth_user
};

}  // namespace pgproxy::control
