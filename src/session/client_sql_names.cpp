// ClientSession's Queries that name prepared statements: PREPARE, EXECUTE, DEALLOCATE and
// pg_prepared_statements find those that the client has prepared by the protocol, and no others.
#include <utility>

#include "session/client_pass.hpp"
#include "session/naming_query.hpp"
#include "session/prepared_statements.hpp"
#include "session/session_traces.hpp"

#include "pgproxy/wire/encode.hpp"

namespace pgproxy::session {

using pool::ReplyKind;

namespace {

/// What PostgreSQL's grammar found goes before how the text looks. Text that it could not read is
/// told by its words alone: most of it is about something else.
SqlNamesFound names_in(const sql::Facts& facts, std::string_view text, bool names_prepared) {
  SqlNamesFound found = find_sql_names(text);
  const bool is_read = facts.kind != sql::StatementKind::unknown;
  const bool is_overlooked = names_prepared && (is_read || mentions_sql_names(text));
  if (found.what != SqlNames::none || !is_overlooked) return found;
  const bool may_leave = !is_read || facts.leaves.contains(sql::Residue::prepared_statement);
  return {.what = SqlNames::any, .deallocates = may_leave, .prepares = may_leave};
}

}  // namespace

void ClientSession::put_sync() {
  std::string out;
  wire::put_message(out, 'S');
  server_->expect(*this, ReplyKind::injected_sync);
  put_in_front(out);
}

/// Takes everything off the server that the client did not prepare under this name.
void ClientSession::clear_server() {
  pool::ServerStatements& there = server_->statements();
  for (const std::uint64_t number : there.numbers(server_->expected())) {
    there.closed(number, server_->expected().next_number());
    put_close(pool::statement_name(number));
  }
  for (const std::string& name : there.own_names(server_->expected())) {
    there.own_closed(name, server_->expected().next_number());
    put_close(name);
  }
}

/// PREPARE as well: the name may be one of the client's.
bool ClientSession::names_prepared(const sql::Facts& facts) {
  return facts.names_prepared || facts.leaves.contains(sql::Residue::prepared_statement);
}

/// The Query at hand is sent: behind a PREPARE names mean the same in SQL and in the protocol.
void ClientSession::note_sql_prepare() {
  const bool is_at_hand = naming_->number == server_->expected().next_number();
  names_pass_ |= is_at_hand && naming_->found.prepares;
}

/// Until the server was asked what the client's SQL has left, that may be any name.
bool ClientSession::may_have_sql_statements() const {
  using enum sql::Residue;
  return is_pinned() ||
         (traces_ != nullptr && traces_->pending.intersects({prepared_statement, code}));
}

/// Step::wait: the Query waits until the server has what it names, or for earlier answers.
ClientSession::Step ClientSession::name_in_query(const sql::Facts& facts, std::string_view text) {
  if (naming_ != nullptr) settle_naming(*server_);
  if (naming_ != nullptr && naming_->phase == NamingQuery::Phase::ready) {
    naming_->phase = NamingQuery::Phase::sent;
    naming_->number = server_->expected().next_number();
    return Step::forward;
  }
  if (naming_ != nullptr && naming_->phase == NamingQuery::Phase::preparing) return Step::wait;
  if (!maps_names()) return Step::forward;
  pool::ExpectedReplies& expected = server_->expected();
  if (expected.is_skipping()) return Step::forward;
  SqlNamesFound found = names_in(facts, text, names_prepared(facts));
  if (found.what == SqlNames::none) return Step::forward;
  const bool is_any = prepared_ != nullptr || server_->has_statements();
  if (!is_any && !found.prepares) return Step::forward;
  if (!expected.is_status_known()) return Step::wait;
  const bool reads = found.what == SqlNames::execute || found.what == SqlNames::any;
  if (const auto objection = reads ? objection_to_names(found.name) : std::nullopt) {
    if (note_unnamed_change()) unnamed_.reset();
    refuse(ReplyKind::query, *objection);
    return Step::drop;
  }
  names_in_doubt_ = prepared_ != nullptr;
  naming_ = std::make_unique<NamingQuery>(NamingQuery{.found = std::move(found)});
  // In an aborted transaction PostgreSQL refuses it, whatever is there.
  const bool is_refused = server_->transaction_status() == wire::TransactionStatus::failed;
  const Step step = is_refused ? Step::forward : name_as_asked(*naming_);
  naming_->number = expected.next_number();
  return step;
}

ClientSession::Step ClientSession::name_as_asked(NamingQuery& naming) {
  switch (naming.found.what) {
    case SqlNames::none:
    case SqlNames::discard:
    case SqlNames::deallocate_all: return Step::forward;  // its CommandComplete tells
    case SqlNames::prepare:
    case SqlNames::execute:
    case SqlNames::deallocate: return name_one(naming);
    case SqlNames::any: return name_all(naming);
  }
  std::unreachable();
}

ClientSession::Step ClientSession::name_one(NamingQuery& naming) {
  const std::string& name = naming.found.name;
  const pool::StatementRef* found = prepared_ != nullptr ? prepared_->find(name) : nullptr;
  if (found == nullptr) {
    let_be_unknown(name);
    return Step::forward;
  }
  if (*found == nullptr) return Step::forward;  // it is there
  if (naming.found.what != SqlNames::execute) {
    make_duplicate(name);  // only that there is one matters
    return Step::forward;
  }
  const bool can_wait = server_->expected().is_quiet();
  put_own(name, (*found)->definition(), (*found)->reading());
  if (!can_wait) return Step::forward;
  put_sync();
  naming.phase = NamingQuery::Phase::preparing;
  naming.tells_errors = true;
  start_cycle();
  return Step::wait;
}

/// Outside of a transaction a statement that cannot be prepared any more is left out; within one
/// that is an error.
ClientSession::Step ClientSession::name_all(NamingQuery& naming) {
  const bool can_wait = server_->expected().is_quiet();
  const bool is_idle = server_->transaction_status() == wire::TransactionStatus::idle;
  clear_server();
  if (prepared_ == nullptr || prepared_->size() == 0) {
    if (can_wait) put_sync();  // the Query is not part of a cycle of ours
    return Step::forward;
  }
  // Which of several DEALLOCATEs succeeded only the server will know.
  bool is_any = naming.found.deallocates && make_names_own();
  const bool is_one_by_one = can_wait && is_idle && !is_any;
  prepared_->for_each([&](const std::string& name, const pool::StatementRef& statement) {
    if (statement == nullptr) return;
    is_any = true;
    put_own(name, statement->definition(), statement->reading());
    if (is_one_by_one) put_sync();
  });
  if (!is_any || !can_wait) return Step::forward;
  if (!is_one_by_one) put_sync();
  naming.phase = NamingQuery::Phase::preparing;
  naming.tells_errors = !is_one_by_one;
  start_cycle();
  return Step::wait;
}

/// What drivers send for statements that they have prepared by the protocol. It leaves nothing, and
/// this server need not stay for it.
bool ClientSession::only_deallocates(const sql::Facts& facts, std::string_view text) const {
  if (!names_prepared(facts) || !maps_names() || names_pass_ || is_pinned()) return false;
  const SqlNames what = find_sql_names(text).what;
  return what == SqlNames::deallocate || what == SqlNames::deallocate_all;
}

bool ClientSession::unnamed_deallocates() const {
  return unnamed_ != nullptr && unnamed_->shape != nullptr &&
         only_deallocates(unnamed_->shape->facts, unnamed_->query());
}

/// As a Query of it, when it is executed.
void ClientSession::bind_deallocation(std::string_view text) {
  naming_.reset();
  if (server_->expected().is_skipping()) return;
  if (prepared_ == nullptr && !server_->has_statements()) return;
  naming_ = std::make_unique<NamingQuery>(
      NamingQuery{.found = find_sql_names(text), .phase = NamingQuery::Phase::bound});
  if (naming_->found.what == SqlNames::deallocate_all) names_in_doubt_ = prepared_ != nullptr;
  const bool is_failed = server_->transaction_status() == wire::TransactionStatus::failed;
  if (naming_->found.what == SqlNames::deallocate && !is_failed) name_one(*naming_);
}

/// `is_executed`: by the message at hand; else another one is bound.
void ClientSession::end_binding(bool is_executed) {
  if (naming_ == nullptr || naming_->phase != NamingQuery::Phase::bound) return;
  if (!is_executed || server_->expected().is_skipping()) return naming_.reset();
  naming_->phase = NamingQuery::Phase::sent;
  naming_->number = server_->expected().next_number();
  // What comes before the next Sync has to know.
  if (prepared_ == nullptr || naming_->found.what != SqlNames::deallocate) return;
  naming_->is_removed = true;
  if (prepared_->find(naming_->found.name) != nullptr) {
    prepared_->remove(naming_->found.name, naming_->number);
  }
}

/// A Parse of such SQL: what it becomes is run at any time later, so that this server stays, with
/// the client's statements under their own names.
std::optional<Error> ClientSession::name_in_parse(const sql::Facts& facts, std::string_view text) {
  if (server_->expected().is_skipping()) return std::nullopt;
  const SqlNamesFound found = names_in(facts, text, names_prepared(facts));
  const SqlNames what = found.what;
  if (what == SqlNames::none) return std::nullopt;
  if (what == SqlNames::deallocate_all || what == SqlNames::discard) {
    names_in_doubt_ = prepared_ != nullptr;
    return std::nullopt;
  }
  if (auto objection = objection_to_names()) return objection;
  names_pass_ |= found.prepares;  // names mean the same in SQL and in the protocol
  if (prepared_ == nullptr && !server_->has_statements()) return std::nullopt;
  if (is_kept_out()) return objection_on_replica(false);
  clear_server();
  make_names_own();
  return std::nullopt;
}

/// One of the client's statements, or the one called `only`, cannot be given its own name on this
/// server.
std::optional<Error> ClientSession::objection_to_names(std::string_view only) {
  std::optional<Error> objection;
  if (prepared_ == nullptr) return objection;
  prepared_->for_each([&](const std::string& name, const pool::StatementRef& statement) {
    if (objection || statement == nullptr || (!only.empty() && name != only)) return;
    const bool may_differ = settings_in_doubt_ || statement->is_reading_unknown();
    if (may_differ) objection = objection_to_reading(statement->reading());
  });
  return objection;
}

/// The server gets the client's statements under their own names, and stays. False: there are none.
bool ClientSession::make_names_own() {
  if (prepared_ == nullptr) return false;
  std::vector<std::pair<std::string, pool::StatementRef>> mapped;
  prepared_->for_each([&](const std::string& name, const pool::StatementRef& statement) {
    if (statement != nullptr) mapped.emplace_back(name, statement);
  });
  for (const auto& [name, statement] : mapped) {
    const Recovery recovery = begin_reading(statement->reading());
    std::string out;
    statement->put_parse(out, name);
    prepared_->make_own(name, server_->expected().next_number());
    server_->expect(*this, ReplyKind::injected_parse);
    put_in_front(out);
    end_reading(recovery, statement->reading());
  }
  if (mapped.empty()) return false;
  note_residue({sql::Residue::prepared_statement}, 0);
  names_pass_ = true;
  return true;
}

/// False: which statements there are for SQL of this shape to name will be known when the server
/// has answered.
bool ClientSession::are_names_certain(const sql::ShapeRef& shape) const {
  if (prepared_ == nullptr || !names_prepared(shape->facts)) return true;
  pool::ExpectedReplies& expected = server_->expected();
  if (expected.is_skipping()) return true;
  if ((names_in_doubt_ || settings_in_doubt_) && !expected.is_status_known()) return false;
  return prepared_->is_certain(expected);
}

/// Such SQL was parsed before there was anything to name, perhaps on another server, and now runs.
/// False: it has to wait.
bool ClientSession::may_name(const sql::ShapeRef& shape) const {
  return shape == nullptr || !names_prepared(shape->facts) || are_names_certain(shape);
}

std::optional<Error> ClientSession::name_in_bind(const sql::ShapeRef& shape,
                                                 std::string_view text) {
  if (shape == nullptr || !names_prepared(shape->facts)) return std::nullopt;
  return name_in_parse(shape->facts, text);
}

void ClientSession::note_naming_error(pool::ServerConnection& server) {
  if (naming_->phase == NamingQuery::Phase::preparing) {
    if (naming_->tells_errors) {
      naming_->has_failed = true;
    } else {
      server.replace_error("");
    }
  } else if (naming_->phase == NamingQuery::Phase::sent) {
    const auto [from, to] = server.expected().last_skipped();
    const bool is_skipped =
        !pool::is_before(naming_->number, from) && pool::is_before(naming_->number, to);
    naming_->has_failed |= is_skipped || server.expected().oldest_number() == naming_->number;
  }
}

/// Forgets what a DEALLOCATE that is answered has deallocated.
void ClientSession::settle_naming(pool::ServerConnection& server) {
  if (server.expected().is_quiet()) end_binding(false);
  if (naming_ == nullptr) return;
  if (naming_->phase != NamingQuery::Phase::sent) return;
  if (!pool::is_before(naming_->number, server.expected().oldest_number())) return;
  if (naming_->found.what == SqlNames::deallocate && !naming_->has_failed) {
    const bool is_there = prepared_ != nullptr && !naming_->is_removed;
    if (is_there) prepared_->forget(naming_->found.name);
    server.statements().own_deallocated(naming_->found.name, naming_->number);
  }
  naming_.reset();
}

/// True: the server has what the waiting Query names.
bool ClientSession::finish_naming() {
  if (naming_ == nullptr || naming_->phase != NamingQuery::Phase::preparing) return false;
  if (!naming_->has_failed) {
    naming_->phase = NamingQuery::Phase::ready;
    return true;
  }
  // The error is the answer to the Query; its ReadyForQuery follows when it is dropped.
  naming_.reset();
  discard_ = Discard::one_message;
  return false;
}

}  // namespace pgproxy::session
