// What the statements of a client cost.
#include "session/client_session.hpp"
#include "session/workload.hpp"

#include "pgproxy/session/sessions.hpp"

namespace pgproxy::session {
namespace {

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

/// A statement of this shape is about to run.
void ClientSession::note_statement(const sql::ShapeRef& shape) {
  cycle_.note_statement(shape, workload_->several);
  if (routing_ != nullptr && shape->facts.controls_transaction) note_block(shape->facts);
  if (may_have_written_) return;
  may_have_written_ = shape->facts.may_write || may_write_unseen(*shape);
}

void ClientSession::on_command(std::string_view tag) {
  cycle_.note_command(tag);
}

void ClientSession::pause_server(pool::ServerConnection& server) {
  server.pause_reading();
  if (cycle_.paused_at == TimePoint{}) cycle_.paused_at = pool_->loop().now();
}

void ClientSession::resume_server() {
  if (server_ == nullptr) return;
  server_->resume_reading();
  if (cycle_.paused_at == TimePoint{}) return;
  cycle_.client += pool_->loop().now() - std::exchange(cycle_.paused_at, TimePoint{});
}

void ClientSession::note_cycle_end(TimePoint now) {
  const Duration execution = now - request_at_;
  pool_->counters().note_query(execution);
  const Duration replay = cycle_.is_first ? request_at_ - attached_at_ : Duration::zero();
  const Duration threshold = pool_->settings().slow_query_threshold;
  const bool is_slow =
      threshold > Duration::zero() && cycle_.wait + replay + execution >= threshold;
  cycle_.count(execution, is_slow);
  if (is_slow) note_slow_query(execution, replay);
  cycle_ = {};
}

void ClientSession::note_slow_query(Duration execution, Duration replay) {
  ++pool_->counters().slow_query_count;
  const io::Endpoint peer = transport_->peer();
  SlowQueryRow row{
      .ended_at = pool_->loop().wall_now(),
      .database = pool_->database().config.name,
      .user = pool_->user().name,
      .addr = peer.text(),
      .application_name = session_state_ != nullptr
                              ? std::string(session_state_->value("application_name"))
                              : std::string(),
      .backend_pid = server_ != nullptr ? server_->backend_pid() : 0,
      .total = cycle_.wait + replay + execution,
      .wait = cycle_.wait - cycle_.connect,
      .connect = cycle_.connect,
      .replay = replay,
      .execution = execution - cycle_.client,
      .client = cycle_.client,
      .rows = cycle_.rows,
      .bytes = cycle_.bytes,
      .has_failed = cycle_.has_failed,
      .fingerprint = cycle_.shape != nullptr ? cycle_.shape->fingerprint : 0,
      .text = cycle_.shape != nullptr ? cycle_.shape->text : "(a text that is not read)"};
  log::line(log::Level::log, subject(),
            "slow query: {:.3f} s (wait {:.3f}, connect {:.3f}, replay {:.3f}, execution {:.3f}, "
            "client {:.3f}), {} rows, {} bytes, server pid {}{}: {}",
            seconds(row.total), seconds(row.wait), seconds(row.connect), seconds(row.replay),
            seconds(row.execution), seconds(row.client), row.rows, row.bytes, row.backend_pid,
            row.has_failed ? ", failed" : "", row.text);
  sessions_.remember_slow_query(std::move(row));
}

}  // namespace pgproxy::session
