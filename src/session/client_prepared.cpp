// ClientSession's named statements: the client's names, the servers' statements (PostgreSQL docs
// 55.2.3). A name of the client's never reaches a server unless it means nothing there.
#include <algorithm>
#include <utility>

#include "session/client_pass.hpp"
#include "session/prepared_statements.hpp"

#include "pgproxy/base/text.hpp"
#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::session {
namespace {

using pool::ReplyKind;
using pool::ServerStatements;

const pool::ReadingRef no_reading;

/// Longer cycles are not kept to be run again.
constexpr std::size_t max_kept_bytes = 16 * 1024;
/// PostgreSQL takes a Close of up to 10000 bytes (PQ_SMALL_MESSAGE_LIMIT).
constexpr std::size_t max_closable_bytes = 9000;

/// The first word of a statement is `word`, in any case.
bool begins_with_word(std::string_view text, std::string_view word) {
  const std::size_t at = text.find_first_not_of(" \t\r\n(");
  if (at == std::string_view::npos || text.size() - at < word.size()) return false;
  return equals_ignoring_case(text.substr(at, word.size()), word);
}

/// What cannot be run again whatever it had done: it commits by itself, or may.
bool is_procedural(std::string_view text) {
  // A comment in front could hide the word.
  return text.starts_with("--") || text.find("/*") != std::string_view::npos ||
         begins_with_word(text, "call") || begins_with_word(text, "do");
}

/// A Describe of a portal follows the Bind at `pos`: the client does not go by what it was told.
bool is_described_next(Bytes in, std::size_t pos, const wire::Header& bind) {
  const std::size_t next = pos + bind.total_bytes();
  return next + wire::header_bytes < in.size() && in[next] == 'D' &&
         in[next + wire::header_bytes] == 'P';
}

/// The front of a Parse that names `statement`; `rest_bytes` follow.
void put_parse_head(std::string& out, const pool::Statement& statement, std::size_t rest_bytes) {
  out += 'P';
  wire::put_u32(out, static_cast<std::uint32_t>(4 + statement.name().size() + 1 + rest_bytes));
  wire::put_c_string(out, statement.name());
}

/// An ErrorResponse like `body`, with `from` written `to` in its message.
std::string with_name(Bytes body, std::string_view from, std::string_view to) {
  std::string out;
  const wire::MessageWriter writer(out, 'E');
  wire::Cursor cursor(body);
  while (const char kind = static_cast<char>(cursor.u8())) {
    std::string value(cursor.c_string());
    const std::size_t at = kind == 'M' ? value.find(from) : std::string::npos;
    if (at != std::string::npos) value.replace(at, from.size(), to);
    out += kind;
    wire::put_c_string(out, value);
  }
  out += '\0';
  return out;
}

}  // namespace

/// A session that has its server for itself forwards names as they are. As it was at the login: the
/// names that the client has given by then go on to be what they are.
bool ClientSession::maps_names() const {
  return maps_names_;
}

PreparedStatements& ClientSession::prepared() {
  if (prepared_ == nullptr) prepared_ = std::make_unique<PreparedStatements>();
  return *prepared_;
}

/// False: whether there is a statement of this name will be known when the server has answered.
bool ClientSession::is_name_certain(std::string_view name) const {
  pool::ExpectedReplies& expected = server_->expected();
  if (names_in_doubt_ && !expected.is_status_known()) return false;
  return prepared_ == nullptr || prepared_->is_certain(name, expected);
}

/// The queue knows when the turn of an answer of ours comes.
bool ClientSession::may_answer() const {
  pool::ExpectedReplies& expected = server_->expected();
  return !expected.is_uncertain() && !expected.is_copying_in();
}

void ClientSession::put_close(std::string_view name) {
  std::string out;
  wire::put_target(out, 'C', 'S', name);
  server_->expect(*this, ReplyKind::injected_close);
  put_in_front(out);
}

