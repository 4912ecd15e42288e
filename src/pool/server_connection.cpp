#include "pgproxy/pool/server_connection.hpp"

#include <utility>

#include "pool/cancellation.hpp"
#include "pool/server_attempt.hpp"
#include "pool/server_login.hpp"
#include "pool/server_task.hpp"

#include "pgproxy/pool/pool.hpp"
#include "pgproxy/pool/server_host.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::pool {
namespace {

/// What role_check() makes of a server that is no primary begins like this, whatever the language
/// of the rest.
constexpr std::string_view role_error = "the server is ";

constexpr unsigned bit(ServerState state) {
  return 1U << static_cast<unsigned>(state);
}

template <class... States>
constexpr unsigned any_of(States... states) {
  return (bit(states) | ...);
}

constexpr unsigned next_states(ServerState from) {
  using enum ServerState;
  switch (from) {  // no default: the compiler finds a forgotten state
    case connecting: return any_of(authenticating, closing);
    case authenticating: return any_of(preparing, idle, closing);
    case preparing: return any_of(idle, closing);
    case idle: return any_of(active, testing, closing);
    case active: return any_of(idle, resetting, closing);
    case testing: return any_of(idle, closing);
    case resetting: return any_of(idle, closing);
    case closing: return 0;
  }
  std::unreachable();
}

}  // namespace

std::string_view to_string(ServerState state) {
  using enum ServerState;
  switch (state) {  // PgBouncer's words
    case connecting:
    case authenticating:
    case preparing: return "new";
    case idle: return "idle";
    case active: return "active";
    case testing:
    case resetting: return "tested";
    case closing: return "closing";
  }
  std::unreachable();
}

ServerConnection::ServerConnection(Pool& pool, std::uint64_t id, Permit permit, ServerHost& host,
                                   bool is_attempt)
    : pool_(pool),
      id_(id),
      permit_(std::move(permit)),
      host_(host),
      address_(host.address()),
      is_attempt_(is_attempt),
      connect_time_(pool.loop().wall_now()),
      deadline_(*this),
      idle_timeout_(*this),
      lifetime_(*this) {}

ServerConnection::~ServerConnection() = default;

/// The only place a server connection changes state.
void ServerConnection::move_to(ServerState next) {
  PGPROXY_ASSERT((next_states(state_) & bit(next)) != 0);
  state_ = next;
}

void ServerConnection::start() {
  io::Loop& loop = pool_.loop();
  since_ = loop.now();
  loop.timeouts().queue(pool_.global().server_connect_timeout).arm(deadline_, since_);
  attempt_ = pool_.connect(address_, *this);
}

void ServerConnection::on_connected(std::unique_ptr<io::Transport> transport) {
  attempt_.reset();
  transport_ = std::move(transport);
  transport_->set_listener(*this);
  if (pool_.global().log_connections) {
    log::line(log::Level::log, subject(), "new connection to server (from {})",
              transport_->local().text());
  }
  move_to(ServerState::authenticating);
  login_ = std::make_unique<ServerLogin>(*this);
  login_->start();
}

void ServerConnection::on_connect_failed(const Error& error) {
  attempt_.reset();
  on_login_failed(
      {error.sqlstate == "08004" ? "08004" : "08006", error.message, error.detail, error.hint});
}

void ServerConnection::on_login_done(StateRef reported, std::uint32_t pid, Bytes secret) {
  login_.reset();
  session_state_ = as_told_to_clients(std::move(reported));
  login_time_ = std::chrono::duration_cast<Duration>(pool_.loop().wall_now() - connect_time_);
  backend_pid_ = pid;
  backend_secret_ = as_text(secret);
  if (pool_.settings().server_lifetime > Duration::zero()) {
    pool_.loop()
        .timeouts()
        .queue(pool_.settings().server_lifetime)
        .arm(lifetime_, pool_.loop().now());
  }
  std::vector<std::string> queries = preparing_queries();
  for (const std::string& sql : {verification(), role_check()}) {
    if (!sql.empty()) queries.insert(queries.begin(), sql);
  }
  if (queries.empty()) {
    deadline_.disarm();
    return pool_.on_server_ready(*this);
  }
  move_to(ServerState::preparing);
  task_ = std::make_unique<ServerTask>(*this, std::move(queries));
  holder_ = task_.get();
  task_->start();
}

