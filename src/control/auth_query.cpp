#include "pgproxy/control/auth_query.hpp"

#include <algorithm>

#include "control/control_target.hpp"
#include "control/tls_parameters.hpp"

#include "pgproxy/base/log.hpp"
#include "pgproxy/config/password_hash.hpp"

namespace pgproxy::control {
namespace {

/// Strangers may ask for any name: no more than this is kept.
constexpr std::size_t max_known = 10'000;
/// Nobody logs in with a longer name of user or database.
constexpr std::size_t max_name_bytes = 127;

const std::string& first_given(const std::string& own, const std::string& global) {
  return own.empty() ? global : own;
}

/// What an answer says; an error: auth_query is not fit for use.
io::FoundSecret secret_in(const Answer& answer, const std::string& user) {
  if (!answer) return std::unexpected(answer.error());
  if (answer->empty()) return std::nullopt;
  const Row& row = answer->front();
  if (answer->size() > 1 || row.size() != 2) {
    return std::unexpected(Error{
        .sqlstate = "42P10",
        .message =
            fmt::format("auth_query returned {} rows of {} columns", answer->size(), row.size()),
        .hint = "It has to return one row at most: the user's name and the stored password."});
  }
  if (row[0] != user) return std::nullopt;
  return row[1];
}

}  // namespace

AuthQuery::AuthQuery(Services services, const config::Settings& settings)
    : services_(services), settings_(settings) {}

AuthQuery::~AuthQuery() = default;

/// What is asked is answered by the connection that it was sent to.
void AuthQuery::reload() {
  known_.clear();
  for (auto& [place, connection] : connections_) replaced_.push_back(std::move(connection));
  connections_.clear();
  if (asked_.empty()) drop_replaced();
}

/// One of them may be on the stack.
void AuthQuery::drop_replaced() {
  for (auto& connection : replaced_) services_.loop.destroy_later(std::move(connection));
  replaced_.clear();
}

const config::Database* AuthQuery::find_entry(std::string_view name) const {
  const config::Database* listed = settings_.find_database(name);
  return listed == nullptr && settings_.auto_database ? &*settings_.auto_database : listed;
}

/// Where clients of `database` are looked up; nullopt: nowhere.
std::optional<AuthQuery::Place> AuthQuery::place_of(std::string_view database) const {
  static const config::Database none;
  const config::Database* asked_for = find_entry(database);
  const config::Database& own = asked_for != nullptr ? *asked_for : none;
  const std::string& auth_dbname = first_given(own.auth_dbname, settings_.auth_dbname);
  Place place{.name = auth_dbname.empty() ? std::string(database) : auth_dbname,
              .auth_user = first_given(own.auth_user, settings_.auth_user),
              .sql = first_given(own.auth_query, settings_.auth_query)};
  if (place.auth_user.empty() || find_entry(place.name) == nullptr) return std::nullopt;
  return place;
}

bool AuthQuery::find(std::string_view database, std::string_view user,
                     io::SecretListener& listener) {
  if (database.size() > max_name_bytes || user.size() > max_name_bytes) return false;
  const auto place = place_of(database);
  if (!place) return false;
  const Key key{*place, std::string(user)};
  if (const Known* known = find_fresh(key)) {
    const io::FoundSecret found = known->secret;
    listener.on_secret(found);
    return true;
  }
  const auto [asked, is_first] = asked_.try_emplace(key);
  asked->second.push_back(listener);
  if (!is_first) return true;
  connection_to(*place).ask(place->sql, {key.second},
                            [this, key](const Answer& answer) { on_answer(key, answer); });
  return true;
}

const AuthQuery::Known* AuthQuery::find_fresh(const Key& key) const {
  const auto known = known_.find(key);
  if (known == known_.end()) return nullptr;
  const bool is_fresh = services_.loop.now() - known->second.found_at < settings_.auth_query_ttl;
  return is_fresh ? &known->second : nullptr;
}

Connection& AuthQuery::connection_to(const Place& place) {
  auto& slot = connections_[{place.name, place.auth_user}];
  if (slot != nullptr) return *slot;
  const config::Database& entry = *find_entry(place.name);
  Target target{.hosts = hosts_of(settings_, entry),
                .port = entry.port,
                .dbname = entry.dbname.empty() ? place.name : entry.dbname,
                .user = place.auth_user,
                .tls = tls_parameters(settings_),
                .may_be_in_clear = may_be_in_clear(settings_),
                .timeout = settings_.server_connect_timeout,
                .idle_timeout = settings_.server_idle_timeout};
  const auto secret = settings_.secrets.find(place.auth_user);
  if (secret != settings_.secrets.end() && !config::is_password_hash(secret->second)) {
    target.password = secret->second;
  }
  slot = std::make_unique<Connection>(services_, std::move(target));
  return *slot;
}

void AuthQuery::on_answer(const Key& key, const Answer& answer) {
  io::FoundSecret found = secret_in(answer, key.second);
  if (!found) {
    const Error error = found.error();
    note_failure(key, error);
    // A name that the client made up: as an unknown user, or it would learn which databases are.
    const bool is_made_up =
        error.sqlstate == "3D000" && settings_.find_database(key.first.name) == nullptr;
    if (is_made_up) {
      found = std::nullopt;
    } else {
      found = std::unexpected(Error{.sqlstate = "08006",
                                    .message = "the user could not be looked up",
                                    .hint = "See pgproxy's log for what auth_query met."});
    }
  } else if (settings_.auth_query_ttl > Duration::zero() && replaced_.empty()) {
    if (known_.size() >= max_known) known_.clear();
    known_[key] = {*found, services_.loop.now()};
  }
  auto asked = asked_.extract(key);
  IntrusiveList<io::SecretListener>& listeners = asked.mapped();
  while (!listeners.empty()) {
    io::SecretListener& next = listeners.front();
    next.unlink();
    next.on_secret(found);
  }
  if (asked_.empty()) drop_replaced();
}

/// Where auth_user itself was not let in: what its password is missing.
std::string AuthQuery::hint_for(const std::string& auth_user, const Error& error) const {
  if (error.sqlstate != "28P01") return error.hint;
  const auto secret = settings_.secrets.find(auth_user);
  if (secret == settings_.secrets.end() || secret->second.empty()) {
    return fmt::format("Give auth_user \"{}\" a line with its password in auth_file.", auth_user);
  }
  if (config::is_password_hash(secret->second)) {
    return fmt::format(
        "auth_file has no password of auth_user \"{}\" but what recognises it: give the password "
        "itself.",
        auth_user);
  }
  return fmt::format("Set the line of auth_user \"{}\" in auth_file to its password there.",
                     auth_user);
}

void AuthQuery::note_failure(const Key& key, const Error& error) {
  const auto& [place, user] = key;
  const std::string hint = hint_for(place.auth_user, error);
  log::line(log::Level::error, "auth_query for user \"{}\" in \"{}\" failed: {}{}{}", user,
            place.name, error.message, hint.empty() ? "" : " HINT: ", hint);
  // Strangers may ask for any database: nothing is kept of what does not work.
  const auto at = connections_.find({place.name, place.auth_user});
  if (at == connections_.end() || at->second->is_open()) return;
  services_.loop.destroy_later(std::move(at->second));
  connections_.erase(at);
}

}  // namespace pgproxy::control
