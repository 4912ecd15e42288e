#include "session/client_session.hpp"

#include <algorithm>
#include <utility>

#include "session/client_login.hpp"
#include "session/console_command.hpp"
#include "session/console_session.hpp"
#include "session/naming_query.hpp"
#include "session/prepared_statements.hpp"
#include "session/routing.hpp"
#include "session/session_traces.hpp"
#include "session/workload.hpp"

#include "pgproxy/auth/random.hpp"
#include "pgproxy/session/sessions.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::session {
namespace {

/// What may wait to be sent to a client before its server is no longer read.
constexpr std::size_t high_water_bytes = 256 * 1024;

}  // namespace

ClientSession::ClientSession(Sessions& sessions, std::uint64_t id,
                             std::unique_ptr<io::Transport> transport)
    : sessions_(sessions),
      id_(id),
      transport_(std::move(transport)),
      login_(std::make_unique<Login>(*this)),
      connect_time_(sessions.loop().wall_now()),
      timer_(*this),
      transaction_timer_(*this) {
  transport_->set_listener(*this);
  io::Loop& loop = sessions_.loop();
  login_->since = loop.now();
  loop.timeouts().queue(sessions_.settings().client_login_timeout).arm(timer_, login_->since);
}

ClientSession::~ClientSession() = default;

bool ClientSession::has_cancel_secret(Bytes secret) const {
  std::string own;
  wire::put_u32(own, cancel_secret_);
  return auth::equal_in_constant_time(secret, as_bytes(own));
}

/// Session mode: one server from login to the end.
bool ClientSession::keeps_server_for_good() const {
  return pool_->settings().pool_mode == config::PoolMode::session;
}

/// True when the client has a server that is ready for its messages; false: it waits for one, or
/// for its settings to be replayed, or is gone.
bool ClientSession::attach() {
  if (server_ != nullptr) return state_ == ClientState::active;
  pool::ServerConnection* server = target_->checkout(*this);
  if (server != nullptr) return take(*server);
  if (state_ != ClientState::idle)
    return state_ == ClientState::active;          // answered within the call
  if (discard_ != Discard::nothing) return false;  // refused within it
  state_ = ClientState::waiting;
  pool_->wait_queue().arm(timer_, pool_->loop().now());
  return false;
}

bool ClientSession::take(pool::ServerConnection& server) {
  server_ = &server;
  unnamed_there_ = server.may_have_unnamed() ? UnnamedThere::strangers : UnnamedThere::none;
  unnamed_changes_.reset();
  has_drawn_ = false;
  must_scrub_ = false;
  forget_doubt();
  cycle_from_ = server.expected().next_number();
  attached_at_ = pool_->loop().now();
  cycle_.is_first = true;
  if (routing_ != nullptr) {
    routing_->shared.count(routing_->target, routing_->reason, routing_->fingerprint, attached_at_);
    routing_->has_ended = routing_->is_end_bound = false;
    routing_->has_ended_one = routing_->was_refused = false;
    routing_->is_block_sent.reset();
  }
  if (server.session_state() == session_state_) {
    state_ = ClientState::active;
    return true;
  }
  return replay(session_state_);
}

/// Brings the server in line with `wanted`; the client's bytes are held until it has answered. A
/// SET glued in front of a statement could fail, and the statement run under the wrong settings.
bool ClientSession::replay(const pool::StateRef& wanted) {
  const pool::SessionState& there = *server_->session_state();
  const pool::StateRef goal = is_on_replica() ? as_on_replica(there, wanted) : wanted;
  std::string out;
  for (const std::string& sql :
       {pool::encoding_sql(there, *goal), pool::difference(there, *goal)}) {
    if (sql.empty()) continue;
    wire::put_query(out, sql);
    server_->expect(*this, pool::ReplyKind::query);
  }
  if (state_ != ClientState::welcoming) state_ = ClientState::replaying;
  if (out.empty()) {
    finish_replay();
    return state_ == ClientState::active;
  }
  has_server_error_ = false;
  server_->send(as_bytes(out));
  pool_->query_timeout_queue().arm(timer_, pool_->loop().now());
  return false;
}