/// Closes what has to go in front of a Parse of `statement`.
void ClientSession::make_room(const pool::StatementRef& statement, bool is_there) {
  ServerStatements& there = server_->statements();
  const pool::ExpectedReplies& expected = server_->expected();
  const std::size_t max_count =
      std::max<std::size_t>(sessions_.settings().max_prepared_statements, 1);
  while (const pool::StatementRef old = there.to_evict(*statement, max_count)) {
    there.closed(old->number(), expected.next_number());
    put_close(old->name());
  }
  if (there.has_own_name(statement->name(), server_->expected())) {
    there.own_closed(statement->name(), expected.next_number());
    is_there = true;
  }
  if (!is_there) return;
  there.closed(statement->number(), expected.next_number());
  put_close(statement->name());
}

/// Makes sure that the server has it when the message at hand comes to it. An error of the Parse is
/// the error of that message.
void ClientSession::provide(const pool::StatementRef& statement) {
  const ServerStatements::Need need = server_->statements().use(*statement, server_->expected());
  if (need == ServerStatements::Need::nothing) {
    ++pool_->counters().statement_hit_count;
    return;
  }
  put_parse(statement, need == ServerStatements::Need::close_and_parse);
}

void ClientSession::put_parse(const pool::StatementRef& statement, bool is_there) {
  make_room(statement, is_there);
  const Recovery recovery = begin_reading(statement->reading());
  std::string out;
  statement->put_parse(out, statement->name());
  server_->statements().parsed(statement, server_->expected().next_number());
  server_->expect(*this, ReplyKind::injected_parse);
  put_in_front(out);
  end_reading(recovery, statement->reading());
  ++pool_->counters().server_parse_count;
  ++pool_->counters().statement_miss_count;
}

/// What a client was told of a statement's rows holds wherever the statement runs, or it gets the
/// error that PostgreSQL has for that. A server that does not know tells, before anything is run;
/// no Sync goes in between, so that transactions are the client's own. Step::wait: until it has.
ClientSession::Step ClientSession::hold_to_description(std::string_view name,
                                                       const pool::StatementRef& statement,
                                                       std::uint64_t told, ReplyKind kind) {
  if (told == 0) return Step::forward;
  ServerStatements& there = server_->statements();
  pool::ExpectedReplies& expected = server_->expected();
  if (is_describing_ && !pool::is_before(describe_number_, expected.oldest_number())) {
    return Step::wait;
  }
  const bool is_answered = is_describing_;
  is_describing_ = false;
  const ServerStatements::Need need = there.use(*statement, expected);
  // Another client's error may have outdated it in the meantime: then the answer tells nothing.
  const bool is_current = need == ServerStatements::Need::nothing;
  if (is_current && there.description(*statement) == told) return Step::forward;
  if (is_current && is_answered) {
    if (prepared_->note_outdated(name)) statement->outdate();
    refuse_outdated(statement, kind);
    return Step::drop;
  }
  if (!may_answer()) return Step::forward;
  if (!is_recovery_certain(statement->reading())) return Step::wait;
  if (const auto objection = objection_to_reading(statement->reading())) {
    refuse(kind, *objection);
    return Step::drop;
  }
  put_parse(statement, need != ServerStatements::Need::parse);
  describe_number_ = expected.next_number();
  is_describing_ = true;
  there.note_use(describe_number_, *statement, expected);
  std::string out;
  wire::put_target(out, 'D', 'S', statement->name());
  wire::put_message(out, 'H');
  server_->expect(*this, ReplyKind::injected_describe);
  put_in_front(out);
  start_cycle();
  return Step::wait;
}

/// A driver may describe the portal of a statement's first Bind only, and go by that later.
ReplyKind ClientSession::portal_describe(std::string_view portal) {
  const std::uint64_t number = std::exchange(bound_statement_, 0);
  if (number == 0 || bound_portal_ != std::hash<std::string_view>{}(portal)) {
    return ReplyKind::describe_portal;
  }
  const pool::StatementRef statement = server_->statements().find(number);
  if (statement == nullptr) return ReplyKind::describe_portal;
  pool::ExpectedReplies& expected = server_->expected();
  server_->statements().note_use(expected.next_number(), *statement, expected);
  return ReplyKind::describe_result;
}

