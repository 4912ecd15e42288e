#pragma once

#include <memory>
#include <string>

#include "net/handshake_queue.hpp"
#include "net/stream_transport.hpp"
#include "net/tls_engine.hpp"

namespace pgproxy::net {

/// TLS over a StreamTransport. Idle it holds what OpenSSL keeps for a connection, and no buffer.
/// The steps of its handshake wait for their turn in the loop's HandshakeQueue and are taken by a
/// thread, which has the engine for that time; the socket is not read meanwhile. Only a last step
/// that costs less than the way there and back is taken at once. What is written before the
/// handshake is done is kept, and leaves only to a peer that is who it has to be.
class TlsTransport final : public io::Transport,
                           private io::TransportListener,
                           private HandshakeTurn,
                           private Deferred {
 public:
  TlsTransport(UvLoop& loop, std::unique_ptr<StreamTransport> stream, SSL_CTX& context,
               TlsEngine::Role role, TlsEngine::Expectation expected, Bytes received);
  ~TlsTransport() override;

  void set_listener(io::TransportListener& listener) override;
  void write(Bytes first, Bytes second = {}) override;
  std::size_t queued_bytes() const override;
  void pause_reading() override;
  void resume_reading() override;
  void admit() override { stream_->admit(); }
  io::Endpoint peer() const override { return stream_->peer(); }
  io::Endpoint local() const override { return stream_->local(); }
  const io::TlsInfo* tls() const override;

  /// Says goodbye (close_notify) and gives up the connection beneath, for a graceful close.
  std::unique_ptr<StreamTransport> release_stream();

 private:
  /// What is needed only until the first plain bytes were delivered.
  struct Opening;
  /// What a thread does of the handshake.
  class Step;

  void on_data(Bytes bytes) override;
  void on_drained() override;
  void on_closed(const std::string& reason) override;
  void on_turn() override;
  void on_deferred() override;
  void on_step_done(Step& step);
  void take_step();
  void go_on(TlsEngine::Handshake progress, Bytes answer);

  bool is_established() const;
  void wait_for_turn();
  void stop_waiting();
  void fail_handshake();
  void open();
  void deliver(Bytes bytes);
  void send(std::string& out);
  void report_closed(const std::string& reason);
  void say_goodbye();

  UvLoop& loop_;
  std::unique_ptr<StreamTransport> stream_;
  std::unique_ptr<TlsEngine> engine_;  ///< nullptr: a step has it
  std::unique_ptr<io::PendingJob> step_;
  io::TransportListener* listener_ = nullptr;
  std::unique_ptr<Opening> opening_;
  bool is_paused_ = false;  ///< by the listener
  /// Nothing more is read: close_notify came, or the protocol was broken.
  TlsEngine::Ending end_ = TlsEngine::Ending::none;
};

}  // namespace pgproxy::net