void ClientSession::finish_replay() {
  if (state_ == ClientState::welcoming) return finish_welcome();
  const pool::StateRef expected = std::move(session_state_);
  session_state_ = pool_->context().states.merged(server_->session_state(), expected);
  if (is_on_replica()) session_state_ = as_on_replica(*expected, session_state_);
  std::string out;
  for (const pool::Setting& setting : pool::announcements(*session_state_, *expected)) {
    wire::put_parameter_status(out, setting.name, setting.value);
  }
  if (!out.empty()) send(out);
  server_->set_session_state(session_state_);
  state_ = ClientState::active;
}

void ClientSession::on_server_granted(pool::ServerConnection& server) {
  timer_.disarm();
  if (state_ == ClientState::welcoming) {
    server_ = &server;
    attached_at_ = pool_->loop().now();
    if (login_->raw_settings.empty()) return finish_welcome();
    replay(welcome_target());
    return;
  }
  if (state_ == ClientState::idle) state_ = ClientState::waiting;  // granted within checkout()
  cycle_.wait = pool_->loop().now() - queued_at;
  cycle_.connect = std::min(cycle_.wait, server.take_login_time());
  if (take(server)) process_inbox();
}

void ClientSession::on_server_refused(const Error& error) {
  if (routing_ == nullptr) return fail(error);
  if (state_ == ClientState::waiting && is_on_replica()) return look_again();
  if (!refuse_waiting(error)) fail(error);
}

void ClientSession::start_cycle() {
  if (in_cycle_) return;
  in_cycle_ = true;
  request_at_ = pool_->loop().now();
  if (server_->transaction_status() == wire::TransactionStatus::idle) {
    transaction_at_ = request_at_;
    if (routing_ != nullptr && !cycle_.is_first) count_undecided();
  }
  ++pool_->counters().query_count;
  if (!transaction_timer_.is_armed()) {
    pool_->transaction_queue().arm(transaction_timer_, request_at_);
  }
}

void ClientSession::on_reply(pool::ServerConnection& server, Bytes first, Bytes second) {
  if (state_ != ClientState::active) return;
  cycle_.bytes += first.size() + second.size();
  if (routing_ != nullptr && routing_->may_rerun && hold_reply(first, second)) return;
  transport_->write(first, second);
  if (transport_->queued_bytes() > high_water_bytes) pause_server(server);
}

/// A client that notifies itself compares the pid with the one that it was given at login.
void ClientSession::on_notification(pool::ServerConnection& server, Bytes body) {
  std::string own(as_text(body));
  if (own.size() >= 4 && wire::load_u32(body.data()) == server.backend_pid()) {
    std::string pid;
    wire::put_u32(pid, cancel_pid_);
    own.replace(0, 4, pid);
  }
  std::string out;
  wire::put_message(out, 'A', own);
  send(out);
}

void ClientSession::on_reply_error(pool::ServerConnection& server,
                                   const wire::ErrorFields& fields) {
  if (state_ == ClientState::active) {
    cycle_.has_failed = true;
    if (traces_ != nullptr) {
      if (server.expected().oldest_number() == traces_->constant_number) traces_->constant.reset();
      traces_->is_undone = true;
      forget_failed_resets(server.expected().oldest_number());
    }
    restore_skipped_unnamed();
    if (naming_ != nullptr && !fields.is_fatal()) note_naming_error(server);
    if (prepared_ != nullptr) on_statement_error(server, fields);
    if (routing_ != nullptr) note_replica_error(server, fields);
    if (fields.is_fatal() && survives_loss(server)) server.replace_error("");  // told by us
    return;
  }
  has_server_error_ = true;
  const Error error{std::string(fields.sqlstate), std::string(fields.message),
                    std::string(fields.detail), std::string(fields.hint)};
  if (login_ == nullptr) login_ = std::make_unique<Login>(*this);
  login_->replay_error = error;
}

