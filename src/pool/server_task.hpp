#pragma once

#include <string>
#include <vector>

#include "pgproxy/io/loop.hpp"
#include "pgproxy/pool/reply_owner.hpp"

namespace pgproxy::pool {

/// Something of ours that runs on a server connection while no client holds it: connect_query and
/// init_statements, server_check_query, or cleaning up after a client. Queries run one by one; the
/// end is reported to the ServerConnection, which owns the task.
class ServerTask final : public io::Disposable, public ReplyOwner {
 public:
  ServerTask(ServerConnection& server, std::vector<std::string> queries)
      : server_(server), queries_(std::move(queries)) {}

  /// Runs the queries.
  void start() { advance(); }
  /// First ends what `client` left unfinished: CopyFail, Sync, and then ROLLBACK.
  void start_after(const ReplyOwner& client);
  /// What the server said to the query that failed.
  const Error& error() const { return error_; }

 private:
  void on_reply(ServerConnection&, Bytes, Bytes) override {}
  void on_reply_error(ServerConnection& server, const wire::ErrorFields& fields) override;
  void on_replies_done(ServerConnection& server) override;
  void on_cycle_done(ServerConnection& server) override;
  void on_server_drained(ServerConnection&) override {}
  void on_server_lost(ServerConnection&, const Error&, bool) override {}
  void advance();
  void end_copy();

  ServerConnection& server_;
  std::vector<std::string> queries_;
  Error error_;
  std::size_t next_ = 0;
  bool draining_ = false;
  bool failed_ = false;
};

}  // namespace pgproxy::pool