/// In place of the client's message goes a Bind that is malformed: two formats, no parameter.
void ClientSession::refuse_outdated(const pool::StatementRef& statement, ReplyKind kind) {
  std::string out;
  {
    const wire::MessageWriter writer(out, 'B');
    wire::put_c_string(out, "");
    wire::put_c_string(out, statement->name());
    for (const std::uint16_t value : {2, 0, 0, 0, 0}) wire::put_u16(out, value);
  }
  server_->expect_refused(*this, kind,
                          {.sqlstate = "0A000",
                           .message = "cached plan must not change result type",
                           .routine = "RevalidateCachedQuery"});
  put_in_front(out);
  start_cycle();
}

/// The server has nothing of this name when the message at hand comes to it.
void ClientSession::let_be_unknown(std::string_view name) {
  ServerStatements& there = server_->statements();
  const std::uint64_t number = pool::statement_number(name);
  const bool is_own = there.has_own_name(name, server_->expected());
  if (number == 0 && !is_own) return;
  if (number != 0) there.closed(number, server_->expected().next_number());
  if (is_own) there.own_closed(name, server_->expected().next_number());
  put_close(name);
}

/// Prepares `definition` under a name of the client's. It stays until the name must be free.
void ClientSession::put_own(std::string_view name, std::string_view definition,
                            const pool::ReadingRef& reading) {
  let_be_unknown(name);
  const Recovery recovery = begin_reading(reading);
  std::string out;
  {
    const wire::MessageWriter writer(out, 'P');
    wire::put_c_string(out, name);
    out += definition;
  }
  server_->statements().own_parsed(name, server_->expected().next_number());
  server_->expect(*this, ReplyKind::injected_parse);
  put_in_front(out);
  end_reading(recovery, reading);
}

/// The server has something of this name: it will say so (42P05), unless there is more to say about
/// the text. An empty statement can be prepared at any time.
void ClientSession::make_duplicate(std::string_view name) {
  put_own(name, std::string_view("\0\0\0", 3), nullptr);
}

/// A Parse that is sure to succeed needs no server: drivers that prepare on each connection, and
/// wait for the answer, do not queue for it behind what runs. True: it is answered.
bool ClientSession::answer_parse(std::string_view name, Bytes message) {
  if (state_ != ClientState::idle || name.empty() || !maps_names() || names_pass_) return false;
  if (prepared_ != nullptr && prepared_->find(name) != nullptr) return false;  // 42P05
  const std::string_view definition =
      as_text(message.subspan(wire::header_bytes + name.size() + 1));
  const pool::ReadingRef& reading =
      sql::keeps_literals(definition.data()) ? session_state_->reading() : no_reading;
  const pool::StatementRef statement =
      pool_->statements().find(definition, session_state_->parse_state(), reading);
  if (statement == nullptr || !statement->is_proven() || statement->known() == nullptr) {
    return false;
  }
  if (prepared_ != nullptr && prepared_->was_closed(statement->number())) return false;
  // What would be refused, or has to find the client's statements under their own names.
  const sql::Facts& facts = static_cast<const sql::Shape*>(statement->known().get())->facts;
  const bool may_object = !facts.leaves.empty() || facts.names_prepared ||
                          (facts.may_write && session_state_->creates_temporary_objects());
  if (may_object) return false;
  ++pool_->counters().client_parse_count;
  ++pool_->counters().statement_hit_count;
  prepared().add_answered(name, statement);
  pool_->client_idle_queue().arm(timer_, pool_->loop().now());
  std::string out;
  wire::put_message(out, '1');
  send(out);
  return true;
}

