#pragma once

#include "pgproxy/pool/reply_owner.hpp"

namespace pgproxy::pool {

/// Hears everything and does nothing.
struct SilentOwner final : ReplyOwner {
  void on_reply(ServerConnection&, Bytes, Bytes) override {}
  void on_reply_error(ServerConnection&, const wire::ErrorFields&) override {}
  void on_replies_done(ServerConnection&) override {}
  void on_server_drained(ServerConnection&) override {}
  void on_server_lost(ServerConnection&, const Error&, bool) override {}
};

}  // namespace pgproxy::pool
