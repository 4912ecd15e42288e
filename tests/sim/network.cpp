#include "network.hpp"

#include <algorithm>
#include <utility>

namespace pgproxy::sim {

std::unique_ptr<io::Transport> Link::make_transport() {
  auto transport = std::make_unique<Transport>(shared_from_this());
  near_ = transport.get();
  return transport;
}

std::size_t Link::piece(std::size_t available) {
  switch (weather_.split) {
    case Weather::Split::whole: return std::min<std::size_t>(available, 64 * 1024);
    case Weather::Split::bytes: return 1;
    case Weather::Split::pieces: break;
  }
  const std::size_t limit = random_.chance(30) ? 8 : 4096;
  return 1 + random_.below(std::min(available, limit));
}

void Link::send(std::string_view bytes) {
  if (far_closed_ || near_closed_) return;
  in_ += bytes;
  pump_in();
}

void Link::drop_unsent(std::size_t count) {
  in_.resize(in_.size() - std::min(count, in_.size()));
}

void Link::end(bool by_reset) {
  if (std::exchange(far_closed_, true)) return;
  peer_ = nullptr;
  was_reset_ = by_reset;
  if (by_reset) in_.clear();
  pump_in();
  pump_out();  // what comes is thrown away
}

void Link::set_reading(bool is_reading) {
  far_reads_ = is_reading;
  pump_out();
}

void Link::pump_in() {
  if (in_due_ || is_black_hole_ || near_ == nullptr || near_->is_paused_) return;
  if (near_->listener_ == nullptr || (in_.empty() && !far_closed_)) return;
  in_due_ = true;
  loop_.after(delay(), [self = shared_from_this()] {
    self->in_due_ = false;
    self->deliver_in();
  });
}

void Link::deliver_in() {
  if (is_black_hole_ || near_ == nullptr || near_->is_paused_ || near_->listener_ == nullptr)
    return;
  if (!in_.empty()) {
    // A copy of its own: whoever keeps a view of it is found by the sanitizer.
    const std::string part = in_.substr(0, piece(in_.size()));
    in_.erase(0, part.size());
    near_->listener_->on_data(as_bytes(part));
    return pump_in();
  }
  if (!far_closed_) return;
  io::TransportListener* listener = std::exchange(near_->listener_, nullptr);
  listener->on_closed(was_reset_ ? "Connection reset by peer" : "EOF");
}

void Link::fill_window() {
  const std::size_t room = weather_.window_bytes - std::min(weather_.window_bytes, out_.size());
  const std::size_t part = std::min(room, queued_.size());
  if (part == 0) return;
  out_ += queued_.substr(0, part);
  queued_.erase(0, part);
}

void Link::pump_out() {
  if (out_due_ || is_black_hole_ || (!far_reads_ && !far_closed_)) return;
  if (out_.empty() && !near_closed_) return;
  out_due_ = true;
  loop_.after(delay(), [self = shared_from_this()] {
    self->out_due_ = false;
    self->deliver_out();
  });
}

void Link::deliver_out() {
  if (is_black_hole_ || (!far_reads_ && !far_closed_)) return;
  if (!out_.empty()) {
    const std::string part = out_.substr(0, piece(out_.size()));
    out_.erase(0, part.size());
    const bool had_queue = !queued_.empty();
    fill_window();
    if (had_queue && queued_.empty() && near_ != nullptr && near_->listener_ != nullptr) {
      near_->listener_->on_drained();
    }
    if (peer_ != nullptr) peer_->on_bytes(part);
    return pump_out();
  }
  if (near_closed_ && peer_ != nullptr) std::exchange(peer_, nullptr)->on_end();
}

void Link::close_near(bool is_graceful) {
  near_ = nullptr;
  near_closed_ = true;
  if (is_graceful) out_ += queued_;
  queued_.clear();
  in_.clear();
  pump_out();
}

void Transport::set_listener(io::TransportListener& listener) {
  listener_ = &listener;
  link_->pump_in();
}

void Transport::write(Bytes first, Bytes second) {
  if (link_->was_reset_) return;
  link_->queued_ += as_text(first);
  link_->queued_ += as_text(second);
  link_->fill_window();
  link_->pump_out();
}

void Transport::resume_reading() {
  is_paused_ = false;
  link_->pump_in();
}

}  // namespace pgproxy::sim
