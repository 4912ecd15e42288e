// What the literals of ClientSession's prepared statements mean. Parse analysis makes values of
// them, by the settings of that time, and the statement keeps these until PostgreSQL reads it anew
// because search_path is another one (plancache.c). On a server that gets a statement later, the
// Parse has to find the settings of the first time.
#include <algorithm>
#include <string>
#include <utility>

#include "session/client_session.hpp"
#include "session/prepared_statements.hpp"

#include "pgproxy/base/text.hpp"
#include "pgproxy/session/sessions.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::session {
namespace {

using pool::ReplyKind;
using sql::Residue;

/// Of a statement, a portal and a savepoint that are there for a moment.
constexpr std::string_view moment_name = "pgproxy_reading";

/// More names than are looked for may stand in a text.
constexpr std::size_t most_names = 32;

/// SAVEPOINT and RELEASE leave all settings as they are.
bool is_bracket(std::string_view word) {
  return word == "savepoint" || word == "release";
}

/// Only within a transaction block it succeeds, and that goes on behind it.
bool keeps_block(const sql::Facts& facts, std::string_view text) {
  if (facts.kind != sql::StatementKind::transaction) return false;
  if (text.contains("--") || text.contains("/*")) return false;  // they could hide what it is
  const std::string word = first_word(text);
  return is_bracket(word) || (word == "rollback" && contains_ignoring_case(text, " to "));
}

/// Which settings it changes its text may not tell.
bool has_unknown_names(const sql::Facts& facts, std::string_view text) {
  // set_config with a name that is no constant could create a temporary object later.
  if (facts.kind == sql::StatementKind::select) {
    return facts.leaves.contains(Residue::temporary_object);
  }
  return text.contains('$');
}

/// Nobody can tell another server how to read it.
Error unknown_reading() {
  return {
      .sqlstate = "0A000",
      .message =
          "a prepared statement is to be used on another server connection than the one that has "
          "read its literals",
      .detail =
          "It was prepared behind a change of settings that literals depend on, before the same "
          "Sync or in the same transaction: what they mean only that server knows. The client does "
          "not hold it (on_residue = error, max_pinned_fraction), it has dropped the statement "
          "(max_prepared_statements), or SQL is to find the statement under its own name.",
      .hint =
          "Prepare the statement again, with a Sync between such a change and its Parse; or give "
          "the literals as parameters; or set on_residue = pin.",
  };
}

}  // namespace

/// The statement at hand, about to be sent, may change settings. Of code that is not seen only what
/// its text names is thought of: what else it changed is known with the next ReadyForQuery.
void ClientSession::note_doubt(const sql::Facts& facts, sql::ResidueSet leaves,
                               std::string_view text, Bringer bringer) {
  if (facts.controls_transaction) note_transaction_control(facts, text);
  const sql::ResidueSet told = leaves & facts.leaves;
  const bool resets_all = std::ranges::find(facts.resets, "all") != facts.resets.end();
  const bool is_alone = facts.kind == sql::StatementKind::set && bringer == Bringer::query;
  unreported_in_doubt_ |= resets_all;
  if (resets_all || told.contains(Residue::any_setting)) doubt_everything();
  const bool runs_code = told.contains(Residue::code);
  settings_in_doubt_ |= runs_code;
  is_reading_changed_ |= runs_code;
  if (!facts.sets_locally && !told.contains(Residue::setting) && !runs_code) return;
  auto names = sql::settings_named(text, server_->session_state()->backslashes_are_plain());
  names.insert(names.end(), facts.settings.begin(), facts.settings.end());
  const bool is_incomplete =
      names.size() >= most_names || names.empty() || has_unknown_names(facts, text);
  if (is_incomplete && !runs_code) doubt_everything();
  for (const std::string& name : names) {
    const pool::ReadingRole role = pool::reading_role(name);
    settings_in_doubt_ |= role != pool::ReadingRole::harmless;
    const bool is_seen = role != pool::ReadingRole::unreported;
    if (!is_seen || role == pool::ReadingRole::search_path) doubt_reset();
    unreported_in_doubt_ |= !is_seen;
    path_in_doubt_ |= role == pool::ReadingRole::search_path;
    is_path_another_ |= role == pool::ReadingRole::search_path;
    if (role == pool::ReadingRole::reported || unreported_in_doubt_) doubt_literals();
  }
  is_doubt_bound_ |= literals_in_doubt_ && bringer == Bringer::bind;
  is_reset_sent_ |= resets_all && is_alone;
}

