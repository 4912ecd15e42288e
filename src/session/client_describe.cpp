// What a ClientSession tells people.
#include "session/client_login.hpp"
#include "session/prepared_statements.hpp"
#include "session/routing.hpp"
#include "session/session_traces.hpp"

#include "pgproxy/session/sessions.hpp"

namespace pgproxy::session {

log::Subject ClientSession::subject() const {
  log::Subject subject{.side = 'C', .id = id_};
  if (transport_ != nullptr) subject.peer = transport_->peer().text();
  if (pool_ != nullptr) {
    subject.database = pool_->database().config.name;
    subject.user = user_->name;
  } else if (login_ != nullptr) {
    subject.database = login_->startup.database;
    subject.user = login_->startup.user;
  }
  return subject;
}

/// PgBouncer's words.
std::string_view ClientSession::state_word() const {
  switch (state_) {
    case ClientState::startup:
    case ClientState::authenticating: return "login";
    case ClientState::welcoming:
    case ClientState::waiting: return "waiting";
    case ClientState::idle: return "idle";
    case ClientState::replaying:
    case ClientState::active:
    case ClientState::restoring:
    case ClientState::asking:
    case ClientState::console: return "active";
    case ClientState::closing: return "closing";
  }
  std::unreachable();
}

ConnectionRow ClientSession::describe() const {
  const log::Subject who = subject();
  const io::Endpoint peer = transport_->peer();
  const io::Endpoint local = transport_->local();
  io::Loop& loop = sessions_.loop();
  ConnectionRow row{.id = id_,
                    .user = std::string(who.user),
                    .database = std::string(who.database),
                    .state = std::string(state_word()),
                    .replication = "none",
                    .addr = peer.host,
                    .port = peer.port,
                    .local_addr = local.host,
                    .local_port = local.port,
                    .connect_time = connect_time_,
                    .request_time = connect_time_,
                    .remote_pid = static_cast<std::uint32_t>(peer.peer_pid),
                    .tls = tls_text()};
  if (request_at_ != TimePoint{}) row.request_time = loop.wall_now() - (loop.now() - request_at_);
  if (is_linked()) row.wait = loop.now() - queued_at;
  if (prepared_ != nullptr) {
    row.prepared_statements = static_cast<std::uint32_t>(prepared_->size());
  }
  if (server_ != nullptr) row.link = server_->id();
  if (session_state_ != nullptr) {
    pool::describe_settings(*session_state_, row);
  } else if (login_ != nullptr) {
    for (const auto& [name, value] : login_->startup.settings) {
      if (name == "application_name") row.application_name = value;
    }
  }
  row.socket.fd = peer.fd;
  if (inbox_ != nullptr) row.socket.unread_bytes = inbox_->size();
  row.socket.message_bytes = body_left_;
  row.socket.unsent_bytes = transport_->queued_bytes();
  if (is_pinned()) {
    row.pin_reason = sql::to_string(traces_->pinned_by.first());
    row.pinned_since = traces_->pinned_since;
  }
  return row;
}

std::optional<WaitRow> ClientSession::describe_wait() const {
  const bool is_replaying = state_ == ClientState::replaying;
  const bool waits_for_replica =
      state_ == ClientState::waiting && routing_ != nullptr && routing_->is_waiting;
  if (pool_ == nullptr || (!is_linked() && !is_replaying && !waits_for_replica)) {
    return std::nullopt;
  }
  io::Loop& loop = sessions_.loop();
  // attached_at_ is when the replay began.
  const Duration wait = loop.now() - (is_replaying ? attached_at_ : queued_at);
  WaitRow row{.database = pool_->database().config.name,
              .user = user_->name,
              .addr = transport_->peer().text(),
              .client_id = id_,
              .since = loop.wall_now() - wait,
              .wait = wait};
  if (session_state_ != nullptr) row.application_name = session_state_->value("application_name");
  if (is_replaying) {
    row.waits_for = "replay";
    row.detail = fmt::format("its settings on server {}", server_->id());
  } else if (waits_for_replica) {
    row.waits_for = "replica";
    row.detail = no_replica_error().message;
  } else {
    pool::WaitReason reason = target_->wait_reason();
    row.waits_for = std::move(reason.what);
    row.detail = std::move(reason.detail);
  }
  return row;
}

/// For SHOW ERRORS: what the client is told, and not by its server.
void ClientSession::note_error(const Error& error) {
  const log::Subject who = subject();
  sessions_.remember_error({.time = sessions_.loop().wall_now(),
                            .database = std::string(who.database),
                            .user = std::string(who.user),
                            .addr = std::string(who.peer),
                            .sqlstate = error.sqlstate,
                            .message = error.message,
                            .hint = error.hint});
}

/// Of a pinned client.
PinRow ClientSession::describe_pin() const {
  PinRow row{
      .database = pool_->database().config.name,
      .user = pool_->user().name,
      .client_id = id_,
      .server_id = server_->id(),
      .backend_pid = server_->backend_pid(),
      .pinned_since = traces_->pinned_since,
      .age = std::chrono::duration_cast<Duration>(pool_->loop().wall_now() - traces_->pinned_since),
      .fingerprint = traces_->pinned_shape};
  sql::ResidueSet left = traces_->pinned_by;
  while (!left.empty()) {
    row.reason += (row.reason.empty() ? "" : ", ") + std::string(sql::to_string(left.first()));
    left = left - sql::ResidueSet{left.first()};
  }
  return row;
}

}  // namespace pgproxy::session
