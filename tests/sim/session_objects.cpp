// What a session holds besides settings: temporary tables, channels, cursors, statements, locks,
// values of sequences.
#include <algorithm>
#include <utility>

#include "session.hpp"

namespace pgproxy::sim {
namespace {

Answer done(std::string_view tag) {
  return {.sqlstate = {}, .row = {}, .tag = std::string(tag)};
}

Answer failed(std::string_view sqlstate) {
  return {.sqlstate = std::string(sqlstate), .row = {}, .tag = {}};
}

Answer value(std::string_view text, std::string_view tag = "SELECT 1") {
  return {.sqlstate = {}, .row = {std::string(text)}, .tag = std::string(tag)};
}

std::string_view without_schema(std::string_view name) {
  for (const std::string_view schema : {"pg_catalog.", "public."}) {
    if (name.starts_with(schema)) return name.substr(schema.size());
  }
  return name;
}

std::string keys_of(const auto& map) {
  std::string text;
  for (const auto& [key, held] : map) text += " " + key;
  return text;
}

/// The constant of a statement's `select '…'`.
std::string selected(Tokens& text) {
  return text.skip_to("select") ? text.next() : std::string{};
}

}  // namespace

std::string label_of(std::string_view text) {
  Tokens tokens(text);
  return selected(tokens);
}

std::optional<std::string> volatile_source(std::string_view name) {
  if (name == "leave_lock") return "select pg_advisory_lock($1)";
  if (name == "set_tenant") return "begin perform set_config('app.tenant', $1, false); end";
  if (name == "note") return "select $1";
  return std::nullopt;
}

std::optional<Answer> Session::select(Tokens& text) {
  const std::string first = text.next();
  if (text.take("(")) return call_function(without_schema(first), text);
  if (first != "t" || !text.take("from")) return std::nullopt;
  const auto table = now_.tables.find(text.next());
  return table != now_.tables.end() ? value(table->second) : failed("42P01");
}

std::optional<Answer> Session::call_function(std::string_view name, Tokens& text) {
  if (name == "set_config") return set_config(text);
  if (name == "current_setting") return current_setting(text);
  if (name == "count" && text.take({"*", ")", "from"})) {
    const std::string what = text.next();
    if (what == "pg_listening_channels") return value(std::to_string(now_.channels.size()));
    if (what == "pg_prepared_statements") return value(std::to_string(statements_.size()));
    if (what != "pg_locks") return std::nullopt;
    std::set<std::string> keys = now_.locks;
    for (const auto& [key, count] : locks_) keys.insert(key);
    return value(std::to_string(keys.size()));
  }
  if (name == "setseed") {
    seed_ = text.next();
    return value("");
  }
  if (auto answer = lock_function(name, text)) return answer;
  if (auto answer = sequence_function(name, text)) return answer;
  return own_function(name, text);
}

std::optional<Answer> Session::lock_function(std::string_view name, Tokens& text) {
  if (name == "pg_advisory_unlock_all") {
    release_locks();
    return value("");
  }
  if (name.find("advisory") == std::string_view::npos) return std::nullopt;
  const std::string key = text.next();
  if (name == "pg_advisory_unlock") return value(unlock(key) ? "t" : "f");
  const bool is_session = name.find("xact") == std::string_view::npos;
  const bool is_held = lock(key, is_session ? LockLife::session : LockLife::transaction);
  if (name.starts_with("pg_try")) return value(is_held ? "t" : "f");
  return is_held ? value("") : failed("55P03");
}

std::optional<Answer> Session::sequence_function(std::string_view name, Tokens& text) {
  if (name == "nextval") {
    const std::string sequence = text.next();
    last_value_ = drawn_[sequence] = ++cluster_.sequences[sequence];
    return value(std::to_string(*last_value_));
  }
  if (name == "lastval") {
    return last_value_ ? value(std::to_string(*last_value_)) : failed("55000");
  }
  if (name != "currval") return std::nullopt;
  const auto drawn = drawn_.find(text.next());
  return drawn != drawn_.end() ? value(std::to_string(drawn->second)) : failed("55000");
}

/// Functions of the cluster's users.
std::optional<Answer> Session::own_function(std::string_view name, Tokens& text) {
  if (name == "leave_lock") {
    return lock(text.next(), LockLife::session) ? value("") : failed("55P03");
  }
  if (name == "set_tenant") {
    assign("app.tenant", text.next(), false);
    return value("");
  }
  if (name == "note") return value(text.next());
  return std::nullopt;
}

std::optional<Answer> Session::run_object(std::string_view word, Tokens& text) {
  if (word == "listen" || word == "unlisten") return listen(word, text);
  if (word == "declare" || word == "fetch" || word == "close") return cursor(word, text);
  if (word == "prepare" || word == "execute" || word == "deallocate") return prepared(word, text);
  if (word == "do") return run_block(text);
  if (word == "drop" && text.take("table")) return drop_table(text);
  if (word != "create") return std::nullopt;
  if (text.take({"temp", "table"}) || text.take({"temporary", "table"})) return create_table(text);
  return std::nullopt;
}

Answer Session::create_table(Tokens& text) {
  const std::string name = text.next();
  if (now_.tables.contains(name)) return failed("42P07");
  if (text.take({"on", "commit", "drop"})) now_.tables_to_drop.insert(name);
  const bool is_filled = text.take("as");
  now_.tables[name] = is_filled ? selected(text) : std::string{};
  return done(is_filled ? "SELECT 1" : "CREATE TABLE");
}

Answer Session::drop_table(Tokens& text) {
  const bool may_be_absent = text.take({"if", "exists"});
  const std::string name = text.next();
  now_.tables_to_drop.erase(name);
  const bool was_there = now_.tables.erase(name) > 0;
  return was_there || may_be_absent ? done("DROP TABLE") : failed("42P01");
}

Answer Session::listen(std::string_view word, Tokens& text) {
  const bool is_begun = word == "listen";
  now_.listens.emplace_back(is_begun, text.next());
  return done(is_begun ? "LISTEN" : "UNLISTEN");
}

std::optional<Answer> Session::cursor(std::string_view word, Tokens& text) {
  if (word == "declare") {
    const std::string name = text.next();
    if (!text.skip_to("hold")) return std::nullopt;
    if (cursors_.contains(name)) return failed("42P03");
    cursors_[name] = selected(text);
    now_.new_cursors.insert(name);
    return done("DECLARE CURSOR");
  }
  if (word == "fetch") {
    text.take({"first", "from"});
    const auto cursor = cursors_.find(text.next());
    return cursor != cursors_.end() ? value(cursor->second, "FETCH 1") : failed("34000");
  }
  if (text.take("all")) {
    cursors_.clear();
    return done("CLOSE CURSOR ALL");
  }
  return cursors_.erase(text.next()) > 0 ? done("CLOSE CURSOR") : failed("34000");
}

Answer Session::prepared(std::string_view word, Tokens& text) {
  if (word == "prepare") {
    const std::string name = text.next();
    if (statements_.contains(name)) return failed("42P05");
    statements_[name] = {.text = selected(text), .from_sql = true};
    return done("PREPARE");
  }
  if (word == "execute") return execute(text);
  text.take("prepare");
  if (text.take("all")) {
    statements_.clear();
    return done("DEALLOCATE ALL");
  }
  return statements_.erase(text.next()) > 0 ? done("DEALLOCATE") : failed("26000");
}

/// EXECUTE: those by PREPARE have no parameter, those by Parse have one.
Answer Session::execute(Tokens& text) {
  const std::string name = text.next();
  revalidate(name);
  const Prepared* found = statement(name);
  if (found == nullptr) return failed("26000");
  const bool has_argument = text.take("(");
  if (has_argument == found->from_sql) return failed("42601");
  if (found->from_sql) return value(found->text);
  if (found->text.starts_with("select 1/0")) return failed("22012");
  return value(label_of(found->text) + "|" + found->shown(text.next()));
}

const Prepared* Session::statement(const std::string& name) const {
  const auto at = statements_.find(name);
  return at != statements_.end() ? &at->second : nullptr;
}

/// RevalidateCachedQuery in PostgreSQL's plancache.c reads a text anew when search_path is another
/// one than at the last time.
void Session::revalidate(const std::string& name) {
  const auto at = statements_.find(name);
  if (at == statements_.end()) return;
  if (!at->second.read_under.ends_with("/" + *setting("search_path"))) {
    at->second.read_under = parse_settings();
  }
}

std::string Session::parse(const std::string& name, const std::string& text) {
  const Prepared parsed{.text = text,
                        .from_sql = false,
                        .parsed_under = parse_settings(),
                        .read_under = parse_settings(),
                        .table_version = cluster_.table_version};
  return statements_.emplace(name, parsed).second ? "" : "42P05";
}

std::string Session::parse_settings() const {
  return *setting("DateStyle") + "/" + *setting("search_path");
}

bool Session::is_stale(const Prepared& statement) const {
  return statement.text.starts_with("select 'changing") &&
         statement.table_version != cluster_.table_version;
}

std::size_t Session::statement_count(bool from_sql) const {
  return static_cast<std::size_t>(std::ranges::count_if(
      statements_, [&](const auto& entry) { return entry.second.from_sql == from_sql; }));
}

NameMap Session::sql_statements() const {
  NameMap result;
  for (const auto& [name, statement] : statements_) {
    if (statement.from_sql) result[name] = statement.text;
  }
  return result;
}

/// One that `wanted` has and we have not is missed by the client itself, which may have closed it.
bool Session::has_no_strange_statement(const Session& wanted) const {
  const NameMap right = wanted.sql_statements();
  return std::ranges::all_of(sql_statements(), [&](const auto& entry) {
    const auto at = right.find(entry.first);
    return at != right.end() && at->second == entry.second;
  });
}

/// A DO block with one PERFORM in it.
std::optional<Answer> Session::run_block(Tokens& text) {
  Tokens body(text.next());
  if (!body.skip_to("perform")) return std::nullopt;
  auto answer = select(body);
  if (!answer || !answer->sqlstate.empty()) return answer;
  return done("DO");
}

bool Session::lock(const std::string& key, LockLife life) {
  const auto [holder, is_new] = cluster_.locks.emplace(key, this);
  if (holder->second != this) return false;
  if (life == LockLife::session) ++locks_[key];
  if (life == LockLife::transaction) now_.locks.insert(key);
  return true;
}

bool Session::unlock(const std::string& key) {
  const auto held = locks_.find(key);
  if (held == locks_.end()) return false;
  if (--held->second == 0) locks_.erase(held);
  release_if_free(key);
  return true;
}

void Session::release_if_free(const std::string& key) {
  if (!locks_.contains(key) && !now_.locks.contains(key)) cluster_.locks.erase(key);
}

void Session::end() {
  release_locks();
  roll_back();
}

void Session::release_locks() {
  for (const auto& [key, count] : std::exchange(locks_, {})) release_if_free(key);
}

std::string Session::objects() const {
  std::string text;
  const auto name = [&](std::string_view what, const std::string& keys) {
    if (!keys.empty()) text += (text.empty() ? "" : "; ") + std::string(what) + ":" + keys;
  };
  name("temporary tables", keys_of(now_.tables));
  std::string channels;
  for (const std::string& channel : now_.channels) channels += " " + channel;
  name("channels", channels);
  name("cursors", keys_of(cursors_));
  name("statements", keys_of(sql_statements()));
  name("advisory locks", keys_of(locks_));
  if (!seed_.empty()) name("seed", " " + seed_);
  return text;
}

std::string Session::difference(const Session& wanted) const {
  std::set<std::string> names = customs_;
  names.insert(wanted.customs_.begin(), wanted.customs_.end());
  for (const Session* session : {this, &wanted}) {
    for (const auto& [name, value] : session->startup_) names.insert(name);
  }
  for (const std::string& name : names) {
    const std::string found = setting(name).value_or("");
    const std::string right = wanted.setting(name).value_or("");
    // Connections to a standby are read-only by default, whatever the client wants.
    const bool is_of_standby = name == "default_transaction_read_only" && startup_.at(name) == "on";
    if (name == "in_hot_standby" || is_of_standby) continue;
    if (found != right) return name + " = '" + found + "' instead of '" + right + "'";
  }
  const bool is_same = now_.tables == wanted.now_.tables && now_.channels == wanted.now_.channels &&
                       cursors_ == wanted.cursors_ && has_no_strange_statement(wanted) &&
                       locks_ == wanted.locks_ && seed_ == wanted.seed_;
  return is_same ? "" : "[" + objects() + "] instead of [" + wanted.objects() + "]";
}

}  // namespace pgproxy::sim