void ClientSession::doubt_everything() {
  doubt_reset();
  settings_in_doubt_ = path_in_doubt_ = true;
  doubt_literals();
}

/// The RESET ALL is no longer the last that happened to settings which nobody reports.
void ClientSession::doubt_reset() {
  if (!is_reset_sent_ && !is_at_startup_) return;
  is_reset_sent_ = is_at_startup_ = false;
  unreported_in_doubt_ = path_in_doubt_ = true;
  doubt_literals();
}

void ClientSession::doubt_literals() {
  literals_in_doubt_ = is_reading_changed_ = true;
  doubt_number_ = server_->expected().next_number();
}

/// The end of a transaction, or of a part of it, takes settings back, as far as it changed some.
void ClientSession::note_transaction_control(const sql::Facts& facts, std::string_view text) {
  if (!settings_in_doubt_) return;
  block_ = keeps_block(facts, text) ? Block::goes_on : Block::may_have_ended;
  doubt_number_ = server_->expected().next_number();
  const bool leaves_all = block_ == Block::goes_on && is_bracket(first_word(text));
  if (leaves_all) return;
  doubt_reset();
  if (is_reading_changed_) doubt_literals();
}

/// An Execute is sent: of a portal that was bound before the last Sync, perhaps.
void ClientSession::note_execute() {
  if (!is_doubt_bound_) return;
  is_doubt_bound_ = false;
  doubt_literals();
}

/// With ReadyForQuery the server has told of all changes that it reports.
void ClientSession::settle_doubt() {
  if (!literals_in_doubt_ && block_ == Block::as_told) return;
  if (!server_->expected().is_cycle_over(doubt_number_)) return;
  // An error would have failed the transaction, and its end be known as a change.
  if (is_reset_sent_ && server_->transaction_status() == wire::TransactionStatus::in_transaction) {
    is_reset_sent_ = unreported_in_doubt_ = path_in_doubt_ = is_path_another_ = false;
    is_at_startup_ = true;
  }
  literals_in_doubt_ = unreported_in_doubt_;
  block_ = Block::as_told;
}

/// Between transactions, when the session is known again.
void ClientSession::end_doubt() {
  if (!settings_in_doubt_) return;
  forget_doubt();
  if (prepared_ == nullptr) return;
  for (const PreparedStatements::ReadInDoubt& read : prepared_->take_read_in_doubt()) {
    server_->statements().mistrust(read.statement_number);
    if (!read.name.empty()) read_once_more(read.name, read.statement_number);
  }
}

/// PostgreSQL reads the statement anew when it is used again.
void ClientSession::read_once_more(std::string_view name, std::uint64_t statement_number) {
  const pool::StatementRef* found = prepared_->find(name);
  if (found == nullptr || *found == nullptr || (*found)->number() != statement_number) return;
  const pool::StatementRef& statement = *found;
  auto reading = std::make_shared<pool::Reading>(*statement->reading());
  reading->is_passing = true;
  auto again = pool_->statements().add_unshared(statement->definition(), std::move(reading));
  again->set_known(statement->known());
  prepared_->replace(name, std::move(again));
}

void ClientSession::forget_doubt() {
  settings_in_doubt_ = literals_in_doubt_ = unreported_in_doubt_ = path_in_doubt_ = false;
  is_path_another_ = is_reading_changed_ = is_doubt_bound_ = false;
  is_reset_sent_ = is_at_startup_ = false;
  block_ = Block::as_told;
}

/// By what the server reads a text that is parsed now; nullptr: it does not matter.
pool::ReadingRef ClientSession::reading_now(std::string_view text) {
  if (!sql::keeps_literals(text)) return nullptr;
  settle_doubt();
  pool::ReadingRef now = current_reading();
  if (!literals_in_doubt_) return now;
  auto unknown = std::make_shared<pool::Reading>(*now);
  unknown->is_unknown = true;
  return unknown;
}

/// Behind a RESET ALL the client's own settings at startup, and what the server has reported since.
pool::ReadingRef ClientSession::server_reading() const {
  const pool::StateRef& state = server_->session_state();
  if (!is_at_startup_) return state->reading();
  return pool_->context().states.merged(state, startup_state_)->reading();
}

/// Under a search_path of one transaction it is read for that transaction only.
pool::ReadingRef ClientSession::current_reading() const {
  pool::ReadingRef now = server_reading();
  if (!is_path_another_) return now;
  auto passing = std::make_shared<pool::Reading>(*now);
  passing->is_passing = true;
  return passing;
}