ClientSession::Step ClientSession::on_named_parse(Pass& pass, Bytes message,
                                                  const wire::Parse& parse) {
  pool::ExpectedReplies& expected = server_->expected();
  if (expected.is_skipping()) return Step::drop;
  const std::string_view name = parse.statement;
  if (!is_name_certain(name)) return Step::wait;
  const sql::ShapeRef& shape = shape_of(parse.query);
  if (!are_names_certain(shape) || !is_reading_certain(parse.query)) return Step::wait;
  ++pool_->counters().client_parse_count;
  auto objection = admit(shape, parse.query, Bringer::parse);
  if (!objection && names_prepared(shape->facts)) {
    objection = name_in_parse(shape->facts, parse.query);
  }
  if (!objection && names_pass_) return on_own_parse(name);
  provide_unnamed(false);
  if (objection) {
    refuse(ReplyKind::parse, *objection);
    return Step::drop;
  }
  const std::size_t head_bytes = wire::header_bytes + name.size() + 1;
  if (const pool::StatementRef* known = prepared().find(name)) {
    if (name.size() <= max_closable_bytes) {
      make_duplicate(name);
    } else if (*known != nullptr) {
      // As the duplicate of ours; the error gets the client's name.
      if (const auto refusal = objection_to_provision(**known)) {
        refuse(ReplyKind::parse, *refusal);
        return Step::drop;
      }
      const pool::StatementRef there = as_of_now(name, *known);
      provide(there);
      server_->statements().note_use(expected.next_number(), *there, expected);
      put_parse_head(pass.rewrite(*this, head_bytes), *there, message.size() - head_bytes);
    }
    return ask(ReplyKind::parse);
  }
  const std::string_view definition = as_text(message.subspan(head_bytes));
  pool::Statements& all = pool_->statements();
  const pool::ReadingRef reading = reading_now(parse.query);
  // What its literals mean only this server knows.
  const bool is_tied = reading != nullptr && reading->is_unknown;
  if (is_tied && may_pin_for_literals()) pin_for_good(shape->fingerprint);
  const pool::StatementRef statement =
      settings_in_doubt_
          ? all.add_unshared(definition, reading)
          : all.find_or_add(definition, server_->session_state()->parse_state(), reading);
  if (statement->known() == nullptr) statement->set_known(shape);
  ServerStatements& there = server_->statements();
  const ServerStatements::Need need = there.use(*statement, expected);
  // In an aborted transaction PostgreSQL refuses to parse.
  const bool may_parse = expected.is_status_known() &&
                         server_->transaction_status() != wire::TransactionStatus::failed;
  // Who closes a statement and prepares it again wants it as it is now.
  const bool is_wanted_anew = prepared().take_closed(statement->number());
  if (need == ServerStatements::Need::nothing && may_parse && may_answer() && !is_wanted_anew) {
    prepared().add(name, statement, expected.next_number());
    ++pool_->counters().statement_hit_count;
    const Step step = ask(ReplyKind::local_parse);
    return step == Step::forward ? Step::drop : step;
  }
  make_room(statement, need != ServerStatements::Need::parse);
  there.parsed(statement, expected.next_number());
  prepared().add(name, statement, expected.next_number());
  ++pool_->counters().server_parse_count;
  ++pool_->counters().statement_miss_count;
  put_parse_head(pass.rewrite(*this, head_bytes), *statement, definition.size());
  return ask(ReplyKind::parse);
}

/// This server has it under the client's name, and stays with the client.
ClientSession::Step ClientSession::on_own_parse(std::string_view name) {
  ++pool_->counters().server_parse_count;
  provide_unnamed(false);
  const pool::StatementRef* found = prepared().find(name);
  if (found != nullptr && *found != nullptr) {
    make_duplicate(name);
  } else if (found == nullptr) {
    let_be_unknown(name);
    prepared().add(name, nullptr, server_->expected().next_number());
  }
  return ask(ReplyKind::parse);
}

