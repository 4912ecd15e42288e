// What becomes of a client whose server is lost.
#include <utility>

#include "session/beginning.hpp"
#include "session/client_login.hpp"
#include "session/client_session.hpp"
#include "session/prepared_statements.hpp"
#include "session/routing.hpp"
#include "session/session_traces.hpp"

#include "pgproxy/base/text.hpp"
#include "pgproxy/session/sessions.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::session {

/// With several servers the next transaction can begin on another one, and a lost one takes nothing
/// with it but the transaction that was under way: unless more of the client's was there than that,
/// or what it has been told of it is not whole. Of what code may have left of an earlier
/// transaction it is told that it is lost.
bool ClientSession::survives_loss(pool::ServerConnection& server) const {
  if (routing_ == nullptr || pass_ != nullptr || is_draining_) return false;
  if (state_ == ClientState::replaying) return true;
  if (is_pinned() || keeps_server_for_good() || naming_ != nullptr) return false;
  if (state_ == ClientState::asking) return traces_->is_code_only();
  if (state_ != ClientState::active || server.expected().is_uncertain()) return false;
  const bool is_first = !routing_->has_ended_one;
  const bool is_bearable = traces_ == nullptr || is_first || traces_->is_code_only();
  return is_bearable && !server.is_mid_message();
}

void ClientSession::on_server_lost(pool::ServerConnection& server, const Error& error,
                                   bool was_told) {
  const bool survives = survives_loss(server);
  server_ = nullptr;
  if (survives) return outlive(server, error);
  const bool can_tell = !was_told && !server.is_mid_message();
  const bool hears_nothing = state_ != ClientState::active;
  close(error.message, can_tell || hears_nothing ? &error : nullptr, true);
}

/// What was sent and not answered fails; a client that is between two statements of a transaction
/// hears of it with the next one.
void ClientSession::outlive(pool::ServerConnection& server, const Error& error) {
  target_ = pool_;
  has_server_error_ = false;
  login_.reset();
  if (state_ == ClientState::replaying) {  // nothing of the client's was sent yet
    state_ = ClientState::idle;
    timer_.disarm();
    return go_on_later();
  }
  const bool is_between = state_ == ClientState::asking;
  const bool is_more_lost = traces_ != nullptr && routing_->has_ended_one;
  std::string lost = is_between ? ""
                                : "The transaction is lost; of a COMMIT that was sent it is not "
                                  "known whether it took effect.";
  if (is_more_lost) {
    if (!lost.empty()) lost += ' ';
    lost += "What functions or triggers of the one before may have set for the session is lost.";
  }
  const Error told{error.sqlstate, error.message, std::move(lost), error.hint};
  log::line(log::Level::warning, subject(), "{} is lost, the client stays: {}",
            is_between ? "what the last transaction may have left" : "the transaction",
            told.message);
  const bool is_open = server.transaction_status() != wire::TransactionStatus::idle;
  routing_->is_block_lost = !is_between && routing_->is_block_sent.value_or(is_open);
  std::string settings = former_settings(*server.session_state());
  if (in_cycle_) {
    note_error(told);
    send(settings);
    answer_for(server, told);
  } else {
    routing_->loss =
        std::make_unique<SessionRouting::Loss>(SessionRouting::Loss{told, std::move(settings)});
  }
  forget_transaction(server);
  pool_->client_idle_queue().arm(timer_, pool_->loop().now());
  go_on_later();
}

/// Other connections to that server may be about to be closed, too.
void ClientSession::go_on_later() {
  if (inbox_ == nullptr) return;
  io::Loop& loop = pool_->loop();
  loop.timeouts().queue(std::chrono::milliseconds(1)).arm(routing_->go_on, loop.now());
}

/// Of what the lost transaction has changed of them, and the client was told.
std::string ClientSession::former_settings(const pool::SessionState& there) const {
  std::string out;
  for (const pool::Setting& setting : there.settings()) {
    const pool::Setting* own = session_state_->find(setting.name);
    if (!setting.is_reported || own == nullptr || own->value == setting.value) continue;
    if (is_on_replica() && pool::is_read_only_setting(setting.name)) continue;
    wire::put_parameter_status(out, own->name, own->value);
  }
  return out;
}

