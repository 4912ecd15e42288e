#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "operations.hpp"

namespace stress {

using Clock = std::chrono::steady_clock;

struct Options {
  std::uint16_t port = 0;
  std::uint32_t client_count = 0;
  std::chrono::seconds duration{};
  std::uint64_t seed = 0;
  bool faulty =
      false;  ///< connections may fail, with a clear error; wrong answers still may not happen
};

/// What nobody may ever see: the run ends with it.
struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Counts {
  std::array<std::uint64_t, kind_count> finished{};
  std::uint64_t logins = 0;
  std::uint64_t messages = 0;
  std::uint64_t cancels_sent = 0;
  std::uint64_t refusals = 0;      ///< of statements that would pin one server too many
  std::uint64_t fatal_errors = 0;  ///< faulty runs only
  std::uint64_t cut_in_message = 0;
};

enum class Stage {
  working,
  settling,  ///< no new operation; what keeps a server is given up, and the connection stays
  leaving
};

/// A watched socket of the loop: closes itself. Events carry the token that it was added with.
class Socket {
 public:
  ~Socket() { close(); }
  Socket() = default;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  /// Starts connecting to 127.0.0.1:port.
  void open(std::uint16_t port, int epoll, std::uint64_t token);
  void watch(bool for_writing);
  void close();
  void reset_and_close();
  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
  int epoll_ = -1;
  std::uint64_t token_ = 0;
  bool writing_ = false;
};

/// One application: logs in, performs random operations one after the other, checks every reply.
class Client {
 public:
  Client(const Options& options, Counts& counts, int epoll, std::uint32_t index);

  void on_socket(bool readable, bool writable);
  void on_cancel_socket();
  /// Timers and deadlines; called every few milliseconds.
  void on_tick(Clock::time_point now, Stage stage);
  /// Nothing under way, nothing left on a server.
  bool is_settled() const;
  bool is_finished() const { return phase_ == Phase::finished; }

 private:
  enum class Phase { waiting, login, busy, idle, finished };

  void log_in(Clock::time_point now);
  void go_on(Stage stage);
  void start_operation(Operation operation);
  void start_step();
  void finish_step();
  void finish_operation();
  void send_some();
  void receive_some();
  void take_messages();
  void on_message(char tag, std::string_view body);
  void on_login_message(char tag, std::string_view body);
  void on_error(std::string_view body);
  void check(char tag, std::string_view body);
  void take_refusal();
  void on_closed();
  void send_cancel(Clock::time_point now);
  void vanish();
  void leave(Clock::duration pause);
  [[noreturn]] void violated(const std::string& what) const;

  const Options& options_;
  Counts& counts_;
  const int epoll_;
  const std::uint32_t index_;
  const std::uint32_t owner_;  // what its rows carry; differs between runs of different seeds
  Random random_;

  Phase phase_ = Phase::waiting;
  Socket socket_;
  Socket cancel_socket_;
  std::string output_;
  std::size_t sent_ = 0;
  std::string input_;
  std::string cancel_key_;  // pid and secret, as BackendKeyData carries them

  Session session_;
  std::uint32_t login_count_ = 0;
  std::uint64_t sequence_ = 0;
  Operation operation_;
  std::deque<std::string> history_;  // what the last steps since its login sent
  bool tiny_pieces_ = false;
  std::uint64_t bytes_before_vanishing_ = 0;
  bool vanish_later_ = false;  // leaves pgproxy waiting for the rest for a moment
  Clock::time_point deadline_{};
  Clock::time_point
      next_action_{};  // of waiting: connect; of a cancel: send it; of vanishing: do it
};

}  // namespace stress