ClientSession::Step ClientSession::on_named_bind(Pass& pass, const wire::Header& header,
                                                 const wire::BindNames& names) {
  pool::ExpectedReplies& expected = server_->expected();
  if (expected.is_skipping()) return Step::drop;
  if (!is_name_certain(names.statement)) return Step::wait;
  const bool is_first = !in_cycle_ && expected.is_quiet() &&
                        server_->transaction_status() == wire::TransactionStatus::idle;
  provide_unnamed(false);
  const PreparedStatements::Entry* entry =
      prepared_ != nullptr ? prepared_->find_entry(names.statement) : nullptr;
  const pool::StatementRef* found = entry != nullptr ? &entry->statement : nullptr;
  pool::StatementRef statement;
  if (found != nullptr && *found != nullptr) {
    const auto shape = std::static_pointer_cast<sql::Shape>((*found)->known());
    if (!may_name(shape) || !is_provision_certain(**found)) return Step::wait;
    auto objection = name_in_bind(shape, (*found)->query());
    if (!objection && *found != nullptr) objection = objection_to_provision(**found);
    if (objection) {
      refuse(ReplyKind::bind, *objection);
      return Step::drop;
    }
    if (*found != nullptr) statement = as_of_now(names.statement, *found);
  }
  if (is_described_next(pass.in, pass.pos, header)) {
    is_describing_ = false;  // it waited for what is not needed any more
  } else if (statement != nullptr) {
    const Step step =
        hold_to_description(names.statement, statement, entry->description, ReplyKind::bind);
    if (step != Step::forward) return step;
  }
  ++pool_->counters().bind_count;
  bound_statement_ = 0;
  if (found == nullptr) let_be_unknown(names.statement);
  if (found == nullptr || *found == nullptr) return ask(ReplyKind::bind);
  const auto shape = std::static_pointer_cast<sql::Shape>(statement->known());
  note_statement(shape);
  if (const auto objection = admit(shape, statement->query(), Bringer::bind)) {
    refuse(ReplyKind::bind, *objection);
    return Step::drop;
  }
  if (entry->description == 0) {
    bound_statement_ = statement->number();
    bound_portal_ = std::hash<std::string_view>{}(names.portal);
  }
  provide(statement);
  note_reading(names.statement, *statement);
  server_->statements().note_use(expected.next_number(), *statement, expected);
  if (is_first && sessions_.settings().rerun_on.stale_plan) {
    is_kept_ = true;
    pass.kept_from = pass.pos;
    cycle_bind_ = expected.next_number();
  }
  const std::size_t old_bytes = names.portal.size() + names.statement.size() + 2;
  const std::size_t new_bytes = names.portal.size() + statement->name().size() + 2;
  std::string& out = pass.rewrite(*this, wire::header_bytes + old_bytes);
  out += 'B';
  wire::put_u32(out, static_cast<std::uint32_t>(4 + header.body_bytes - old_bytes + new_bytes));
  wire::put_c_string(out, names.portal);
  wire::put_c_string(out, statement->name());
  return ask(ReplyKind::bind);
}

ClientSession::Step ClientSession::on_named_describe(Pass& pass, std::string_view name) {
  pool::ExpectedReplies& expected = server_->expected();
  if (expected.is_skipping()) return Step::drop;
  if (!is_name_certain(name)) return Step::wait;
  provide_unnamed(false);
  const pool::StatementRef* found = prepared_ != nullptr ? prepared_->find(name) : nullptr;
  if (found == nullptr) let_be_unknown(name);
  if (found == nullptr || *found == nullptr) return ask(ReplyKind::describe_statement);
  if (!is_provision_certain(**found)) return Step::wait;
  if (const auto objection = objection_to_provision(**found)) {
    refuse(ReplyKind::describe_statement, *objection);
    return Step::drop;
  }
  const pool::StatementRef statement = as_of_now(name, *found);
  const Step step = hold_to_description(name, statement, prepared_->find_entry(name)->description,
                                        ReplyKind::describe_statement);
  if (step != Step::forward) return step;
  provide(statement);
  note_reading(name, *statement);
  server_->statements().note_use(expected.next_number(), *statement, expected);
  std::string& out = pass.rewrite(*this, wire::header_bytes + 1 + name.size() + 1);
  wire::put_target(out, 'D', 'S', statement->name());
  return ask(ReplyKind::describe_statement);
}

/// The server keeps it for others, and for when this client wants it again.
ClientSession::Step ClientSession::on_named_close(std::string_view name) {
  pool::ExpectedReplies& expected = server_->expected();
  if (expected.is_skipping()) return Step::drop;
  if (!is_name_certain(name)) return Step::wait;
  provide_unnamed(false);
  const pool::StatementRef* found = prepared_ != nullptr ? prepared_->find(name) : nullptr;
  const bool is_by_sql = found == nullptr && may_have_sql_statements();
  const bool is_theirs = is_by_sql || (found != nullptr && *found == nullptr);
  if (is_by_sql) let_be_unknown(name);
  if (found != nullptr) prepared_->remove(name, expected.next_number());
  if (is_theirs) return ask(ReplyKind::close);
  if (!may_answer()) {
    let_be_unknown(name);
    return ask(ReplyKind::close);
  }
  const Step step = ask(ReplyKind::local_close);
  return step == Step::forward ? Step::drop : step;
}