/// A standby reports of itself what its clients, who talk to a primary as well, are not to hear of;
/// and read-only by default it is for us.
StateRef ServerConnection::as_told_to_clients(StateRef reported) const {
  if (pool_.kind() != PoolKind::replica) return reported;
  StateInterner& states = pool_.context().states;
  const bool is_read_only = pool_.database().config.read_only;
  for (const auto& [name, value] :
       {std::pair(hot_standby_setting, "off"), {read_only_setting, is_read_only ? "on" : "off"}}) {
    if (reported->find(name) != nullptr) reported = states.with(reported, name, value, true);
  }
  return reported;
}

/// The role of a server is asked for with each login: one that comes back, and was the primary
/// before another one, is not written to.
std::string ServerConnection::role_check() const {
  if (pool_.kind() != PoolKind::primary) return {};
  return fmt::format(
      "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'the server is a standby'::text WHEN "
      "pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) "
      "OPERATOR(pg_catalog.<) '{:08X}' THEN 'the server is on a timeline before that of the "
      "primary'::text ELSE '0'::text END::pg_catalog.int4",
      pool_.timeline());
}

/// A login with settings that the server does not know or allow fails by itself; but what stands
/// between us and the server may have dropped them. Once for each pool; an error names them.
/// Settings with a dot in their name are not listed by PostgreSQL.
std::string ServerConnection::verification() const {
  if (!pool_.wants_verification()) return {};
  std::string names;
  for (const auto& [name, value] : pool_.database().config.server_settings) {
    if (name.contains('.')) continue;
    names += (names.empty() ? "" : ", ") + wire::quote_literal(name);
  }
  if (names.empty()) return {};
  return "SELECT coalesce('server_settings that did not arrive: ' || "
         "pg_catalog.string_agg(n, ', '), '0')::pg_catalog.int4 FROM pg_catalog.unnest(ARRAY[" +
         names +
         "]::text[]) AS n WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_settings WHERE "
         "pg_catalog.lower(name) OPERATOR(pg_catalog.=) pg_catalog.lower(n) AND source "
         "OPERATOR(pg_catalog.=) 'client')";
}

/// What a connection runs before anyone gets it, and again when RESET ALL or DISCARD ALL undid it.
std::vector<std::string> ServerConnection::preparing_queries() const {
  const config::Database& entry = pool_.database().config;
  std::vector<std::string> queries;
  for (const std::string* query : {&entry.init_statements, &entry.connect_query}) {
    if (!query->empty()) queries.push_back(*query);
  }
  return queries;
}

void ServerConnection::on_login_failed(const Error& error) {
  pool_.on_login_failed(*this, error);
}

void ServerConnection::send(Bytes first, Bytes second) {
  transport_->write(first, second);
}

std::string ServerConnection::channel_binding() const {
  const io::TlsInfo* tls = transport_->tls();
  return tls != nullptr ? tls->server_end_point : std::string();
}

void ServerConnection::query(ReplyOwner& owner, std::string_view sql) {
  std::string out;
  wire::put_query(out, sql);
  expect(owner, ReplyKind::query);
  send(as_bytes(out));
}

void ServerConnection::expect_refused(ReplyOwner& owner, ReplyKind kind, const Error& error) {
  if (!expected_.is_skipping()) {
    if (refusals_ == nullptr) refusals_ = std::make_unique<std::vector<Refusal>>();
    refusals_->push_back({expected_.next_number(), error});
  }
  expect(owner, kind);
}

ServerStatements& ServerConnection::statements() {
  if (statements_ == nullptr) statements_ = std::make_unique<ServerStatements>();
  return *statements_;
}

bool ServerConnection::is_releasable() {
  return residue_ == Residue::none && is_settled();
}

bool ServerConnection::is_settled() {
  // After a FATAL only the end is to come.
  return status_ == wire::TransactionStatus::idle && cancellation_ == nullptr && body_left_ == 0 &&
         held_.empty() && last_error_.sqlstate.empty() && expected_.is_quiet() &&
         !expected_.is_uncertain();
}

