#pragma once

#include <memory>
#include <optional>
#include <string>

#include "pgproxy/io/transport.hpp"
#include "pgproxy/pool/pool.hpp"

namespace pgproxy::pool {

/// What a connection for a cancel request has in common with the one that it is about.
struct CancelRoute {
  io::ServerAddress address;  ///< numeric: by now a name may lead elsewhere
  bool is_encrypted = false;  ///< then the key of the request must be, too
};

/// Connects to a server and agrees with it on encryption as server_tls_sslmode asks (PostgreSQL
/// docs 55.2.10): its listener gets a transport that is ready for the first packet. Time is limited
/// by whoever waits for it.
class ServerAttempt final : public io::ConnectAttempt,
                            private io::ConnectListener,
                            private io::TransportListener {
 public:
  /// `address`: whom the configuration names, and the server's certificate has to.
  ServerAttempt(Pool& pool, io::ServerAddress address, io::ConnectListener& listener,
                std::optional<CancelRoute> cancel = {});

 private:
  void on_connected(std::unique_ptr<io::Transport> transport) override;
  void on_connect_failed(const Error& error) override;
  void on_data(Bytes bytes) override;
  void on_drained() override {}
  void on_closed(const std::string& reason) override;
  void on_established() override;

  bool is_direct() const;
  void start_tls();
  void go_on_unencrypted();
  /// 08004: somebody is there, and we do not agree with them on encryption.
  void fail(std::string what, std::string hint, std::string sqlstate = "08004");

  Pool& pool_;
  const io::ServerAddress address_;
  io::ConnectListener& listener_;
  const std::optional<CancelRoute> cancel_;  ///< nullopt: it is for a session
  std::unique_ptr<io::ConnectAttempt> attempt_;
  std::unique_ptr<io::Transport> transport_;
};

/// What may help when TLS with a server failed for `reason`; `is_direct`: it was begun without a
/// request.
std::string tls_hint(const std::string& reason, bool is_direct = false);

}  // namespace pgproxy::pool