/// Each Query and Sync is answered by an error, also behind another one, and its ReadyForQuery; a
/// cycle without its Sync is dropped up to that.
void ClientSession::answer_for(pool::ServerConnection& server, const Error& told) {
  pool::ExpectedReplies& expected = server.expected();
  const bool is_open = expected.needs_sync() || routing_->is_ending_early;
  std::size_t ready_count = expected.ready_count() + (routing_->is_rerun_due ? 1 : 0);
  std::string error;
  wire::put_error(error, wire::Severity::error, told);
  std::string out;
  for (; ready_count > 0; --ready_count) {
    out += error;
    wire::put_ready_for_query(out, status_without_server());
  }
  if (is_open) {
    out += error;
    discard_ = Discard::until_sync;
  }
  send(out);
  cycle_.has_failed = true;
}

/// What a statement of a routed client makes of the transaction block.
void ClientSession::note_block(const sql::Facts& facts) {
  if (facts.kind == sql::StatementKind::several) {
    routing_->is_block_sent.reset();
  } else if (facts.starts_transaction != sql::TransactionStart::none) {
    routing_->is_block_sent = true;
  } else if (facts.ends_transaction) {
    routing_->is_block_sent = facts.chains;
  }
}

/// What a client sent before it heard of the loss was meant for that block, and must not run
/// outside of it: as PostgreSQL has it of a block that has failed, nothing but its end is taken,
/// and COMMIT is ROLLBACK there. True: it is ROLLBACK in the extended protocol, for which any
/// server will do; there COMMIT is an error.
bool ClientSession::goes_on_after_loss(const Pass& pass, const wire::Header& header, Bytes body) {
  const auto loss = std::move(routing_->loss);
  if (loss != nullptr) send(loss->settings);
  if (!routing_->is_block_lost) {
    refuse_waiting(loss->error);
    return false;
  }
  const Beginning next = read_beginning(pass, header, body);
  const sql::Facts* const facts = next.shape != nullptr ? &next.shape->facts : nullptr;
  const bool ends = facts != nullptr && facts->ends_transaction && !facts->chains;
  routing_->is_block_lost = !ends;
  const bool rolls_back =
      contains_ignoring_case(next.text, "rollback") || contains_ignoring_case(next.text, "abort");
  const bool is_rollback = rolls_back && !contains_ignoring_case(next.text, "commit");
  if (ends && header.type == 'Q' && (is_rollback || loss == nullptr)) {
    std::string out;
    wire::put_command_complete(out, "ROLLBACK");
    send(out);
    discard_ = Discard::one_message;  // ReadyForQuery follows
    return false;
  }
  if (ends && is_rollback) return true;
  refuse_waiting(loss != nullptr
                     ? loss->error
                     : Error{.sqlstate = "25P02",
                             .message = "current transaction is aborted, commands ignored until "
                                        "end of transaction block",
                             .detail = "It was lost with its server."});
  return false;
}

/// Where a Sync is all that comes.
void ClientSession::tell_loss() {
  if (routing_ == nullptr || routing_->loss == nullptr) return;
  const auto loss = std::move(routing_->loss);
  std::string out = loss->settings;
  wire::put_error(out, wire::Severity::error, loss->error);
  send(out);
  note_error(loss->error);
}

wire::TransactionStatus ClientSession::status_without_server() const {
  const bool is_failed = routing_ != nullptr && routing_->is_block_lost;
  return is_failed ? wire::TransactionStatus::failed : wire::TransactionStatus::idle;
}

/// Between transactions again, as if the one that was lost had not been.
void ClientSession::forget_transaction(pool::ServerConnection& server) {
  const TimePoint now = pool_->loop().now();
  pool_->counters().note_transaction(now - attached_at_);
  if (in_cycle_) note_cycle_end(now);
  in_cycle_ = false;
  state_ = ClientState::idle;
  transaction_timer_.disarm();
  drop_body_ |= body_left_ > 0;
  routing_->may_rerun = routing_->is_rerun_due = false;
  routing_->is_ending_early = routing_->has_early_error = false;
  routing_->held_reply.clear();
  is_kept_ = is_rerun_due_ = is_describing_ = names_in_doubt_ = false;
  if (cycle_copy_ != nullptr) sessions_.give_back(std::move(cycle_copy_));
  if (unnamed_changes_ != nullptr) {
    unnamed_changes_.reset();
    unnamed_.reset();
  }
  if (prepared_ != nullptr) {
    pool::ExpectedReplies& expected = server.expected();
    prepared_->take_back({.from = expected.oldest_number(), .to = expected.next_number()});
    prepared_->settle(expected);
    prepared_->take_read_in_doubt();
  }
  traces_.reset();
  forget_doubt();
  waits_for_restore_ = must_scrub_ = has_drawn_ = is_leak_known_ = false;
  if (may_have_written_) note_write_end();
  if (changes_code_) sessions_.forget_learned(*pool_);
  changes_code_ = false;
}

}  // namespace pgproxy::session