/// False: by what the server will read such a text is known when it has answered.
bool ClientSession::is_reading_certain(std::string_view text) {
  settle_doubt();
  return !literals_in_doubt_ || server_->expected().is_status_known() || !sql::keeps_literals(text);
}

/// How a Parse finds the settings that it has to find.
ClientSession::Recovery ClientSession::recovery_of(const pool::ReadingRef& reading) {
  settle_doubt();
  if (reading == nullptr) return Recovery::none;
  if (reading->is_unknown) return Recovery::impossible;
  const pool::ReadingRef there = server_reading();
  const pool::Reading& now = *there;
  if (reading->is_passing) return Recovery::none;
  if (!path_in_doubt_ && now.search_path != reading->search_path) return Recovery::none;
  const bool differs = !pool::reads_alike(now, *reading);
  if (!literals_in_doubt_ && !differs) return Recovery::none;
  if (!literals_in_doubt_ && !path_in_doubt_) return Recovery::by_value;
  switch (block_) {
    case Block::as_told: break;
    case Block::goes_on: return Recovery::by_savepoint;
    case Block::may_have_ended: return Recovery::impossible;
  }
  switch (server_->transaction_status()) {
    case wire::TransactionStatus::idle: return Recovery::impossible;
    case wire::TransactionStatus::in_transaction: return Recovery::by_savepoint;
    case wire::TransactionStatus::failed: return Recovery::none;  // the server refuses it
  }
  std::unreachable();
}

/// False: it will be known when the server has answered.
bool ClientSession::is_recovery_certain(const pool::ReadingRef& reading) {
  if (server_->expected().is_status_known() || reading == nullptr) return true;
  settle_doubt();
  return !literals_in_doubt_ && !path_in_doubt_;
}

std::optional<Error> ClientSession::objection_to_reading(const pool::ReadingRef& reading) {
  if (reading != nullptr && reading->is_unknown) return unknown_reading();
  if (recovery_of(reading) != Recovery::impossible) return std::nullopt;
  return Error{
      .sqlstate = "0A000",
      .message =
          "a prepared statement is to be used behind a change of settings that its literals "
          "depend on",
      .detail =
          "This server connection does not have the statement yet. To parse it as it was "
          "parsed at first, it would have to be known what the change before the same Sync "
          "has done.",
      .hint =
          "Send BEGIN, the change (SET LOCAL, set_config), and COMMIT or ROLLBACK with a Sync of "
          "their own, or give the literals as parameters.",
  };
}

/// Likewise, of a statement that is about to be used.
bool ClientSession::is_provision_certain(const pool::Statement& statement) {
  return !settings_in_doubt_ || is_there(statement) || is_recovery_certain(statement.reading());
}

std::optional<Error> ClientSession::objection_to_provision(const pool::Statement& statement) {
  const bool may_differ = settings_in_doubt_ || statement.is_reading_unknown();
  if (!may_differ || is_there(statement)) return std::nullopt;
  return objection_to_reading(statement.reading());
}

bool ClientSession::is_there(const pool::Statement& statement) {
  return server_->statements().use(statement, server_->expected()) ==
         pool::ServerStatements::Need::nothing;
}

/// The unnamed statement, perhaps about to be put on another server.
bool ClientSession::is_unnamed_provision_certain() {
  if (unnamed_ == nullptr || !maps_names()) return true;
  if (!may_name(unnamed_->shape)) return false;
  return unnamed_there_ == UnnamedThere::ours || is_recovery_certain(unnamed_reading());
}

std::optional<Error> ClientSession::objection_to_unnamed() {
  if (unnamed_ == nullptr || unnamed_deallocates()) return std::nullopt;
  if (maps_names()) {
    if (auto objection = name_in_bind(unnamed_->shape, unnamed_->query())) return objection;
  }
  if (unnamed_there_ == UnnamedThere::ours) return std::nullopt;
  const pool::ReadingRef reading = unnamed_reading();
  if (maps_names()) return objection_to_reading(reading);
  // As provide_unnamed() has it.
  if (unnamed_->is_reading_unknown && reading != nullptr) return unknown_reading();
  return std::nullopt;
}

/// As pool::Statement::reading(). It is parsed often, and seldom on a second server.
pool::ReadingRef ClientSession::unnamed_reading() const {
  return sql::keeps_literals(unnamed_->query()) ? unnamed_->reading : nullptr;
}