void ClientSession::on_replies_done(pool::ServerConnection& server) {
  if (state_ == ClientState::replaying || state_ == ClientState::welcoming) {
    if (has_server_error_) return fail(Error(login_->replay_error));
    timer_.disarm();
    const bool was_welcoming = state_ == ClientState::welcoming;
    finish_replay();
    if (!was_welcoming && state_ == ClientState::active) process_inbox();
    if (is_draining_ && inbox_ == nullptr && is_between_transactions()) shut_down();
    return;
  }
  if (state_ == ClientState::asking) return on_answer();
  if (state_ == ClientState::restoring) {
    if (has_server_error_) return fail(Error(login_->replay_error));
    state_ = ClientState::active;
    announce_restored();
  }
  waits_for_restore_ = false;
  // Behind a COPY that failed with a Sync in it this is not yet the end of what was sent.
  const bool is_all_answered = server.expected().is_quiet();
  if (is_all_answered) unnamed_changes_.reset();  // nothing is left that could be skipped
  if (naming_ != nullptr) {
    settle_naming(server);
    if (finish_naming()) return process_inbox();
  }
  if (prepared_ != nullptr) {
    prepared_->settle(server.expected());
    if (is_all_answered) names_in_doubt_ = false;
    if (is_rerun_due_) return run_again();
  }
  if (routing_ != nullptr && routing_->is_rerun_due) return run_on_primary();
  if (routing_ != nullptr && routing_->is_ending_early) note_early_end();
  is_kept_ = false;
  if (cycle_copy_ != nullptr) sessions_.give_back(std::move(cycle_copy_));
  const TimePoint now = pool_->loop().now();
  if (in_cycle_) {
    in_cycle_ = false;
    note_cycle_end(now);
    timer_.disarm();
  }
  if (traces_ != nullptr && restore_startup_settings()) return;
  if (server.transaction_status() != wire::TransactionStatus::idle) {
    if (pool_->settings().pool_mode == config::PoolMode::statement) {
      return fail({.sqlstate = "0A000",
                   .message = "transaction blocks not allowed in statement pooling mode",
                   .hint = "Use pool_mode = transaction for this database or user."});
    }
    wait_in_transaction(now);
    if (inbox_ != nullptr) process_inbox();  // it waited for the startup settings
    return;
  }
  transaction_timer_.disarm();
  is_leak_known_ = false;
  if (routing_ != nullptr) routing_->has_ended_one = true;
  if (may_have_written_) note_write_end();
  if (changes_code_) {
    changes_code_ = false;
    sessions_.forget_learned(*pool_);
  }
  release_if_possible();
  if (inbox_ != nullptr && may_process()) process_inbox();
}

/// Until idle_transaction_timeout, with leak_warning on the way.
void ClientSession::wait_in_transaction(TimePoint now) {
  TimeoutQueue* warning = is_leak_known_ ? nullptr : pool_->leak_warning_queue();
  (warning != nullptr ? *warning : pool_->idle_transaction_queue()).arm(timer_, now);
}

/// False: that was not the warning, or it has come before.
bool ClientSession::warn_of_leak() {
  if (is_leak_known_ || pool_->leak_warning_queue() == nullptr || server_ == nullptr) return false;
  is_leak_known_ = true;
  ++pool_->counters().leak_count;
  const auto seconds = [](Duration duration) {
    return std::chrono::duration<double>(duration).count();
  };
  const TimePoint now = pool_->loop().now();
  const Duration limit = pool_->settings().idle_transaction_timeout;
  const std::string end =
      limit == Duration::zero()
          ? "nothing will end it (idle_transaction_timeout = 0)"
          : fmt::format("idle_transaction_timeout = {} ends it", seconds(limit));
  log::line(log::Level::warning, subject(),
            "idle in transaction for {} s (leak_warning): application_name \"{}\", transaction "
            "open for {:.3f} s, last statement {:#x}, server pid {}; {}",
            seconds(pool_->leak_warning_queue()->duration()),
            server_->session_state()->value("application_name"), seconds(now - transaction_at_),
            last_fingerprint_, server_->backend_pid(), end);
  pool_->leaked_queue().arm(timer_, now);
  return true;
}