void ServerConnection::set_holder(ReplyOwner* holder) {
  holder_ = holder;
  idle_timeout_.disarm();
  resume_reading();  // the one before may not have kept up
  if (state_ == ServerState::idle) move_to(ServerState::active);
}

void ServerConnection::pause_reading() {
  if (std::exchange(is_paused_, true) || is_suspended_) return;
  transport_->pause_reading();
}

void ServerConnection::resume_reading() {
  if (!std::exchange(is_paused_, false) || is_suspended_) return;
  transport_->resume_reading();
}

void ServerConnection::set_suspended(bool is_suspended) {
  if (transport_ == nullptr || std::exchange(is_suspended_, is_suspended) == is_suspended) return;
  if (is_paused_) return;
  if (is_suspended) {
    transport_->pause_reading();
  } else {
    transport_->resume_reading();
  }
}

/// The only way to idle: from nothing but a session that is known to hold nothing.
void ServerConnection::go_idle(TimePoint now) {
  PGPROXY_ASSERT(residue_ == Residue::none);
  holder_ = nullptr;
  body_owner_ = nullptr;
  resume_reading();
  move_to(ServerState::idle);
  since_ = now;
  restart_idle_timeout();
  if (is_expired_) pool_.loop().timeouts().queue(pool_.expiry_spacing()).arm(lifetime_, now);
}

/// Arming it for no time at all is disarming it.
void ServerConnection::restart_idle_timeout() {
  pool_.idle_timeout_queue().arm(idle_timeout_, pool_.loop().now());
}

void ServerConnection::run_check(const std::string& query) {
  unlink();
  idle_timeout_.disarm();
  move_to(ServerState::testing);
  run_task({query}, nullptr);
}

void ServerConnection::run_reset(const std::string& reset_query, bool cancel_what_runs) {
  const ReplyOwner* client = holder_;
  set_suspended(false);
  resume_reading();
  move_to(ServerState::resetting);
  std::vector<std::string> queries;
  if (!reset_query.empty()) queries.push_back(reset_query);
  if (reset_query != "DISCARD ALL") {
    // It may leave alone what the client set at startup.
    const StateRef fresh = pool_.context().states.reported_only(session_state_);
    const std::string sql = difference(*session_state_, *fresh);
    if (!sql.empty()) queries.push_back(sql);
  }
  needs_connect_query_ = reset_query.contains(" ALL");
  if (cancel_what_runs && expected_.size() > 0) cancel_running(nullptr);
  run_task(std::move(queries), client);
}

void ServerConnection::run_task(std::vector<std::string> queries, const ReplyOwner* client) {
  io::Loop& loop = pool_.loop();
  loop.timeouts().queue(pool_.global().server_connect_timeout).arm(deadline_, loop.now());
  task_ = std::make_unique<ServerTask>(*this, std::move(queries));
  holder_ = task_.get();
  if (client == nullptr) return task_->start();
  if (body_owner_ == client) body_owner_ = task_.get();
  task_->start_after(*client);
}

void ServerConnection::ask_session(QuestionScope scope) {
  io::Loop& loop = pool_.loop();
  loop.timeouts().queue(pool_.global().server_connect_timeout).arm(deadline_, loop.now());
  question_ = std::make_unique<SessionQuestion>(*this, std::move(scope));
  question_count_ = 1;
  question_->ask();
}

/// A statement_timeout of a millisecond can end the question's first statement, which switches it
/// off for the rest.
bool ServerConnection::ask_again() {
  constexpr std::uint8_t max_questions = 5;
  if (question_ == nullptr || !question_->was_cancelled()) return false;
  if (++question_count_ > max_questions) return false;
  question_->ask();
  return true;
}

std::optional<SessionTruth> ServerConnection::take_answer() {
  if (state_ != ServerState::resetting) deadline_.disarm();  // a reset goes on
  auto truth = question_->answer();
  pool_.loop().destroy_later(std::move(question_));  // it may be on the stack
  return truth;
}

void ServerConnection::settle(StateRef state) {
  PGPROXY_ASSERT(residue_ != Residue::hidden);
  residue_ = Residue::none;
  session_state_ = std::move(state);
}

