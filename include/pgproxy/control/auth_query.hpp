#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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
  /// The settings are others now: what was found is forgotten, and asked for on new connections.
  void reload();
  ~AuthQuery();

  /// Errors for the listener have no word of the server's: those are in the log.
  bool find(std::string_view database, std::string_view user,
            io::SecretListener& listener) override;

 private:
  /// Whom to ask, as what, and with which words.
  struct Place {
    std::string name;  ///< of the database entry
    std::string auth_user;
    std::string sql;
    auto operator<=>(const Place&) const = default;
  };
  using Key = std::pair<Place, std::string>;  ///< and the user who is looked up
  struct Known {
    std::optional<std::string> secret;
    TimePoint found_at{};
  };

  const config::Database* find_entry(std::string_view name) const;
  std::optional<Place> place_of(std::string_view database) const;
  const Known* find_fresh(const Key& key) const;
  Connection& connection_to(const Place& place);
  void on_answer(const Key& key, const Answer& answer);
  std::string hint_for(const std::string& auth_user, const Error& error) const;
  void note_failure(const Key& key, const Error& error);
  void drop_replaced();

  Services services_;
  const config::Settings& settings_;
  std::map<Key, Known> known_;                              ///< with auth_query_ttl
  std::map<Key, IntrusiveList<io::SecretListener>> asked_;  ///< who waits for the answer
  std::map<std::pair<std::string, std::string>, std::unique_ptr<Connection>>
      connections_;                                    ///< by database entry and auth_user
  std::vector<std::unique_ptr<Connection>> replaced_;  ///< by reload(), with questions under way
};

}  // namespace pgproxy::control
