#pragma once

#include <memory>

#include "pgproxy/io/loop.hpp"
#include "pgproxy/pool/reply_owner.hpp"

namespace pgproxy::session {

class Sessions;

/// A connection that opened with a CancelRequest: stays open, as in PostgreSQL, until the cancel
/// has reached the server, and is then closed without a word.
class CancelSession final : public io::Disposable,
                            public pool::CancelListener,
                            private io::TransportListener {
 public:
  CancelSession(Sessions& sessions, std::unique_ptr<io::Transport> transport)
      : sessions_(sessions), transport_(std::move(transport)) {
    transport_->set_listener(*this);
  }
  void on_cancel_finished() override;

 private:
  void on_data(Bytes) override {}
  void on_drained() override {}
  void on_closed(const std::string&) override { on_cancel_finished(); }

  Sessions& sessions_;
  std::unique_ptr<io::Transport> transport_;
};

}  // namespace pgproxy::session
