#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "load_login.hpp"
#include "socket.hpp"

#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/message.hpp"

namespace pgproxy::bench {

/// What one transaction is.
enum class Mode {
  simple,     ///< one Query, one row
  extended,   ///< Parse, Bind, Describe, Execute, Sync of the unnamed statement, one row
  prepared,   ///< the same without Parse, of a named statement that each client parsed once
  bulk,       ///< a SELECT of many rows of 100 bytes
  copy,       ///< COPY FROM STDIN of many rows of 100 bytes
  read_only,  ///< BEGIN READ ONLY, a Query with one row, COMMIT: each sent when the one before is
              ///< done
  churn,      ///< connect, log in, one Query, disconnect
};

/// What all clients have in common.
struct ClientOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
  std::string database;
  Mode mode = Mode::simple;
  std::uint64_t rows = 0;      ///< of bulk and copy
  bool is_encrypted = false;   ///< TLS
  std::uint64_t delay_us = 0;  ///< how long the fake server thinks about a simple Query
};

/// One client: logs in, asks, and checks every reply down to the rows' content. Whatever is wrong
/// (a lost connection, an ErrorResponse, another client's row) throws std::runtime_error.
class Client {
 public:
  Client(const ClientOptions& options, Credentials& credentials, std::uint64_t number);

  /// Connects and sends the StartupMessage; the end is on_events()' logged_in.
  void connect(int epoll);
  /// Sends the mode's request; the end is on_events()' answered.
  void ask();
  /// Says goodbye and closes.
  void disconnect();

  enum class Event { none, logged_in, answered };
  Event on_events(std::uint32_t events);

  /// Payload of bulk and copy as it was on the wire.
  std::uint64_t wire_bytes() const { return wire_bytes_; }
  bool is_busy() const { return phase_ == Phase::asking; }
  /// For the driver: when the running transaction began, ns.
  std::uint64_t began_ns = 0;

 private:
  enum class Phase { closed, logging_in, idle, asking };

  Event pump();
  std::size_t consume(Bytes bytes);
  void on_message(char type, Bytes body);
  void on_row(Bytes body);
  void on_ready(Bytes body);
  bool go_on_in_block(wire::TransactionStatus status);
  [[noreturn]] void fail(const std::string& what) const;

  const ClientOptions& options_;
  Credentials& credentials_;
  std::uint64_t number_;
  std::uint64_t asked_ = 0;
  Phase phase_ = Phase::closed;
  std::optional<Socket> socket_;
  std::optional<Login> login_;
  Event event_ = Event::none;
  std::string expected_;  // the row's value
  std::string tag_;       // of the last CommandComplete
  std::uint64_t rows_got_ = 0;
  std::uint64_t rows_to_copy_ = 0;
  std::uint64_t wire_bytes_ = 0;
};

}  // namespace pgproxy::bench
