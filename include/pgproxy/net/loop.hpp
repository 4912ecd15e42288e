#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "pgproxy/base/intrusive_list.hpp"
#include "pgproxy/io/loop.hpp"
#include "pgproxy/net/socket_options.hpp"

// libuv's own types: its headers stay under src/net.
struct uv_idle_s;
struct uv_loop_s;
struct uv_prepare_s;
struct uv_signal_s;
struct uv_timer_s;

namespace pgproxy::net {

class HandshakeQueue;
class LingeringClose;
class UvConnector;
class UvExecutor;
class Wakeup;

/// Closes a libuv handle and frees it where libuv allows it: in the close callback.
struct CloseHandle {
  template <class Handle>
  void operator()(Handle* handle) const;
};
template <class Handle>
using HandlePtr = std::unique_ptr<Handle, CloseHandle>;

/// Something to be called once when no other callback is on the stack; see UvLoop::defer.
class Deferred : public ListHook<Deferred> {
 public:
  virtual void on_deferred() = 0;

 protected:
  ~Deferred() = default;
};

/// One libuv loop. All calls on the thread that runs it, except post(). Everything made on it
/// (transports, attempts, listeners) must be destroyed before it.
class UvLoop final : public io::Loop, private AlarmSetter {
 public:
  /// Also makes the process ignore SIGPIPE: a broken connection is an error of write().
  /// Throws std::system_error when the system has no descriptors or threads left for a loop.
  explicit UvLoop(const SocketOptions& options, unsigned thread_count = 1);
  ~UvLoop();
  UvLoop(const UvLoop&) = delete;
  UvLoop& operator=(const UvLoop&) = delete;

  /// Serves events until stop().
  void run();
  /// Makes run() return after the current round of events.
  void stop();
  /// Calls `callback` on the loop each time the process gets signal `number`.
  void on_signal(int number, std::function<void()> callback);
  /// Runs `task` on the loop, in the order of posting. Thread safe; takes a mutex.
  void post(std::function<void()> task);

  /// Read from the clock once per round of events, as PgBouncer does.
  TimePoint now() const override;
  WallTime wall_now() const override;
  Timeouts& timeouts() override { return timeouts_; }
  io::Connector& connector() override;
  io::Executor& executor() override;
  void destroy_later(std::unique_ptr<io::Disposable> object) override;
  /// Two seconds without progress end the flush as well: a client that stopped reading must not
  /// hold its socket for ever.
  void close_gracefully(std::unique_ptr<io::Transport> transport) override;

  // For the rest of the net layer.
  uv_loop_s& raw() { return *loop_; }
  const SocketOptions& socket_options() const { return options_; }
  /// Of sockets that are opened or accepted from now on.
  void set_socket_options(const SocketOptions& options) { options_ = options; }
  /// Where every transport of the loop reads into: valid until the callback at hand returns.
  std::span<std::uint8_t> read_buffer();
  /// Where what TLS read is decrypted to, as long; empty until there is TLS.
  std::span<std::uint8_t> plain_buffer();
  /// Where TLS puts together what it sends; borrowed until the call at hand returns.
  std::string& cipher_buffer() { return cipher_buffer_; }
  HandshakeQueue& handshakes() { return *handshakes_; }
  /// Calls deferred.on_deferred() in the next round, unless it is destroyed before.
  void defer(Deferred& deferred);
  /// True: a newcomer may be served at once. False: it has to line up.
  bool may_serve_newcomer();
  /// Calls newcomer.on_deferred() when it is its turn, unless it is destroyed before.
  void line_up(Deferred& newcomer);
  void forget(std::list<LingeringClose>::iterator closed);

 private:
  struct SignalWatch {
    HandlePtr<uv_signal_s> handle;
    std::function<void()> callback;
  };

  void set_alarm(TimePoint when) override;
  void run_posted();
  void stay_awake();
  void run_deferred();
  void serve_newcomers();

  SocketOptions options_;
  Timeouts timeouts_;
  std::unique_ptr<uv_loop_s> loop_;
  std::unique_ptr<std::uint8_t[]> read_buffer_;
  std::unique_ptr<std::uint8_t[]> plain_buffer_;
  std::string cipher_buffer_;
  HandlePtr<uv_timer_s> alarm_;
  HandlePtr<uv_idle_s> idle_;  ///< started while something is deferred: the loop does not sleep
  std::unique_ptr<Wakeup> mailbox_;
  HandlePtr<uv_prepare_s> before_poll_;
  mutable TimePoint now_{};  ///< zero: not read in this round
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
  std::vector<std::unique_ptr<SignalWatch>> signals_;
  IntrusiveList<Deferred> deferred_;
  IntrusiveList<Deferred> newcomers_;  ///< that wait, first come first served
  int newcomers_left_ = 0;             ///< that may be served in this round
  std::vector<std::unique_ptr<io::Disposable>> doomed_;
  std::list<LingeringClose> lingering_;
  std::unique_ptr<UvConnector> connector_;
  std::unique_ptr<UvExecutor> executor_;
  std::unique_ptr<HandshakeQueue> handshakes_;
};

}  // namespace pgproxy::net
