// What the model's backends do with the text of statements.
#include <cstdlib>
#include <utility>

#include "postgres.hpp"

#include "pgproxy/wire/message.hpp"

namespace pgproxy::sim {
namespace {

std::size_t tag_position(std::string_view text) {
  for (std::size_t at = text.find('c'); at != std::string_view::npos; at = text.find('c', at + 1)) {
    std::size_t end = at + 1;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
    if (end > at + 1 && end < text.size() && text[end] == '.') return at;
  }
  return std::string_view::npos;
}

bool ends_transaction(std::string_view text) {
  return text.starts_with("commit") || text.starts_with("rollback") || text == "ROLLBACK";
}

std::string joined(const Answer& answer) {
  std::string text;
  for (const std::string& token : answer.tokens()) text += (text.empty() ? "" : " ") + token;
  return text;
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
  begin_if_needed();
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
  is_read_only_ = begins_by_default_read_only();
  is_begun_read_only_ = false;
  has_written_ = false;
  session_->begin();
}

/// What the client whose transaction this is would find in a session of its own; nullptr: it is
/// nobody's.
Session* Backend::reference() {
  const auto at = postgres_.references_.find(transaction_owner_);
  return at != postgres_.references_.end() ? &at->second.session : nullptr;
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
  const auto client = postgres_.references_.find(owner);
  if (client == postgres_.references_.end()) return;
  Session* wanted = &client->second.session;
  check_place(text, client->second);
  const std::string difference = session_->difference(*wanted);
  if (status_ != 'E' && !difference.empty()) violation(text + " found " + difference);
  wanted->begin();
}

Backend::Outcome Backend::execute(const std::string& text, const std::string& parameter,
                                  bool is_simple) {
  begin_if_needed();
  check_owner(text, parameter);
  if (text.empty()) {
    put('I');
    return Outcome::done;
  }
  if (status_ == 'E' && !ends_transaction(text)) {
    error("25P02", "current transaction is aborted", is_simple);
    return Outcome::failed;
  }
  if (text.starts_with("select '") || text.starts_with("select repeat") ||
      text.starts_with("select 1/0") || text.starts_with("select pg_sleep")) {
    return select(text, parameter, is_simple);
  }
  const bool asks_for_role = text.starts_with("SELECT CASE WHEN pg_catalog.pg_is_in_recovery()");
  if (asks_for_role && node_ != nullptr) return answer_role(text);
  if (const auto outcome = answer_question(text)) return *outcome;
  if (const auto outcome = run_in_session(text, is_simple)) return *outcome;
  return control(text, is_simple);
}

/// What depends on the session or stays with it; nullopt: `text` is not that.
std::optional<Backend::Outcome> Backend::run_in_session(const std::string& text, bool is_simple) {
  Tokens tokens(text);
  const bool discards_all = tokens.take({"discard", "all"});
  if (discards_all && !is_implicit_) {
    error("25001", "DISCARD ALL cannot run inside a transaction block", is_simple);
    return Outcome::failed;
  }
  const auto answer = session_->run(text);
  if (!answer) return std::nullopt;
  if (owner_of(text) != 0) run_in_reference(text, *answer);
  if (!answer->sqlstate.empty()) {
    error(answer->sqlstate, "no: " + text, is_simple);
    return Outcome::failed;
  }
  if (text.starts_with("rollback to")) status_ = 'T';
  if (!answer->row.empty()) row(answer->row, is_simple);
  complete(answer->tag);
  return Outcome::done;
}

/// The reference does not know the client's Parse messages: whether what names statements is
/// answered rightly is for the client to say.
void Backend::run_in_reference(const std::string& text, const Answer& answer) {
  Session* wanted = reference();
  if (wanted == nullptr) return;
  Tokens tokens(text);
  const bool prepares = tokens.take("prepare");
  const bool names_statements = prepares || tokens.take("execute") || tokens.take("deallocate") ||
                                text.find("pg_prepared_statements") != std::string::npos;
  if (names_statements && !answer.sqlstate.empty()) return;
  if (prepares) wanted->close(tokens.next());
  const auto right = wanted->run(text);
  if (names_statements && !prepares) return;
  if (!right || joined(*right) != joined(answer)) {
    violation(text + " answers " + joined(answer) + " instead of " + (right ? joined(*right) : ""));
  }
}

Backend::Outcome Backend::select(const std::string& text, const std::string& parameter,
                                 bool is_simple) {
  const std::string tag = text.starts_with("select '") ? label_of(text) : tag_of(text);
  if (text.starts_with("select 1/0")) {
    error("22012", "division by zero, " + tag, is_simple);
    return Outcome::failed;
  }
  if (text.starts_with("select pg_sleep")) {
    sleep_ = Sleep{.tag = tag, .is_simple = is_simple};
    const Duration length(1000L * std::atoi(text.c_str() + sizeof("select pg_sleep")));
    postgres_.loop_.after(length, [this, number = ++sleep_number_] {
      if (sleep_ && number == sleep_number_) finish_sleep(false);
    });
    return Outcome::sleeping;
  }
  const bool is_big = text.starts_with("select repeat");
  const auto size =
      is_big ? static_cast<std::size_t>(std::atol(text.c_str() + sizeof("select repeat('x',"))) : 0;
  row({tag + (parameter.empty() ? "" : "|" + parameter) + std::string(size, 'x')}, is_simple);
  complete("SELECT 1");
  return Outcome::done;
}

void Backend::finish_sleep(bool was_cancelled) {
  const Sleep done = *std::exchange(sleep_, std::nullopt);
  if (was_cancelled) {
    error("57014", "canceling statement due to user request", done.is_simple);
  } else if (done.is_question) {
    answer_objects();
  } else {
    row({done.tag}, done.is_simple);
    complete("SELECT 1");
  }
  if (done.is_simple) on_simple();
  on_bytes({});
}

Backend::Outcome Backend::control(const std::string& text, bool is_simple) {
  const bool writes = text.starts_with("insert") || text.starts_with("copy t from stdin");
  if (writes && is_read_only_) {
    error("25006", "cannot execute this in a read-only transaction", is_simple);
    return Outcome::failed;
  }
  has_written_ |= writes;
  if (text.starts_with("begin") || text.starts_with("start transaction")) {
    is_implicit_ = false;
    is_begun_read_only_ = begins_read_only(text);
    is_read_only_ |= is_begun_read_only_;
    complete(text.starts_with("begin") ? "BEGIN" : "START TRANSACTION");
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
  } else if (ends_transaction(text)) {
    roll_back();
    is_implicit_ = false;
    complete("ROLLBACK");
  } else if (text.starts_with("insert")) {
    has_deferred_error_ |= text.find("deferred") != std::string::npos;
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
  write_commit();
  session_->commit();
  if (Session* wanted = reference()) wanted->commit();
  portals_.clear();
  status_ = 'I';
  return true;
}

void Backend::roll_back() {
  session_->roll_back();
  if (Session* wanted = reference()) wanted->roll_back();
  has_deferred_error_ = false;
  portals_.clear();
  status_ = 'I';
}

}  // namespace pgproxy::sim