void ServerConnection::on_task_done(bool ok) {
  deadline_.disarm();
  holder_ = nullptr;
  const Error error = task_->error();
  pool_.loop().destroy_later(std::move(task_));  // it is on the stack
  if (!ok && state_ == ServerState::preparing) {
    if (pool_.kind() == PoolKind::primary && error.message.contains(role_error)) {
      pool_.note_doubt(host_);
      return on_login_failed(
          {.sqlstate = std::string(not_primary_sqlstate),
           .message = fmt::format("server {} is not the primary: {}", host_.name(), error.message),
           .hint = "SHOW HOSTS tells what each server said last."});
    }
    return on_login_failed({error.sqlstate,
                            "server_settings, init_statements or connect_query: " + error.message,
                            error.detail,
                            fmt::format("Correct it in the entry of database {}{}.",
                                        pool_.database().config.name, pool_.place_of_entry())});
  }
  if (!ok || expected_.is_uncertain()) {
    return pool_.close(*this, "query of ours failed on the server");
  }
  if (state_ == ServerState::resetting) {
    residue_ = Residue::none;
    session_state_ = pool_.context().states.reported_only(session_state_);
    may_have_unnamed_ = false;  // each Query destroys it
  }
  if (std::exchange(needs_connect_query_, false)) {
    std::vector<std::string> queries = preparing_queries();
    if (!queries.empty()) return run_task(std::move(queries), nullptr);
  }
  if (state_ == ServerState::preparing) return pool_.on_server_ready(*this);
  pool_.checkin(*this);
}

void ServerConnection::cancel_running(CancelListener* listener) {
  if (cancellation_ == nullptr) {
    if (expected_.size() == 0) {
      if (listener != nullptr) listener->on_cancel_finished();
      return;
    }
    start_cancelling();
  }
  if (listener != nullptr) cancellation_->add(*listener, cycle_);
}

void ServerConnection::start_cancelling() {
  CancelRoute route{.address = address_, .is_encrypted = transport_->tls() != nullptr};
  if (const io::Endpoint peer = transport_->peer(); !peer.is_unix) {
    route.address = {peer.host, peer.port};
  }
  cancellation_ = std::make_unique<Cancellation>(*this, address_, route, cycle_);
}

void ServerConnection::stop_cancelling() {
  if (cancellation_ == nullptr) return;
  cancellation_->stop();
  pool_.loop().destroy_later(std::move(cancellation_));  // it may be on the stack
}

void ServerConnection::on_cancel_finished() {
  if (cancellation_ != nullptr && cancellation_->is_needed_again(cycle_) && expected_.size() > 0) {
    std::unique_ptr<Cancellation> ended = std::move(cancellation_);
    ended->stop();
    start_cancelling();
    cancellation_->succeed(*ended);
    pool_.loop().destroy_later(std::move(ended));  // it is on the stack
    return;
  }
  stop_cancelling();
  if (holder_ != nullptr && (expected_.is_quiet() || expected_.is_uncertain())) {
    holder_->on_replies_done(*this);
  }
}

void ServerConnection::on_data(Bytes bytes) {
  if (state_ == ServerState::closing) return;  // the end of a login may have ended it all
  ++reads_;
  if (login_ != nullptr) return login_->on_data(bytes);
  read_replies(bytes);
}

void ServerConnection::on_drained() {
  if (holder_ != nullptr) holder_->on_server_drained(*this);
}

void ServerConnection::on_closed(const std::string& reason) {
  Error error{.sqlstate = "08006",
              .message = "server closed the connection unexpectedly",
              .detail = "The connection to the server ended: " + reason + ".",
              .hint = "See the server's log for the reason."};
  if (reason.starts_with("TLS")) {
    error.hint = tls_hint(reason);
    if (login_ != nullptr) error.sqlstate = "08004";
  } else if (login_ != nullptr && transport_->tls() != nullptr) {
    // With TLS 1.3 a server judges our certificate behind the handshake, and the reset of its
    // connection may overtake its alert.
    error.hint += " It may want another server_tls_cert_file and server_tls_key_file.";
  }
  if (!last_error_.sqlstate.empty()) error = last_error_;
  if (Pool::is_logging_in(*this)) return on_login_failed(error);
  unlink();  // whoever hears of it looks for an idle one to close
  host_.on_connection_lost(error);
  pool_.note_doubt(host_);
  if (state_ == ServerState::closing) return;  // by who acted on that
  lost(error);
}

