#include "pgproxy/pool/session_state.hpp"

#include <algorithm>
#include <array>
#include <strings.h>

#include "pgproxy/base/text.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::pool {
namespace {

bool less(std::string_view a, std::string_view b) {
  const int order = strncasecmp(a.data(), b.data(), std::min(a.size(), b.size()));
  return order != 0 ? order < 0 : a.size() < b.size();
}

auto place_of(auto& settings, std::string_view name) {
  return std::lower_bound(settings.begin(), settings.end(), name,
                          [](const Setting& s, std::string_view n) { return less(s.name, n); });
}

/// PostgreSQL's client-only encodings (docs 24.3.1) are those with ASCII bytes in second place.
bool is_ambiguous_encoding(std::string_view encoding) {
  static constexpr std::array<std::string_view, 7> names = {"SJIS", "SHIFT_JIS_2004", "BIG5", "GBK",
                                                            "UHC",  "GB18030",        "JOHAB"};
  return std::ranges::any_of(names,
                             [&](std::string_view n) { return equals_ignoring_case(n, encoding); });
}

/// Settings without which a statement's parse tree, its types and its constants are the same.
/// server_version and the like cannot differ between the clients of a server.
bool is_harmless_when_parsing(std::string_view name) {
  static constexpr std::array<std::string_view, 18> names = {
      "application_name",     "client_min_messages",
      "effective_cache_size", "idle_in_transaction_session_timeout",
      "idle_session_timeout", "in_hot_standby",
      "integer_datetimes",    "is_superuser",
      "lock_timeout",         "log_min_duration_statement",
      "maintenance_work_mem", "random_page_cost",
      "server_encoding",      "server_version",
      "statement_timeout",    "synchronous_commit",
      "transaction_timeout",  "work_mem",
  };
  return std::ranges::any_of(names,
                             [&](std::string_view n) { return equals_ignoring_case(n, name); });
}

constexpr std::string_view encoding_name = "client_encoding";

/// Input functions and the lexer look at these.
constexpr std::array<std::pair<std::string_view, ReadingRole>, 12> reading_roles = {{
    {"datestyle", ReadingRole::reported},
    {"intervalstyle", ReadingRole::reported},
    {"timezone", ReadingRole::reported},
    {"client_encoding", ReadingRole::reported},
    {"standard_conforming_strings", ReadingRole::reported},
    {"array_nulls", ReadingRole::unreported},
    {"backslash_quote", ReadingRole::unreported},
    {"lc_monetary", ReadingRole::unreported},
    {"timezone_abbreviations", ReadingRole::unreported},
    {"transform_null_equals", ReadingRole::unreported},
    {"xmloption", ReadingRole::unreported},
    {"search_path", ReadingRole::search_path},
}};

bool is_for_literals(ReadingRole role) {
  return role == ReadingRole::reported || role == ReadingRole::unreported;
}

const Setting* find_in(const std::vector<Setting>& settings, std::string_view name) {
  const auto at = place_of(settings, name);
  return at != settings.end() && equals_ignoring_case(at->name, name) ? &*at : nullptr;
}

/// What it has in a session that never set it.
std::string set_to_default_sql(std::string_view name) {
  const std::string quoted = wire::quote_literal(name);
  return "pg_catalog.set_config(" + quoted +
         ", (SELECT s.reset_val FROM pg_catalog.pg_settings s WHERE pg_catalog.lower(s.name) "
         "OPERATOR(pg_catalog.=) " +
         quoted + "), true)";
}

std::string set_locally_sql(std::string_view name, std::string_view value) {
  return "pg_catalog.set_config(" + wire::quote_literal(name) + ", " + wire::quote_literal(value) +
         ", true)";
}

std::string content_key(const std::vector<Setting>& settings) {
  std::string key;
  for (const Setting& setting : settings) {
    wire::put_c_string(key, setting.name);
    wire::put_c_string(key, setting.value);
    key += setting.is_reported ? 'r' : 's';
  }
  return key;
}

/// "a.b" is one custom setting, not a qualified name: RESET wants its parts quoted one by one.
std::string reset_sql(std::string_view name) {
  std::string quoted;
  while (true) {
    const std::size_t dot = name.find('.');
    quoted += wire::quote_identifier(name.substr(0, dot));
    if (dot == std::string_view::npos) break;
    quoted += '.';
    name.remove_prefix(dot + 1);
  }
  return "RESET " + quoted + "; ";
}

/// Whose rights a session has.
struct Identity {
  std::string_view user;  ///< session_authorization
  std::string_view role;  ///< "none": the user's own
};

bool is_identity(std::string_view name) {
  return name == "role" || name == "session_authorization";
}

Identity identity(const SessionState& state) {
  const Setting* role = state.find("role");
  return {state.value("session_authorization"),
          role != nullptr ? std::string_view(role->value) : std::string_view("none")};
}

}  // namespace

