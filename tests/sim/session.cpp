// Transactions and settings of a session; what else it holds is in session_objects.cpp.
#include "session.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <utility>

namespace pgproxy::sim {
namespace {

/// Neither RESET ALL nor pg_show_all_settings() has them.
bool is_identity(std::string_view name) {
  return name == "role" || name == "session_authorization";
}

bool is_custom(std::string_view name) {
  return name.find('.') != std::string_view::npos;
}

/// Names of settings compare without case.
std::string spelling(const std::string& name) {
  for (const auto& [known, value] : Session::defaults()) {
    const bool same = std::ranges::equal(known, name, [](char a, char b) {
      return std::tolower(static_cast<unsigned char>(a)) ==
             std::tolower(static_cast<unsigned char>(b));
    });
    if (same) return known;
  }
  return name;
}

/// A number with or without `unit` as SHOW tells it.
std::string with_unit(const std::string& value, std::string_view unit) {
  const long number = std::strtol(value.c_str(), nullptr, 10);
  return number == 0 ? "0" : std::to_string(number) + std::string(unit);
}

/// The value as PostgreSQL spells it; nullopt: it does not take it.
std::optional<std::string> canonical(const std::string& name, const std::string& value) {
  if (name == "work_mem") {
    if (value.empty() || std::isdigit(static_cast<unsigned char>(value[0])) == 0)
      return std::nullopt;
    const long number = std::strtol(value.c_str(), nullptr, 10);
    return std::to_string(value.ends_with("MB") ? number : number / 1024) + "MB";
  }
  if (name == "statement_timeout") {
    if (value.empty() || std::isdigit(static_cast<unsigned char>(value[0])) == 0)
      return std::nullopt;
    return with_unit(value, "ms");
  }
  if (name == "DateStyle") {
    if (value == "iso" || value == "ISO, MDY") return "ISO, MDY";
    return value == "sql" || value == "SQL, MDY" ? std::optional<std::string>("SQL, MDY")
                                                 : std::nullopt;
  }
  if (name == "role") {
    static const std::set<std::string> roles = {"none", "u", "v", "r0", "r1", "r2"};
    return roles.contains(value) ? std::optional(value) : std::nullopt;
  }
  return value;
}

Answer done(std::string_view tag) {
  return {.sqlstate = {}, .row = {}, .tag = std::string(tag)};
}

Answer failed(std::string_view sqlstate) {
  return {.sqlstate = std::string(sqlstate), .row = {}, .tag = {}};
}

}  // namespace

std::vector<std::string> Answer::tokens() const {
  if (!sqlstate.empty()) return {"E:" + sqlstate};
  std::vector<std::string> tokens;
  if (!row.empty()) tokens.push_back("D:" + row.front().value_or(""));
  tokens.push_back("C:" + tag);
  return tokens;
}

const NameMap& Session::defaults() {
  static const NameMap defaults = {
      {"application_name", ""},  {"client_encoding", "UTF8"},
      {"DateStyle", "ISO, MDY"}, {"standard_conforming_strings", "on"},
      {"TimeZone", "UTC"},       {"server_version", "15.9"},
      {"is_superuser", "off"},   {"statement_timeout", "0"},
      {"search_path", "public"}, {"work_mem", "4MB"},
      {"role", "none"},          {"session_authorization", "postgres"},
      {"array_nulls", "on"},     {"transform_null_equals", "off"},
      {"lc_monetary", "C"},      {"timezone_abbreviations", "Default"},
      {"xmloption", "content"},  {"backslash_quote", "safe_encoding"},
      {"in_hot_standby", "off"}, {"default_transaction_read_only", "off"},
  };
  return defaults;
}

std::string Session::startup_error(const NameMap& startup) {
  for (const auto& [name, value] : startup) {
    const std::string known = spelling(name);
    if (!is_custom(known) && !defaults().contains(known)) return "42704";
    if (!canonical(known, value)) return "22023";
  }
  return {};
}

Session::Session(Cluster& cluster, const std::string& user, const NameMap& startup)
    : cluster_(cluster), startup_(defaults()) {
  for (const auto& [name, value] : startup) {
    const std::string known = spelling(name);
    startup_[known] = canonical(known, value).value_or(value);
  }
  startup_["session_authorization"] = user;
}

void Session::begin() {
  if (before_) return;
  now_.new_cursors.clear();
  before_ = now_;
}

void Session::commit() {
  now_.local.clear();
  for (const std::string& name : now_.tables_to_drop) now_.tables.erase(name);
  now_.tables_to_drop.clear();
  for (const auto& [is_begun, channel] : now_.listens) {
    if (is_begun) now_.channels.insert(channel);
    if (!is_begun && channel == "*") now_.channels.clear();
    if (!is_begun) now_.channels.erase(channel);
  }
  now_.listens.clear();
  for (const std::string& key : std::exchange(now_.locks, {})) release_if_free(key);
  before_.reset();
  savepoints_.clear();
}

/// What is only in memory (session locks, statements, sequences, closed cursors) stays as it is.
void Session::roll_back_to(const Undoable& before) {
  for (const std::string& name : now_.new_cursors) {
    if (!before.new_cursors.contains(name)) cursors_.erase(name);
  }
  const std::set<std::string> locks = std::exchange(now_, before).locks;
  for (const std::string& key : locks) release_if_free(key);
}

void Session::roll_back() {
  if (before_) roll_back_to(*before_);
  before_.reset();
  savepoints_.clear();
}

Answer Session::savepoint(Tokens& text, std::string_view word) {
  if (word == "savepoint") {
    savepoints_.emplace_back(text.next(), now_);
    return done("SAVEPOINT");
  }
  text.take("savepoint");
  const std::string name = text.next();
  while (!savepoints_.empty() && savepoints_.back().first != name) savepoints_.pop_back();
  if (savepoints_.empty()) return failed("3B001");
  if (word == "rollback") {
    const Undoable before = savepoints_.back().second;
    roll_back_to(before);
    return done("ROLLBACK");
  }
  savepoints_.pop_back();
  return done("RELEASE");
}

std::optional<Answer> Session::run(std::string_view text) {
  // What is asked at the login to a primary; here every server is one.
  if (text.starts_with("SELECT CASE WHEN pg_catalog.pg_is_in_recovery()")) {
    return Answer{.sqlstate = {}, .row = {{"0"}}, .tag = "SELECT 1"};
  }
  Tokens tokens(text);
  const std::string word = tokens.next();
  if (word == "set") return set_statement(tokens);
  if (word == "reset") return reset_statement(tokens);
  if (word == "discard") return discard(tokens);
  if (word == "savepoint" || word == "release") return savepoint(tokens, word);
  if (word == "rollback" && tokens.take("to")) return savepoint(tokens, word);
  if (word == "show") {
    const auto value = setting(tokens.next());
    if (!value) return failed("42704");
    return Answer{.sqlstate = {}, .row = {*value}, .tag = "SHOW"};
  }
  if (word == "select") return select(tokens);
  return run_object(word, tokens);
}

Answer Session::set_statement(Tokens& text) {
  const bool is_local = text.take("local");
  if (!is_local) text.take("session");
  if (text.take({"authorization", "default"})) {
    reset("role");
    reset("session_authorization");
    return done("SET");
  }
  std::string name = text.next();
  if (name == "time" && text.take("zone")) name = "timezone";
  // SET ROLE and SET TIME ZONE have nothing between name and value.
  if (!text.take("=")) text.take("to");
  if (text.peek() == "default" && name != "role") {
    // SET LOCAL … TO DEFAULT hides the value for this transaction only.
    if (is_local) {
      const auto standard = startup_.find(spelling(name));
      return assign(name, standard != startup_.end() ? standard->second : "", true);
    }
    reset(spelling(name));
    return done("SET");
  }
  std::string value = text.next();
  while (text.take(",")) value += ", " + text.next();
  return assign(name, value, is_local);
}

Answer Session::assign(const std::string& name, const std::string& value, bool is_local) {
  const std::string known = spelling(name);
  if (is_custom(known)) {
    customs_.insert(known);
  } else if (!defaults().contains(known)) {
    return failed("42704");
  }
  const auto accepted = canonical(known, value);
  if (!accepted) return failed("22023");
  now_.local.erase(known);
  (is_local ? now_.local : now_.set)[known] = *accepted;
  return done("SET");
}

Answer Session::reset_statement(Tokens& text) {
  if (text.take("all")) {
    reset_all();
  } else if (text.take({"session", "authorization"})) {
    reset("role");
    reset("session_authorization");
  } else {
    const std::string name = text.take({"time", "zone"}) ? "timezone" : text.next();
    const std::string known = spelling(name);
    if (is_custom(known)) {
      customs_.insert(known);
    } else if (!defaults().contains(known)) {
      return failed("42704");
    }
    reset(known);
  }
  return done("RESET");
}

void Session::reset(const std::string& name) {
  now_.set.erase(name);
  now_.local.erase(name);
}

void Session::reset_all() {
  std::erase_if(now_.set, [](const auto& entry) { return !is_identity(entry.first); });
  std::erase_if(now_.local, [](const auto& entry) { return !is_identity(entry.first); });
}

Answer Session::discard(Tokens& text) {
  const std::string what = text.next();
  if (what == "all") {
    forget_session();
    return done("DISCARD ALL");
  }
  if (what == "temp" || what == "temporary") {
    now_.tables.clear();
    return done("DISCARD TEMP");
  }
  if (what == "sequences") {
    drawn_.clear();
    last_value_.reset();
    return done("DISCARD SEQUENCES");
  }
  return done("DISCARD PLANS");
}

/// DISCARD ALL. The seed of random() and names of custom settings stay.
void Session::forget_session() {
  now_.set.clear();
  now_.local.clear();
  now_.tables.clear();
  now_.listens.emplace_back(false, "*");
  cursors_.clear();
  statements_.clear();
  release_locks();
  drawn_.clear();
  last_value_.reset();
}

/// `set_config(name, value, is_local) [, …]`, from behind the first parenthesis.
std::optional<Answer> Session::set_config(Tokens& text) {
  Answer answer = done("SELECT 1");
  do {
    const std::string name = text.next();
    text.take(",");
    std::string value = text.next();
    if (value == "(") {  // SELECT s.reset_val FROM pg_catalog.pg_settings s WHERE … = name
      value = startup_[spelling(name)];
      text.skip_to(name);
      text.take(")");
    }
    text.take(",");
    const Answer one = assign(name, value, text.next() == "true");
    if (!one.sqlstate.empty()) return one;
    answer.row.push_back(*setting(name));
  } while (text.skip_to("pg_catalog.set_config") && text.take("("));
  return answer;
}

/// `current_setting(name [, true]) [, …]`, from behind the first parenthesis.
Answer Session::current_setting(Tokens& text) {
  Answer answer = done("SELECT 1");
  do {
    const auto value = setting(text.next());
    if (!value && !text.take({",", "true"})) return failed("42704");
    answer.row.push_back(value);
  } while (text.skip_to("pg_catalog.current_setting") && text.take("("));
  return answer;
}

std::optional<std::string> Session::setting(const std::string& name) const {
  const std::string known = spelling(name);
  for (const NameMap* place : {&now_.local, &now_.set, &startup_}) {
    const auto at = place->find(known);
    if (at != place->end()) return at->second;
  }
  return customs_.contains(known) ? std::optional<std::string>("") : std::nullopt;
}

std::vector<std::pair<std::string, std::string>> Session::settings_of_session() const {
  std::vector<std::pair<std::string, std::string>> result;
  for (const auto& [name, standard] : defaults()) {
    if (is_identity(name) || !(now_.set.contains(name) || now_.local.contains(name))) continue;
    result.emplace_back(name, *setting(name));
  }
  return result;
}

NameMap Session::reported() const {
  NameMap values;
  for (const char* name :
       {"application_name", "client_encoding", "DateStyle", "standard_conforming_strings",
        "session_authorization", "TimeZone", "is_superuser", "server_version", "in_hot_standby",
        "default_transaction_read_only"}) {
    values[name] = *setting(name);
  }
  return values;
}

}  // namespace pgproxy::sim
