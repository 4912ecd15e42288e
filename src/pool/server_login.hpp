#pragma once

#include <string>

#include "pgproxy/auth/server_auth.hpp"
#include "pgproxy/pool/session_state.hpp"
#include "pgproxy/wire/message.hpp"

namespace pgproxy::pool {

class ServerConnection;

/// Start-up and authentication of one server connection (PostgreSQL docs 55.2.1), from the startup
/// packet to the first ReadyForQuery. Owned by its ServerConnection until it reports the end there.
class ServerLogin {
 public:
  explicit ServerLogin(ServerConnection& server);
  void start();
  /// The last statement of the caller: the end of the login destroys *this.
  void on_data(Bytes bytes);

 private:
  enum class Outcome { go_on, ready, failed };
  Outcome on_message(char type, Bytes body);
  Outcome on_authentication(Bytes body);
  Outcome fail(Error error);
  Outcome fail_unexpected(char type);

  ServerConnection& server_;
  auth::ServerAuth auth_;
  std::string input_;
  StateRef reported_;
  std::string secret_;
  std::uint32_t pid_ = 0;
  bool authenticated_ = false;
  Error error_;
};

}  // namespace pgproxy::pool
