// What the model's backends do with the text of statements.
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <utility>

#include "postgres.hpp"

#include "pgproxy/wire/message.hpp"

namespace pgproxy::sim {
namespace {

/// The text between the first pair of `quote`s at or after `at`; moves `at` behind it.
std::string quoted(const std::string& text, std::size_t& at, char quote) {
  const std::size_t begin = text.find(quote, at);
  if (begin == std::string::npos) return {};
  const std::size_t end = text.find(quote, begin + 1);
  at = end + 1;
  return text.substr(begin + 1, end - begin - 1);
}

std::size_t tag_position(std::string_view text) {
  for (std::size_t at = text.find('c'); at != std::string_view::npos; at = text.find('c', at + 1)) {
    std::size_t end = at + 1;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
    if (end > at + 1 && end < text.size() && text[end] == '.') return at;
  }
  return std::string_view::npos;
}

std::string same_spelling(const NameMap& settings, const std::string& name) {
  for (const auto& [known, value] : settings) {
    const bool same = std::ranges::equal(known, name, [](char a, char b) {
      return std::tolower(static_cast<unsigned char>(a)) ==
             std::tolower(static_cast<unsigned char>(b));
    });
    if (same) return known;
  }
  return name;
}

}  // namespace

unsigned owner_of(std::string_view text) {
  const std::size_t at = tag_position(text);
  if (at == std::string_view::npos) return 0;
  return static_cast<unsigned>(std::strtoul(std::string(text.substr(at + 1)).c_str(), nullptr, 10));
}

std::string tag_of(std::string_view text) {
  const std::size_t at = tag_position(text);
  if (at == std::string_view::npos) return {};
  std::size_t end = text.find('.', at) + 1;
  while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
  return std::string(text.substr(at, end - at));
}

/// Runs what is left of a Query, up to what takes its time.
void Backend::on_simple() {
  if (status_ == 'I') begin_if_needed();
  while (!statements_.empty()) {
    const std::string text = statements_.front();
    statements_.erase(statements_.begin());
    const Outcome outcome = execute(text, {}, true);
    if (outcome == Outcome::sleeping || outcome == Outcome::copying) return;
  }
  on_sync();
}

void Backend::begin_if_needed() {
  if (status_ != 'I') return;
  status_ = 'T';
  is_implicit_ = true;
  at_begin_ = settings_;
  after_commit_.clear();
}

/// Everything that must hold when a statement of a client is about to run here.
void Backend::check_owner(const std::string& text, const std::string& parameter) {
  history_.push_back(text);
  const unsigned owner = owner_of(text) != 0 ? owner_of(text) : owner_of(parameter);
  if (owner == 0) return;
  if (transaction_owner_ != 0 && transaction_owner_ != owner) {
    violation("statement " + text + " ran in the transaction of " +
              std::to_string(transaction_owner_));
  }
  transaction_owner_ = owner;
  if (!residue_.empty() && residue_owner_ != owner) {
    violation(text + " found what another client left: " + residue_.front());
  }
  if (!residue_.empty()) return;
  NameMap wanted = session_defaults_;
  for (const auto& [name, value] : postgres_.settings_of(owner)) wanted[name] = value;
  for (const auto& [name, value] : wanted) {
    if (name == "work_mem" || after_commit_.contains(name) || settings_[name] == value) continue;
    violation(text + " ran with " + name + " = " + settings_[name] + " instead of " + value);
  }
}

Backend::Outcome Backend::execute(const std::string& text, const std::string& parameter,
                                  bool is_simple) {
  check_owner(text, parameter);
  begin_if_needed();
  if (text.empty()) {
    put('I');
    return Outcome::done;
  }
  const bool ends =
      text.starts_with("commit") || text.starts_with("rollback") || text == "ROLLBACK";
  if (status_ == 'E' && !ends) {
    error("25P02", "current transaction is aborted", is_simple);
    return Outcome::failed;
  }
  if (text.starts_with("select '") || text.starts_with("select repeat") ||
      text.starts_with("select 1/0") || text.starts_with("select pg_sleep") ||
      text.starts_with("show")) {
    return select(text, parameter, is_simple);
  }
  if (change_session(text)) return Outcome::done;
  return control(text, is_simple);
}

Backend::Outcome Backend::select(const std::string& text, const std::string& parameter,
                                 bool is_simple) {
  std::size_t at = 0;
  const std::string tag =
      text.starts_with("select 'shared") ? quoted(text, at, '\'') : tag_of(text);
  if (text.starts_with("select 1/0")) {
    error("22012", "division by zero, " + tag, is_simple);
    return Outcome::failed;
  }
  if (text.starts_with("select pg_sleep")) {
    sleep_ = Sleep{tag, is_simple};
    const Duration length(1000L * std::atoi(text.c_str() + sizeof("select pg_sleep")));
    postgres_.loop_.after(length, [this, number = ++sleep_number_] {
      if (sleep_ && number == sleep_number_) finish_sleep(false);
    });
    return Outcome::sleeping;
  }
  if (text.starts_with("show")) {
    row(settings_[text.substr(5, text.find(' ', 5) - 5)], is_simple);
    complete("SHOW");
    return Outcome::done;
  }
  const bool is_big = text.starts_with("select repeat");
  const auto size = is_big ? static_cast<std::size_t>(std::atol(text.c_str() + 14)) : 0;
  row(tag + (parameter.empty() ? "" : "|" + parameter) + std::string(size, 'x'), is_simple);
  complete("SELECT 1");
  return Outcome::done;
}

void Backend::finish_sleep(bool was_cancelled) {
  const Sleep done = *std::exchange(sleep_, std::nullopt);
  if (was_cancelled) {
    error("57014", "canceling statement due to user request", done.is_simple);
  } else {
    row(done.tag, done.is_simple);
    complete("SELECT 1");
  }
  if (done.is_simple) on_simple();
  on_bytes({});
}

/// What stays with the session: true when `text` was that.
bool Backend::change_session(const std::string& text) {
  const auto leave = [&](const std::string& what, std::string_view tag) {
    residue_.push_back(what);
    residue_owner_ = owner_of(text);
    complete(tag);
    return true;
  };
  if (text.starts_with("create temp table")) return leave(text, "CREATE TABLE");
  if (text.starts_with("listen")) return leave(text, "LISTEN");
  if (text.starts_with("select pg_advisory_lock")) {
    row({}, true);
    return leave(text, "SELECT 1");
  }
  if (text.starts_with("set ")) {
    const bool is_local = text.starts_with("set local ");
    std::size_t at = is_local ? 10 : 4;
    const std::string name = text.substr(at, text.find(' ', at) - at);
    set(name, quoted(text, at, '\''), is_local);
    if (!is_local) return leave(text, "SET");
    complete("SET");
    return true;
  }
  if (text.starts_with("RESET ")) {
    std::string name = text.substr(6);
    std::erase(name, '"');
    if (name.ends_with(';')) name.pop_back();
    reset(same_spelling(settings_, name));
    complete("RESET");
    return true;
  }
  if (text.starts_with("SELECT pg_catalog.set_config")) return set_pairs(text);
  if (text == "DISCARD SEQUENCES") {
    complete(text);
    return true;
  }
  if (text.starts_with("deallocate all")) {
    named_.clear();
    std::erase_if(residue_, [](const auto& what) { return what.starts_with("statement "); });
    complete("DEALLOCATE ALL");
    return true;
  }
  if (text != "DISCARD ALL") return false;
  for (const auto& [name, value] : session_defaults_) {
    if (std::exchange(settings_[name], value) != value) report(name);
  }
  at_begin_ = settings_;
  after_commit_.clear();
  residue_.clear();
  named_.clear();
  complete("DISCARD ALL");
  return true;
}

bool Backend::set_pairs(const std::string& text) {
  std::size_t at = 0;
  while (text.find("set_config", at) != std::string::npos) {
    const std::string name = quoted(text, at, '\'');
    set(same_spelling(settings_, name), quoted(text, at, '\''), false);
  }
  row({}, true);
  complete("SELECT 1");
  return true;
}

Backend::Outcome Backend::control(const std::string& text, bool is_simple) {
  if (text.starts_with("begin")) {
    is_implicit_ = false;
    complete("BEGIN");
  } else if (text.starts_with("commit")) {
    const bool was_failed = status_ == 'E';
    if (was_failed) roll_back();
    if (!was_failed && !commit()) {
      is_implicit_ = false;
      error("23505", "deferred constraint", is_simple);
      return Outcome::failed;
    }
    is_implicit_ = false;
    complete(was_failed ? "ROLLBACK" : "COMMIT");
  } else if (text.starts_with("rollback") || text == "ROLLBACK") {
    roll_back();
    is_implicit_ = false;
    complete("ROLLBACK");
  } else if (text.starts_with("insert")) {
    has_deferred_error_ = text.find("deferred") != std::string::npos;
    complete("INSERT 0 1");
  } else if (text.starts_with("copy t from stdin")) {
    put('G', {"\0\0\0", 3});
    copy_in_ = is_simple;
    return Outcome::copying;
  } else if (text.starts_with("copy t to stdout")) {
    put('H', {"\0\0\0", 3});
    for (int line = 0; line < 3; ++line) put('d', tag_of(text));
    put('c');
    complete("COPY 3");
  } else {
    error("42601", "syntax error at: " + text, is_simple);
    return Outcome::failed;
  }
  return Outcome::done;
}

/// False: it failed, and the transaction is rolled back.
bool Backend::commit() {
  if (has_deferred_error_) {
    roll_back();
    return false;
  }
  for (const auto& [name, value] : after_commit_) {
    if (std::exchange(settings_[name], value) != value) report(name);
  }
  after_commit_.clear();
  portals_.clear();
  status_ = 'I';
  return true;
}

void Backend::roll_back() {
  if (status_ != 'I') {
    for (const auto& [name, value] : at_begin_) {
      if (std::exchange(settings_[name], value) != value) report(name);
    }
  }
  has_deferred_error_ = false;
  after_commit_.clear();
  portals_.clear();
  status_ = 'I';
}

void Backend::set(const std::string& name, const std::string& value, bool is_local) {
  if (is_local) after_commit_.emplace(name, settings_[name]);
  if (!is_local) after_commit_.erase(name);
  const std::string canonical = name == "DateStyle" && value == "iso" ? "ISO, MDY" : value;
  if (std::exchange(settings_[name], canonical) != canonical) report(name);
}

void Backend::reset(const std::string& name) {
  const auto at = session_defaults_.find(name);
  set(name, at != session_defaults_.end() ? at->second : "", false);
}

}  // namespace pgproxy::sim
