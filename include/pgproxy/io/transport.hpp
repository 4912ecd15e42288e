#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pgproxy/base/bytes.hpp"
#include "pgproxy/base/result.hpp"

namespace pgproxy::io {

/// One end of a connection, for people and for logs.
struct Endpoint {
  std::string host = {};         ///< numeric address; "unix" for a unix socket
  std::uint16_t port = 0;        ///< for a unix socket: the port in its name
  int peer_pid = 0;              ///< unix sockets only: process at the other end, 0 unknown
  std::uint32_t peer_uid = ~0U;  ///< unix sockets only: its user id, ~0 unknown
  bool is_unix = false;
  int fd = -1;  ///< of the socket, for people; -1 unknown

  /// "127.0.0.1:5432", "[::1]:5432", "unix(1234):6432".
  std::string text() const {
    if (is_unix) return "unix(" + std::to_string(peer_pid) + "):" + std::to_string(port);
    const bool v6 = host.find(':') != std::string::npos;
    return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
  }
};

/// How a connection is encrypted, and who is at its other end; known when the handshake is done.
struct TlsInfo {
  std::string version;                  ///< "TLSv1.3"
  std::string cipher;                   ///< "TLS_AES_256_GCM_SHA384"
  std::string peer_common_name;         ///< subject CN of the peer's certificate; empty: none
  std::vector<std::string> peer_names;  ///< DNS names of its subjectAltName
  std::string application_protocol;     ///< agreed on by ALPN; empty: none was offered
  bool has_peer_certificate = false;
  /// Its certificate leads to one of the configured authorities (and, where one was asked for, has
  /// the right host name). False: nothing of the above may be believed.
  bool is_peer_verified = false;
  /// Channel binding tls-server-end-point (RFC 5929): hash of the server's certificate, that is,
  /// of ours to clients. Empty: its signature has no hash to use.
  std::string server_end_point;

  /// As PgBouncer logs it: "TLSv1.3/TLS_AES_256_GCM_SHA384".
  std::string text() const { return version + '/' + cipher; }
};

/// Receives what happens on a Transport. Any call may end with the Transport closed by the
/// listener.
class TransportListener {
 public:
  /// `bytes` belong to the transport and are valid during the call only. Never empty.
  virtual void on_data(Bytes bytes) = 0;
  /// Everything that write() had to queue has left; called only after something was queued.
  virtual void on_drained() = 0;
  /// Only of a transport made by a TlsContext: the handshake is done. Before any data.
  virtual void on_established() {}
  /// The other side closed, reset, or a write failed; `reason` is for the log ("EOF", "Connection
  /// reset by peer"). The last call; never made from inside write().
  virtual void on_closed(const std::string& reason) = 0;

 protected:
  ~TransportListener() = default;
};

/// A byte stream to a client or a server: TCP, a unix socket, TLS over TCP. Lives on one loop and
/// may be used on its thread only. Reading starts when the first listener is set.
class Transport {
 public:
  /// Closes at once: queued bytes are lost, the listener hears nothing more.
  virtual ~Transport() = default;
  /// Hands over to `listener` from the next event on.
  virtual void set_listener(TransportListener& listener) = 0;
  /// Sends both spans, in order, in one system call where the kernel takes them; what it refuses is
  /// copied and sent later. Never calls the listener. Does nothing on a broken connection.
  virtual void write(Bytes first, Bytes second = {}) = 0;
  /// Bytes that write() had to queue and that have not left yet.
  virtual std::size_t queued_bytes() const = 0;
  /// Stops on_data until resume_reading(); each touches epoll, so use them for back pressure only.
  virtual void pause_reading() = 0;
  virtual void resume_reading() = 0;
  /// The other side is who it says it is. Until then an accepted connection is a newcomer: read
  /// from behind all others, a few in each round of events, so that a storm of them holds up
  /// nobody.
  virtual void admit() {}
  /// Asked of the kernel each time: nothing is kept per idle connection.
  virtual Endpoint peer() const = 0;
  virtual Endpoint local() const = 0;
  /// nullptr: not encrypted, or the handshake is still going on.
  virtual const TlsInfo* tls() const { return nullptr; }
};

/// One side's part in TLS as the configuration has it: certificates, authorities, ciphers.
/// Immutable, shared by all connections that were begun with it.
class TlsContext {
 public:
  virtual ~TlsContext() = default;
  /// Begins TLS over `plain`, and takes it. To its user the result is a connected transport: what
  /// is written leaves when the handshake is done, and the other side is who it has to be; tls() is
  /// not null then. When the handshake fails, on_closed() says why, in words that begin with "TLS".
  /// `received`: what was read from `plain` and is TLS already. `host`: whom a server's certificate
  /// has to name; unused towards clients.
  virtual std::unique_ptr<Transport> start(std::unique_ptr<Transport> plain, Bytes received,
                                           const std::string& host) const = 0;
};

/// Where a PostgreSQL server listens.
struct ServerAddress {
  std::string host;  ///< name, numeric address, "/directory" or "@abstract" of a unix socket
  std::uint16_t port = 5432;
  bool is_unix() const { return !host.empty() && (host[0] == '/' || host[0] == '@'); }
  bool operator==(const ServerAddress&) const = default;
};

/// Hears how a connection attempt ended; exactly one of the two is called, never from connect().
class ConnectListener {
 public:
  virtual void on_connected(std::unique_ptr<Transport> transport) = 0;
  /// `error` has sqlstate 08001 and the system's words.
  virtual void on_connect_failed(const Error& error) = 0;

 protected:
  ~ConnectListener() = default;
};

/// A connection attempt under way. Destroying it gives up: the listener hears nothing.
class ConnectAttempt {
 public:
  virtual ~ConnectAttempt() = default;
};

/// Opens connections to servers. Names are resolved on the way, without blocking the loop.
class Connector {
 public:
  virtual std::unique_ptr<ConnectAttempt> connect(const ServerAddress& address,
                                                  ConnectListener& listener) = 0;

 protected:
  ~Connector() = default;
};

/// Told of each client that connected to a listening socket.
class AcceptListener {
 public:
  virtual void on_accepted(std::unique_ptr<Transport> transport) = 0;

 protected:
  ~AcceptListener() = default;
};

}  // namespace pgproxy::io
