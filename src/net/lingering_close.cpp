#include "net/lingering_close.hpp"

#include <chrono>
#include <utility>

namespace pgproxy::net {

LingeringClose::LingeringClose(UvLoop& loop, std::unique_ptr<io::Transport> transport)
    : loop_(loop),
      owner_(std::move(transport)),
      // Every transport of a UvLoop was made by its connector or by a listener on it.
      transport_(dynamic_cast<StreamTransport&>(*owner_)) {}

void LingeringClose::start(std::list<LingeringClose>::iterator self) {
  self_ = self;
  if (transport_.is_broken()) return finish();  // nothing can be sent any more
  arm();
  transport_.set_listener(*this);
  transport_.resume_reading();
  if (queued_bytes_ == 0) on_drained();
}

void LingeringClose::arm() {
  queued_bytes_ = transport_.queued_bytes();
  loop_.timeouts().queue(std::chrono::seconds(2)).arm(timeout_, loop_.now());
}

void LingeringClose::on_drained() {
  // With all input read a plain close sends FIN, not RST.
  if (transport_.has_read_all()) return finish();
  transport_.finish_writing();
  arm();
}

void LingeringClose::on_closed(const std::string&) {
  if (transport_.queued_bytes() == 0) return finish();
  // The other side only stopped sending: it may still read what is queued.
  transport_.set_listener(*this);
}

void LingeringClose::on_timeout(Timeout&) {
  const bool flushing = transport_.queued_bytes() < queued_bytes_;
  if (!flushing) return finish();
  arm();
}

}  // namespace pgproxy::net