/// set_config takes a value as it would stand in postgresql.conf, so that lists (search_path) need
/// no parsing here; its result is thrown away with the reply.
std::string set_sql(const Setting& setting) {
  return "pg_catalog.set_config(" + wire::quote_literal(setting.name) + ", " +
         wire::quote_literal(setting.value) + ", false)";
}

const Setting* SessionState::find(std::string_view name) const {
  return find_in(settings_, name);
}

ReadingRole reading_role(std::string_view name) {
  for (const auto& [known, role] : reading_roles) {
    if (equals_ignoring_case(known, name)) return role;
  }
  const bool is_harmless = name.contains('.') || is_harmless_when_parsing(name);
  return is_harmless ? ReadingRole::harmless : ReadingRole::none;
}

bool reads_alike(const Reading& a, const Reading& b) {
  return std::ranges::equal(a.settings, b.settings, [](const Setting& one, const Setting& other) {
    return one.value == other.value && equals_ignoring_case(one.name, other.name);
  });
}

std::string reading_sql(const Reading& now, const Reading& wanted, ReadingDoubt doubt) {
  std::string sql;
  const auto add = [&sql](std::string_view name, const std::string* value) {
    sql += sql.empty() ? "SELECT " : ", ";
    sql += value != nullptr ? set_locally_sql(name, *value) : set_to_default_sql(name);
  };
  for (const auto& [name, role] : reading_roles) {
    if (!is_for_literals(role)) continue;
    const Setting* wish = find_in(wanted.settings, name);
    const Setting* there = find_in(now.settings, name);
    const bool is_in_doubt =
        role == ReadingRole::reported ? doubt.reported && wish != nullptr : doubt.unreported;
    const bool differs =
        (wish == nullptr) != (there == nullptr) || (wish != nullptr && wish->value != there->value);
    if (is_in_doubt || differs) add(name, wish != nullptr ? &wish->value : nullptr);
  }
  if (doubt.search_path) add("search_path", wanted.search_path ? &*wanted.search_path : nullptr);
  return sql;
}

std::string_view SessionState::value(std::string_view name) const {
  const Setting* setting = find(name);
  return setting != nullptr ? std::string_view(setting->value) : std::string_view{};
}

void describe_settings(const SessionState& state, ConnectionRow& row) {
  row.application_name = state.value("application_name");
  row.socket.client_encoding = state.value("client_encoding");
  row.socket.standard_conforming_strings = state.value("standard_conforming_strings");
  row.socket.datestyle = state.value("DateStyle");
  row.socket.timezone = state.value("TimeZone");
}

StateRef StateInterner::empty() {
  return intern({});
}

StateRef StateInterner::with(const StateRef& base, std::string_view name, std::string_view value,
                             bool is_reported) {
  std::vector<Setting> settings = base->settings();
  const auto at = place_of(settings, name);
  if (at != settings.end() && equals_ignoring_case(at->name, name)) {
    if (at->value == value && at->is_reported == is_reported) return base;
    at->value = value;  // the name keeps the server's spelling
    at->is_reported = is_reported;
  } else {
    settings.insert(at, Setting{std::string(name), std::string(value), is_reported});
  }
  return intern(std::move(settings));
}

StateRef StateInterner::reported_only(const StateRef& base) {
  std::vector<Setting> settings = base->settings();
  std::erase_if(settings, [](const Setting& s) { return !s.is_reported; });
  return intern(std::move(settings));
}

StateRef StateInterner::updated(
    const StateRef& base,
    const std::vector<std::pair<std::string, std::optional<std::string>>>& values,
    bool only_these) {
  std::vector<Setting> settings = base->settings();
  if (only_these) std::erase_if(settings, [](const Setting& s) { return !s.is_reported; });
  for (const auto& [name, value] : values) {
    const auto at = place_of(settings, name);
    const bool is_there = at != settings.end() && equals_ignoring_case(at->name, name);
    if (is_there && at->is_reported) continue;  // ParameterStatus tells
    if (is_there && value) at->value = *value;
    if (is_there && !value) settings.erase(at);
    if (!is_there && value) settings.insert(at, Setting{name, *value, false});
  }
  return intern(std::move(settings));
}

StateRef StateInterner::merged(const StateRef& server, const StateRef& wanted) {
  StateRef result = reported_only(server);
  for (const Setting& setting : wanted->settings()) {
    if (result->find(setting.name) == nullptr) {
      result = with(result, setting.name, setting.value, false);
    }
  }
  return result;
}