/// Gives the server back when nothing ties it to this client any more.
void ClientSession::release_if_possible() {
  if (state_ != ClientState::active || in_cycle_) return;
  // In a transaction idle_transaction_timeout runs; what is no message yet does not stop it.
  if (server_->transaction_status() != wire::TransactionStatus::idle) return;
  if (server_->expected().is_uncertain()) {
    server_->note_residue(true);
    pin({sql::Residue::hidden}, 0);
  }
  if (traces_ != nullptr && ask_what_is_left()) return;
  if (traces_ == nullptr || !traces_->is_asked_about()) end_doubt();
  // Where the next transaction belongs to may be elsewhere: what cannot be moved ends here.
  const bool leaves_replica = is_pinned() && is_on_replica();
  const bool keeps_server =
      (is_pinned() && !leaves_replica) || body_left_ > 0 || keeps_server_for_good();
  const bool is_free = leaves_replica ? server_->is_settled() : server_->is_releasable();
  if (keeps_server || !is_free) {
    pool_->client_idle_queue().arm(timer_, pool_->loop().now());
    if (is_draining_) shut_down();
    return;
  }
  pool::ServerConnection& server = *std::exchange(server_, nullptr);
  // Whatever the transaction changed, as the server reported it, is the client's state now.
  if (session_state_ != server.session_state()) session_state_ = server.session_state();
  const TimePoint now = pool_->loop().now();
  pool_->counters().note_transaction(now - attached_at_);
  state_ = ClientState::idle;
  pool_->client_idle_queue().arm(timer_, now);
  const config::Settings& settings = sessions_.settings();
  if (leaves_replica) {
    unpin();
    server.pool().close(server, "it holds what its client cannot take along");
  } else if (must_scrub_) {
    must_scrub_ = false;
    server.pool().reset(server, "RESET ALL; DISCARD SEQUENCES");
  } else {
    server.pool().reset(server,
                        settings.server_reset_query_always ? settings.server_reset_query : "");
  }
  const bool is_rerun = routing_ != nullptr && routing_->was_refused;  // it goes on
  if (is_draining_ && state_ == ClientState::idle && !is_rerun) shut_down();
}

void ClientSession::on_server_drained(pool::ServerConnection& /*server*/) {
  update_back_pressure();
  if (state_ == ClientState::active && inbox_ != nullptr) process_inbox();
}

void ClientSession::on_drained() {
  resume_server();
  if (state_ == ClientState::idle) process_inbox();
}

void ClientSession::on_closed(const std::string& reason) {
  // Gracefully: an alert that tells the client why must not be overtaken by a reset.
  if (reason.starts_with("TLS")) return close("client " + reason, nullptr, true);
  leave(reason == "EOF" ? "client unexpected eof" : "client " + reason);
}

void ClientSession::on_timeout(Timeout& timeout) {
  const auto error = [](std::string_view setting, const char* sqlstate, std::string what) {
    return Error{.sqlstate = sqlstate,
                 .message = std::string(setting) + ": " + std::move(what),
                 .hint = "Raise " + std::string(setting) + ", or set it to 0 to switch it off."};
  };
  if (routing_ != nullptr && &timeout == &routing_->go_on) return process_inbox();
  if (&timeout == &transaction_timer_) {
    return fail(error("transaction_timeout", "25P04", "transaction took too long"));
  }
  switch (state_) {
    case ClientState::startup:
    case ClientState::authenticating:
      return fail(error("client_login_timeout", "08P01", "client did not finish its login"));
    case ClientState::welcoming:
      if (!keeps_server_for_good() && !has_wait_limit()) {
        return fail(pool_->exhausted_error("client_login_timeout"));
      }
      [[fallthrough]];
    case ClientState::waiting: {
      const bool is_for_replica = routing_ != nullptr && routing_->is_waiting;
      const Error exhausted =
          is_for_replica ? no_replica_error() : target_->exhausted_error("query_wait_timeout");
      ++pool_->counters().wait_timeout_count;
      return fail(exhausted);
    }
    case ClientState::idle:
      return fail(error("client_idle_timeout", "57P05", "client was idle for too long"));
    default: break;
  }
  if (in_cycle_ || state_ == ClientState::replaying || state_ == ClientState::restoring) {
    return fail(error("query_timeout", "57014", "query took too long"));
  }
  if (server_ != nullptr && server_->transaction_status() == wire::TransactionStatus::idle) {
    return fail(error("client_idle_timeout", "57P05", "client was idle for too long"));
  }
  if (warn_of_leak()) return;
  fail(error("idle_transaction_timeout", "25P03", "transaction was idle for too long"));
}

void ClientSession::cancel(pool::CancelListener& listener) {
  if (console_command_ != nullptr) {
    sessions_.console().cancel_command(*console_command_);
    return listener.on_cancel_finished();
  }
  if (state_ == ClientState::active && in_cycle_) return server_->cancel_running(&listener);
  const bool is_queued = state_ == ClientState::waiting || state_ == ClientState::replaying;
  if (is_queued && discard_ == Discard::nothing) {
    refuse_waiting({.sqlstate = "57014",
                    .message = "canceling statement due to user request",
                    .detail = "It was still waiting for a server connection."});
  }
  listener.on_cancel_finished();
}