void ServerConnection::on_timeout(Timeout& timeout) {
  if (&timeout == &deadline_) {
    if (state_ == ServerState::preparing) {
      return on_login_failed({.sqlstate = "57014",
                              .message = "server_connect_timeout: init_statements or connect_query "
                                         "took too long",
                              .hint = "Raise server_connect_timeout, or correct them in the entry "
                                      "of the database" +
                                      pool_.place_of_entry() + "."});
    }
    if (Pool::is_logging_in(*this)) {
      return on_login_failed({.sqlstate = "08006",
                              .message = "server_connect_timeout: server did not accept the login",
                              .hint = "Raise server_connect_timeout, or check the server's load "
                                      "and host and port of the database entry."});
    }
    const Error late{.sqlstate = "08006",
                     .message = "server_connect_timeout: server did not answer a query of ours",
                     .hint = "Raise server_connect_timeout, or check the server's load."};
    host_.on_connection_lost(late);
    if (state_ == ServerState::active) return lost(late);
    return pool_.close(*this, late.message);
  }
  if (&timeout == &lifetime_) {
    is_expired_ = true;
    if (state_ != ServerState::idle) return;
    if (pool_.may_expire_now()) return pool_.close(*this, "server_lifetime");
    // Another one expired just now: closing all of a pool at once would be felt.
    pool_.loop().timeouts().queue(pool_.expiry_spacing()).arm(lifetime_, pool_.loop().now());
    return;
  }
  if (state_ != ServerState::idle) return;
  if (pool_.may_close_idle()) return pool_.close(*this, "server_idle_timeout");
  pool_.idle_timeout_queue().arm(idle_timeout_, pool_.loop().now());
}

void ServerConnection::close(std::string_view reason) {
  if (pool_.global().log_disconnections && transport_ != nullptr) {
    const auto age =
        std::chrono::duration_cast<std::chrono::seconds>(pool_.loop().wall_now() - connect_time_);
    log::line(log::Level::log, subject(), "closing because: {} (age={}s)", reason, age.count());
  }
  move_to(ServerState::closing);
  unlink();
  holder_ = nullptr;
  deadline_.disarm();
  idle_timeout_.disarm();
  lifetime_.disarm();
  stop_cancelling();
  attempt_.reset();
  if (transport_ != nullptr) {
    // Terminate spares the server's log a line; what cannot be sent at once is not worth waiting
    // for.
    if (login_ == nullptr && transport_->queued_bytes() == 0) {
      std::string out;
      wire::put_message(out, 'X');
      transport_->write(as_bytes(out));
    }
    transport_.reset();
  }
  permit_.reset();
}

log::Subject ServerConnection::subject() const {
  return {.side = 'S',
          .id = id_,
          .database = pool_.database().config.name,
          .user = pool_.user().name,
          .peer = address_.host + ":" + std::to_string(address_.port)};
}

ConnectionRow ServerConnection::describe() const {
  ConnectionRow row{.id = id_,
                    .user = pool_.user().name,
                    .database = pool_.database().config.name,
                    .state = std::string(to_string(state_)),
                    .replication = "none",
                    .addr = address_.host,
                    .port = address_.port,
                    .connect_time = connect_time_,
                    .close_needed = is_expired_ || is_outdated_,
                    .remote_pid = backend_pid_,
                    .prepared_statements = static_cast<std::uint32_t>(statement_count())};
  if (transport_ != nullptr) {
    const io::Endpoint local = transport_->local();
    row.local_addr = local.host;
    row.local_port = local.port;
    if (const io::TlsInfo* tls = transport_->tls()) row.tls = tls->text();
    row.socket.fd = local.fd;
    row.socket.unsent_bytes = transport_->queued_bytes();
  }
  row.socket.unread_bytes = held_.size();
  row.socket.message_bytes = body_left_;
  if (session_state_) describe_settings(*session_state_, row);
  if (cancellation_ != nullptr) row.state = "being_canceled";
  return row;
}

}  // namespace pgproxy::pool