void ClientSession::on_cycle_done(pool::ServerConnection& server) {
  if (naming_ != nullptr) settle_naming(server);
  if (state_ == ClientState::active && inbox_ != nullptr) process_inbox();
}

void ClientSession::on_described(pool::ServerConnection& /*server*/, std::uint64_t statement,
                                 std::uint64_t description) {
  if (prepared_ != nullptr) prepared_->described(statement, description);
}

void ClientSession::on_deallocated_all(pool::ServerConnection& server) {
  if (prepared_ != nullptr) prepared_->clear(server.expected());
}

/// An error may be about a statement that is not what we thought (PostgreSQL's plancache.c: the
/// routine tells the one 0A000 from others, its text may be in any language).
void ClientSession::on_statement_error(pool::ServerConnection& server,
                                       const wire::ErrorFields& fields) {
  const pool::ExpectedReplies::Skipped skipped = server.expected().last_skipped();
  prepared_->take_back(skipped);
  is_describing_ = false;
  const bool is_stale = fields.sqlstate == "0A000" && fields.routine == "RevalidateCachedQuery";
  const bool is_gone = fields.sqlstate == "26000";
  const bool is_duplicate = fields.sqlstate == "42P05";
  if (!is_stale && !is_gone && !is_duplicate) return;
  const std::uint64_t number = server.statements().used_by(skipped.from);
  if (number == 0) return;
  const pool::StatementRef statement = server.statements().find(number);
  if (!is_duplicate && statement != nullptr) {
    statement->outdate();
    if (is_gone) server.statements().forget(*statement);
  }
  if (!is_stale) {
    const std::string_view name = prepared_->name_of(number);
    if (name.empty()) return;
    return server.replace_error(with_name(server.error_body(), pool::statement_name(number), name));
  }
  if (statement == nullptr) return;
  if (!may_run_again(server, *statement)) return;
  if (statement->note_rerun()) {
    log::line(log::Level::log, subject(),
              "the plan of {} became stale: run again, once (rerun_on; logged for the first time, "
              "counted from now on)",
              statement->name());
  }
  is_rerun_due_ = true;
  server.replace_error("");
  server.expected().swallow_ready();
}

/// Nothing was run, nothing was answered, nothing else is under way.
bool ClientSession::may_run_again(pool::ServerConnection& server,
                                  const pool::Statement& statement) const {
  pool::ExpectedReplies& expected = server.expected();
  return is_kept_ && body_left_ == 0 && expected.last_failed() == ReplyKind::bind &&
         expected.last_skipped().from == cycle_bind_ && expected.size() == 1 &&
         !expected.is_uncertain() && server.transaction_status() == wire::TransactionStatus::idle &&
         !is_procedural(statement.query());
}

/// Keeps a copy of what the pass sent of a cycle that may have to be run again.
void ClientSession::keep_cycle(const Pass& pass) {
  const Bytes part = pass.in.subspan(pass.kept_from, pass.pos - pass.kept_from);
  if (cycle_copy_ == nullptr) cycle_copy_ = sessions_.take_buffer();
  if (cycle_copy_->size() + part.size() <= max_kept_bytes) {
    cycle_copy_->append(as_text(part));
  } else {
    is_kept_ = false;
    sessions_.give_back(std::move(cycle_copy_));
  }
}

/// The same messages once more, which count once. They are not kept again: in_cycle_ is still set.
void ClientSession::run_again() {
  is_rerun_due_ = is_kept_ = false;
  PoolCounters& counters = pool_->counters();
  ++counters.rerun_count;
  const auto parses = counters.client_parse_count;
  const auto binds = counters.bind_count;
  std::unique_ptr<std::string> bytes = std::move(cycle_copy_);
  counters.bytes_received -= bytes->size();
  const std::size_t used = process(as_bytes(*bytes));
  if (state_ == ClientState::closing) return;
  counters.client_parse_count = parses;
  counters.bind_count = binds;
  if (used < bytes->size()) {  // it waits for a Describe
    bytes->erase(0, used);
    if (inbox_ != nullptr) bytes->append(*std::exchange(inbox_, nullptr));
    inbox_ = std::move(bytes);
    return update_back_pressure();
  }
  if (inbox_ != nullptr) process_inbox();
}

}  // namespace pgproxy::session
