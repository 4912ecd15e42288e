#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "fake_statement.hpp"
#include "socket.hpp"

#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::bench {

using Time = std::chrono::steady_clock::time_point;

enum class ServerRole { primary, standby };

/// One connection of the fake server: trusts everybody, reports what PostgreSQL 15 reports, and
/// answers with canned rows. COPY is understood in the simple protocol only. A standby has always
/// replayed everything.
class FakeSession {
 public:
  FakeSession(int fd, std::uint32_t pid, ServerRole role);

  /// False: close the connection.
  bool on_events(std::uint32_t events);
  /// When the answer that a statement has delayed is due.
  std::optional<Time> due() const { return due_; }
  bool on_due();

 private:
  enum class Phase { startup, ready, copy_in, skip_to_sync, closing };

  bool pump();
  bool stream_rows();
  void resume();
  std::size_t consume(Bytes bytes);
  std::size_t consume_startup(Bytes bytes);
  void on_message(char type, Bytes body);
  void on_query(Bytes body);
  void on_parse(Bytes body);
  const std::string* find_prepared(std::string_view name) const;
  void on_bind(Bytes body);
  void on_describe(Bytes body);
  void on_execute();
  void on_copy_message(char type);
  void fail(std::string_view sqlstate, std::string message);

  bool stands_by() const { return role_ == ServerRole::standby; }
  void greet(const wire::StartupMessage& startup);
  void apply(const Statement& statement);
  /// Everything up to CommandComplete; `described`: rows were described already.
  void answer(const Statement& statement, bool described);
  void put_value(std::string& out, const Statement& statement, bool described) const;
  void begin_bulk(const Statement& statement, bool described);
  bool is_busy() const { return due_.has_value() || bulk_bytes_left_ > 0; }
  /// Where the next reply goes: behind a delayed or streamed one.
  std::string& tail() { return is_busy() ? after_ : socket_.out(); }

  Socket socket_;
  std::uint32_t pid_;
  ServerRole role_;
  Phase phase_ = Phase::startup;
  wire::TransactionStatus status_ = wire::TransactionStatus::idle;
  std::map<std::string, std::string, std::less<>> prepared_;
  std::string portal_text_;  // of the portal bound last
  std::string parameter_;    // its first parameter
  std::uint64_t copied_rows_ = 0;
  std::uint64_t bulk_bytes_left_ = 0;
  std::optional<Time> due_;
  std::string after_;
};

}  // namespace pgproxy::bench
