#pragma once

#include <string_view>

#include "pgproxy/base/bytes.hpp"
#include "pgproxy/base/intrusive_list.hpp"
#include "pgproxy/base/result.hpp"
#include "pgproxy/base/time.hpp"
#include "pgproxy/wire/decode.hpp"

namespace pgproxy::pool {

class ServerConnection;

/// Whoever sent something to a server and gets the replies.
class ReplyOwner {
 public:
  /// Reply bytes in order, whole messages or parts of large ones; `first` then `second`, each
  /// possibly empty. Valid only during the call.
  virtual void on_reply(ServerConnection& server, Bytes first, Bytes second) = 0;
  /// An ErrorResponse among the replies, before its bytes are handed over; replace_error() may
  /// change them.
  virtual void on_reply_error(ServerConnection& server, const wire::ErrorFields& fields) = 0;
  /// A ParameterStatus among the replies. True: it goes no further.
  virtual bool takes_parameter(const wire::ParameterStatus& /*parameter*/) { return false; }
  /// The body of a NotificationResponse: for the holder, at any time.
  virtual void on_notification(ServerConnection& /*server*/, Bytes /*body*/) {}
  /// Everything asked for has been answered and handed over; transaction_status() is current.
  /// Called when all that was read has been dealt with.
  virtual void on_replies_done(ServerConnection& server) = 0;
  /// As on_replies_done, when more was asked for than has been answered.
  virtual void on_cycle_done(ServerConnection& /*server*/) {}
  /// A statement of its has succeeded; `tag` as in CommandComplete.
  virtual void on_command(std::string_view /*tag*/) {}
  /// Its DISCARD ALL or DEALLOCATE ALL succeeded: the session has no prepared statements.
  virtual void on_deallocated_all(ServerConnection& /*server*/) {}
  /// Its Describe of the statement with this number is answered, and is handed over next. A hash of
  /// what that tells of rows.
  virtual void on_described(ServerConnection& /*server*/, std::uint64_t /*statement*/,
                            std::uint64_t /*description*/) {}
  /// What send() had to queue has left.
  virtual void on_server_drained(ServerConnection& server) = 0;
  /// The connection is gone, and `server` with it after the call. `was_told`: the server's own
  /// FATAL went through on_reply.
  virtual void on_server_lost(ServerConnection& server, const Error& error, bool was_told) = 0;

 protected:
  ~ReplyOwner() = default;
};

/// A client session as its pool sees it: it queues for a server and then holds it.
class PoolClient : public ReplyOwner, public ListHook<PoolClient> {
 public:
  /// The turn has come: the client holds `server` from now on.
  virtual void on_server_granted(ServerConnection& server) = 0;
  /// There will be none: the pool's servers cannot be reached or refuse us.
  virtual void on_server_refused(const Error& error) = 0;

  /// Whether the pool's counters and episodes are about clients like this one.
  virtual bool is_counted() const { return true; }

  /// Since when it has been waiting; kept by the pool.
  TimePoint queued_at{};

 protected:
  ~PoolClient() = default;
};

/// Told when a CancelRequest that it asked for is over.
class CancelListener : public ListHook<CancelListener> {
 public:
  virtual void on_cancel_finished() = 0;

 protected:
  ~CancelListener() = default;
};

}  // namespace pgproxy::pool
