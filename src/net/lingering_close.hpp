#pragma once

#include <list>
#include <memory>

#include "net/stream_transport.hpp"

namespace pgproxy::net {

/// A transport on its way out: flush, FIN, drop input until the other side closes too. Owned by
/// the loop, which it asks to be forgotten when done.
class LingeringClose final : private io::TransportListener, private TimeoutListener {
 public:
  LingeringClose(UvLoop& loop, std::unique_ptr<io::Transport> transport);
  /// `self` is where the loop keeps this object.
  void start(std::list<LingeringClose>::iterator self);

 private:
  void on_data(Bytes) override {}
  void on_drained() override;
  void on_closed(const std::string& reason) override;
  void on_timeout(Timeout& timeout) override;

  void arm();
  void finish() { loop_.forget(self_); }

  UvLoop& loop_;
  std::unique_ptr<io::Transport> owner_;
  StreamTransport& transport_;
  Timeout timeout_{*this};
  std::size_t queued_bytes_ = 0;  ///< when the timeout was armed
  std::list<LingeringClose>::iterator self_;
};

}  // namespace pgproxy::net