StateRef StateInterner::intern(std::vector<Setting> settings) {
  auto& slot = states_[content_key(settings)];
  if (StateRef known = slot.lock()) return known;
  auto state = std::make_shared<SessionState>();
  state->settings_ = std::move(settings);
  state->backslashes_are_plain_ = state->value("standard_conforming_strings") != "off";
  state->creates_temporary_objects_ =
      contains_ignoring_case(state->value("search_path"), "pg_temp");
  state->has_ambiguous_bytes_ = is_ambiguous_encoding(state->value("client_encoding"));
  state->parse_state_ = parse_state(state->settings_);
  state->reading_ = reading(state->settings_);
  slot = state;
  if (states_.size() >= purge_at_) {
    std::erase_if(states_, [](const auto& entry) { return entry.second.expired(); });
    std::erase_if(parse_states_, [](const auto& entry) { return entry.second.expired(); });
    std::erase_if(readings_, [](const auto& entry) { return entry.second.expired(); });
    purge_at_ = std::max<std::size_t>(64, states_.size() * 2);
  }
  return state;
}

ParseStateRef StateInterner::parse_state(const std::vector<Setting>& settings) {
  std::string key;
  for (const Setting& setting : settings) {
    const bool is_custom = setting.name.contains('.');  // of tenants, often: they share statements
    if (is_custom || is_harmless_when_parsing(setting.name)) continue;
    wire::put_c_string(key, setting.name);
    wire::put_c_string(key, setting.value);
  }
  auto& slot = parse_states_[key];
  if (ParseStateRef known = slot.lock()) return known;
  auto state = std::make_shared<const std::string>(std::move(key));
  slot = state;
  return state;
}

ReadingRef StateInterner::reading(const std::vector<Setting>& settings) {
  Reading reading;
  for (const Setting& setting : settings) {
    const ReadingRole role = reading_role(setting.name);
    if (is_for_literals(role)) reading.settings.push_back(setting);
    if (role == ReadingRole::search_path) reading.search_path = setting.value;
  }
  std::string key = content_key(reading.settings);
  if (reading.search_path) key += '\0' + *reading.search_path;
  auto& slot = readings_[std::move(key)];
  if (ReadingRef known = slot.lock()) return known;
  auto result = std::make_shared<const Reading>(std::move(reading));
  slot = result;
  return result;
}

std::string encoding_sql(const SessionState& server, const SessionState& wanted) {
  const Setting* wish = wanted.find(encoding_name);
  if (wish == nullptr || wish->value == server.value(encoding_name)) return {};
  return "SELECT " + set_sql(*wish);
}

std::string difference(const SessionState& server, const SessionState& wanted) {
  const Identity now = identity(server);
  const Identity wish = identity(wanted);
  std::vector<std::string> sets;
  for (const Setting& setting : wanted.settings()) {
    if (is_identity(setting.name) || is_read_only_setting(setting.name)) continue;
    if (equals_ignoring_case(setting.name, encoding_name)) continue;
    const Setting* there = server.find(setting.name);
    if (there == nullptr || there->value != setting.value) sets.push_back(set_sql(setting));
  }
  std::string resets;
  for (const Setting& setting : server.settings()) {
    if (setting.is_reported || is_identity(setting.name)) continue;
    if (wanted.find(setting.name) == nullptr) resets += reset_sql(setting.name);
  }
  // Who one is comes last: it takes rights away that other settings may need. And it is left first.
  const bool is_other_user = now.user != wish.user;
  const bool changes = is_other_user || now.role != wish.role || !sets.empty() || !resets.empty();
  std::string sql;
  if (changes && is_other_user) sql += "RESET SESSION AUTHORIZATION; ";
  if (changes && now.role != "none") sql += "RESET ROLE; ";
  sql += resets;
  if (is_other_user) sets.push_back(set_sql({"session_authorization", std::string(wish.user)}));
  // A role that is given up, for rights or with the user, is taken again.
  if (wish.role != "none" && changes) sets.push_back(set_sql({"role", std::string(wish.role)}));
  std::string_view separator = "SELECT ";
  for (const std::string& set : sets) {
    sql += separator;
    sql += set;
    separator = ", ";
  }
  return sql;
}

std::vector<Setting> announcements(const SessionState& now, const SessionState& before) {
  std::vector<Setting> changed;
  for (const Setting& setting : now.settings()) {
    if (!is_read_only_setting(setting.name)) continue;
    const Setting* believed = before.find(setting.name);
    if (believed == nullptr || believed->value != setting.value) changed.push_back(setting);
  }
  return changed;
}

bool is_read_only_setting(std::string_view name) {
  static constexpr std::array<std::string_view, 5> names = {
      "server_version", "server_encoding", "is_superuser", "in_hot_standby", "integer_datetimes",
  };
  return std::ranges::any_of(names,
                             [&](std::string_view n) { return equals_ignoring_case(n, name); });
}

}  // namespace pgproxy::pool
