#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/io/loop.hpp"
#include "pgproxy/pool/reply_owner.hpp"

namespace pgproxy::pool {

struct CancelRoute;

/// One CancelRequest on a connection of its own (PostgreSQL docs 55.2.8). It is sent only while the
/// same message cycle still runs, and is over when PostgreSQL closes that connection: by then the
/// signal has been delivered. Owned by the ServerConnection that it is for.
class Cancellation final : public io::Disposable,
                           private io::ConnectListener,
                           private io::TransportListener,
                           private TimeoutListener {
 public:
  Cancellation(ServerConnection& server, const io::ServerAddress& address, const CancelRoute& route,
               std::uint64_t cycle);
  ~Cancellation() override;
  /// `cycle`: what runs now; a request that has not left yet is for that. One that has left may
  /// have been for an earlier cycle, whose answer was faster than the end of the request: then this
  /// cycle needs a request of its own.
  void add(CancelListener& listener, std::uint64_t cycle);
  /// Whether what runs in `cycle` was to be cancelled too late for this request.
  [[nodiscard]] bool is_needed_again(std::uint64_t cycle) const {
    return is_sent_ && wanted_cycle_ == cycle && cycle_ != cycle;
  }
  /// Takes over who waits for `earlier`, a request that has ended.
  void succeed(Cancellation& earlier);
  /// Ends without a further word to the server, whose object may be gone soon.
  void stop();

 private:
  void on_connected(std::unique_ptr<io::Transport> transport) override;
  void on_connect_failed(const Error& error) override;
  void on_data(Bytes) override {}  // PostgreSQL sends nothing here; only the end matters
  void on_drained() override {}
  void on_closed(const std::string& reason) override;
  void on_timeout(Timeout& timeout) override;

  ServerConnection& server_;
  std::uint64_t cycle_;         // what the request is for
  std::uint64_t wanted_cycle_;  // what was to be cancelled last
  bool is_sent_ = false;
  IntrusiveList<CancelListener> listeners_;
  std::unique_ptr<io::ConnectAttempt> attempt_;
  std::unique_ptr<io::Transport> transport_;
  Timeout deadline_;
};

}  // namespace pgproxy::pool