void ClientSession::drain(bool drops_waiting) {
  if (state_ == ClientState::console) return;
  is_draining_ = true;
  const bool is_held = target_ != nullptr && target_->hold() != pool::Hold::none;
  const bool can_go = state_ == ClientState::idle || state_ == ClientState::startup ||
                      state_ == ClientState::authenticating || state_ == ClientState::welcoming ||
                      (state_ == ClientState::waiting && (drops_waiting || is_held));
  if (can_go || is_between_transactions()) shut_down();
}

bool ClientSession::is_unflushed() const {
  return transport_->queued_bytes() > 0 || (server_ != nullptr && server_->queued_bytes() > 0);
}

bool ClientSession::is_between_transactions() const {
  return state_ == ClientState::active && !in_cycle_ &&
         server_->transaction_status() == wire::TransactionStatus::idle;
}

void ClientSession::shut_down() {
  if (pool_ != nullptr && pool_->is_retired()) return fail(*pool_->retired_because());
  fail({.sqlstate = "57P01", .message = "terminating connection: the pooler is shutting down"});
}

/// Gives back what the client holds or waits for.
void ClientSession::detach() {
  if (pool_ == nullptr) return;
  target_->leave_queue(*this);
  if (server_ == nullptr) return;
  flush_pass();
  give_up_server(*std::exchange(server_, nullptr));
}

void ClientSession::give_up_server(pool::ServerConnection& server) {
  pool_->counters().note_transaction(pool_->loop().now() - attached_at_);
  unpin();
  pool::Pool& pool = server.pool();
  if (is_mid_message()) return pool.close(server, "client left in the middle of a message");
  if (server.is_releasable() && !has_server_error_) {
    return pool.reset(
        server, keeps_server_for_good() ? sessions_.settings().server_reset_query : std::string());
  }
  // A question of ours that is under way is no work of the client's.
  pool.reset(server, !has_terminated_ && !server.is_asked());
}

void ClientSession::fail(const Error& error) {
  const Error copy = error;
  if (pool_ != nullptr) pool_->counters().note_error(copy.sqlstate);
  // What the server answers to us is none of the client's.
  const bool is_mid_message =
      state_ == ClientState::active && server_ != nullptr && server_->is_mid_message();
  close(copy.message, is_mid_message ? nullptr : &copy, true);
}

void ClientSession::leave(std::string_view reason) {
  close(reason, nullptr, false);
}

/// The one way out. `error` is what the client is told, as FATAL; nullptr: nothing. `gracefully`:
/// what it was told so far shall reach it.
void ClientSession::close(std::string_view reason, const Error* error, bool gracefully) {
  if (state_ == ClientState::closing) return;
  const config::Settings& settings = sessions_.settings();
  const bool is_refused = error != nullptr || reason.starts_with("client TLS");  // by an alert
  if (settings.log_disconnections || (is_refused && settings.log_pooler_errors)) {
    const auto age = std::chrono::duration_cast<std::chrono::seconds>(sessions_.loop().wall_now() -
                                                                      connect_time_);
    log::line(log::Level::log, subject(), "closing because: {} (age={}s)", reason, age.count());
  }
  if (is_shaking_hands()) ++sessions_.counters().tls_failure_count;
  timer_.disarm();
  transaction_timer_.disarm();
  if (console_command_ != nullptr) sessions_.loop().destroy_later(std::move(console_command_));
  if (in_cycle_) {
    in_cycle_ = false;
    cycle_.has_failed = true;
    note_cycle_end(pool_->loop().now());
  }
  detach();
  state_ = ClientState::closing;
  if (error != nullptr) {
    std::string out = login_ != nullptr ? std::move(login_->reply) : std::string();
    wire::put_error(out, wire::Severity::fatal, *error);
    send(out);
    note_error(*error);
  }
  if (gracefully) {
    sessions_.loop().close_gracefully(std::move(transport_));
  } else {
    transport_.reset();
  }
  if (inbox_ != nullptr) sessions_.give_back(std::move(inbox_));
  if (pool_ != nullptr) {
    --pool_->client_count;
    --pool_->database().client_count;
    --user_->client_count;
  }
  if (is_counted_) --sessions_.counted_clients;
  sessions_.remove(*this);
}

}  // namespace pgproxy::session