void ClientSession::remember_reading(UnnamedStatement& statement) {
  settle_doubt();
  if (is_path_another_ || statement.reading != server_reading()) {
    statement.reading = current_reading();
  }
  statement.is_reading_unknown = literals_in_doubt_;
}

/// What `name` stands for from now on: parsed under other settings than it was at first, it is
/// another statement, which others are not given.
pool::StatementRef ClientSession::as_of_now(std::string_view name, pool::StatementRef statement) {
  if (statement->is_reading_unknown()) return statement;
  const pool::SessionState& now = *server_->session_state();
  if (settings_in_doubt_) {
    if (is_there(*statement)) return statement;
    const Recovery recovery = recovery_of(statement->reading());
    if (recovery == Recovery::by_savepoint) return statement;  // as it was
  } else if (statement->parse_state() == now.parse_state()) {
    return statement;
  }
  pool::ReadingRef reading = statement->reading();
  const bool is_read_anew =
      reading != nullptr &&
      (reading->is_passing ||
       (!path_in_doubt_ && reading->search_path != server_reading()->search_path));
  if (is_read_anew) reading = current_reading();
  pool::Statements& all = pool_->statements();
  const std::shared_ptr<void> known = statement->known();
  statement = settings_in_doubt_
                  ? all.add_unshared(statement->definition(), reading)
                  : all.find_or_add(statement->definition(), now.parse_state(), reading);
  if (statement->known() == nullptr) statement->set_known(known);
  prepared_->replace(name, statement);
  return statement;
}

/// It is used now: PostgreSQL may read it anew, by settings that hold in this transaction only.
void ClientSession::note_reading(std::string_view name, const pool::Statement& statement) {
  if (!settings_in_doubt_ || statement.reading() == nullptr) return;
  if (statement.is_reading_unknown()) return;  // it is used here only, and is what it is
  const bool is_alike = pool::reads_alike(*server_reading(), *statement.reading());
  if (!literals_in_doubt_ && is_alike) return;
  const bool is_passing = is_path_another_ && !statement.reading()->is_passing;
  prepared_->note_read_in_doubt({statement.number(), std::string(is_passing ? name : "")});
}

/// A statement of ours that returns nothing to the client, run in its transaction.
void ClientSession::put_own_statement(std::string_view text) {
  std::string out;
  // One that failed is still there.
  wire::put_target(out, 'C', 'S', moment_name);
  server_->expect(*this, ReplyKind::injected_close);
  {
    const wire::MessageWriter parse(out, 'P');
    wire::put_c_string(out, moment_name);
    wire::put_c_string(out, text);
    wire::put_u16(out, 0);
  }
  {
    const wire::MessageWriter bind(out, 'B');
    wire::put_c_string(out, moment_name);
    wire::put_c_string(out, moment_name);
    for (int count = 0; count < 3; ++count) wire::put_u16(out, 0);
  }
  {
    const wire::MessageWriter execute(out, 'E');
    wire::put_c_string(out, moment_name);
    wire::put_u32(out, 0);
  }
  wire::put_target(out, 'C', 'P', moment_name);
  wire::put_target(out, 'C', 'S', moment_name);
  for (const ReplyKind kind :
       {ReplyKind::injected_parse, ReplyKind::injected_bind, ReplyKind::injected_execute,
        ReplyKind::injected_close, ReplyKind::injected_close}) {
    server_->expect(*this, kind);
  }
  put_in_front(out);
}

/// A Parse that is sent now finds the settings of `reading`, until end_reading().
ClientSession::Recovery ClientSession::begin_reading(const pool::ReadingRef& reading) {
  const Recovery recovery = recovery_of(reading);
  if (recovery == Recovery::by_savepoint)
    put_own_statement(fmt::format("SAVEPOINT {}", moment_name));
  if (recovery == Recovery::by_value || recovery == Recovery::by_savepoint) {
    put_own_statement(pool::reading_sql(*server_reading(), *reading,
                                        {.reported = literals_in_doubt_,
                                         .unreported = unreported_in_doubt_,
                                         .search_path = path_in_doubt_}));
  }
  return recovery;
}

void ClientSession::end_reading(Recovery recovery, const pool::ReadingRef& reading) {
  if (recovery == Recovery::by_value) {
    put_own_statement(pool::reading_sql(*reading, *server_reading(), {}));
  } else if (recovery == Recovery::by_savepoint) {
    put_own_statement(fmt::format("ROLLBACK TO SAVEPOINT {}", moment_name));
    put_own_statement(fmt::format("RELEASE SAVEPOINT {}", moment_name));
  }
}

}  // namespace pgproxy::session
