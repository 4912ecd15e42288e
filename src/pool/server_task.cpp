#include "pool/server_task.hpp"

#include "pgproxy/pool/server_connection.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::pool {

namespace {

bool is_clean(const std::optional<SessionTruth>& truth) {
  return truth && !truth->holds_objects() && truth->role == "none" &&
         truth->session_settings.empty();
}

}  // namespace

void ServerTask::start_after(const ReplyOwner& client) {
  ExpectedReplies& expected = server_.expected();
  expected.replace_owner(client, *this);
  draining_ = true;
  if (expected.is_quiet()) return advance();
  end_copy();
  if (expected.needs_sync()) {
    std::string out;
    // A Sync alone would commit what came before it; a client that goes without one wants it
    // undone, as PostgreSQL does at EOF. No portal has this name: the error takes the transaction
    // back.
    wire::put_target(out, 'D', 'P', "pgproxy: client is gone");
    server_.expect(*this, ReplyKind::describe_portal);
    wire::put_message(out, 'S');
    server_.expect(*this, ReplyKind::sync);
    server_.send(as_bytes(out));
  }
}

/// Nobody is left to send its data, and a backend that waits for them looks at no cancel request.
void ServerTask::end_copy() {
  if (!server_.expected().is_copying_in()) return;
  std::string out;
  wire::put_message(out, 'f', std::string_view("client disconnected\0", 20));
  server_.expect(*this, ReplyKind::copy_end);
  server_.send(as_bytes(out));
}

void ServerTask::on_cycle_done(ServerConnection& /*server*/) {
  end_copy();  // it began after its client had left
}

void ServerTask::on_reply_error(ServerConnection& /*server*/, const wire::ErrorFields& fields) {
  if (draining_ && !fields.is_fatal()) return;  // the client's own errors, and our cancel's 57014
  failed_ = true;
  error_ = {std::string(fields.sqlstate), std::string(fields.message), std::string(fields.detail),
            std::string(fields.hint)};
}

void ServerTask::on_replies_done(ServerConnection& server) {
  // What is still to come cannot be told from the answers to our own queries.
  if (failed_ || server.expected().is_uncertain()) return server.on_task_done(false);
  if (server.is_asked()) {
    const auto answer = server.take_answer();
    if (!draining_) return server.on_task_done(is_clean(answer));
  }
  advance();
}

void ServerTask::advance() {
  // A cancel that is still on its way would hit what we run next.
  if (server_.has_cancel_in_flight()) return;
  draining_ = false;
  const bool in_transaction = server_.transaction_status() != wire::TransactionStatus::idle;
  if (!in_transaction && next_ == queries_.size()) {
    if (!server_.may_have_residue()) return server_.on_task_done(true);
    return server_.ask_session({.all_settings = true});  // nobody's residue: trust the truth only
  }
  server_.query(*this, in_transaction ? std::string_view("ROLLBACK") : queries_[next_++]);
}

}  // namespace pgproxy::pool
