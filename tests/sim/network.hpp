#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "loop.hpp"
#include "random.hpp"

#include "pgproxy/io/transport.hpp"

namespace pgproxy::sim {

/// How a connection treats what is sent over it.
struct Weather {
  enum class Split { whole, pieces, bytes };
  Split split = Split::whole;
  Duration max_delay{100};
  std::size_t window_bytes = 1 << 20;  ///< in flight towards the far end; the rest waits in a queue
};

/// The far end of a connection: what is not pgproxy.
class Peer {
 public:
  virtual void on_bytes(std::string_view bytes) = 0;
  /// pgproxy closed, or the connection was reset.
  virtual void on_end() = 0;

 protected:
  ~Peer() = default;
};

class Transport;

/// One connection between pgproxy (the near end, an io::Transport) and a Peer.
class Link : public std::enable_shared_from_this<Link> {
 public:
  Link(Loop& loop, Random& random, Weather weather)
      : loop_(loop), random_(random), weather_(weather) {}
  std::unique_ptr<io::Transport> make_transport();

  void set_peer(Peer* peer) { peer_ = peer; }
  void send(std::string_view bytes);
  /// FIN behind what was sent, or RST that overtakes it.
  void end(bool by_reset = false);
  /// A peer that does not read fills the window.
  void set_reading(bool is_reading);
  /// From now on nothing gets through, either way, and nobody is told.
  void black_hole() { is_black_hole_ = true; }
  bool is_black_hole() const { return is_black_hole_; }
  bool is_open_near() const { return near_ != nullptr; }
  /// The last `count` bytes that were sent are lost: what follows is a cut within a message.
  void drop_unsent(std::size_t count);

 private:
  friend class Transport;
  void pump_in();
  void pump_out();
  void deliver_in();
  void deliver_out();
  void fill_window();
  void close_near(bool is_graceful);
  Duration delay() {
    return Duration(random_.below(static_cast<std::uint64_t>(weather_.max_delay.count()) + 1));
  }
  std::size_t piece(std::size_t available);

  Loop& loop_;
  Random& random_;
  Weather weather_;
  Transport* near_ = nullptr;
  Peer* peer_ = nullptr;
  std::string in_;      ///< on its way to pgproxy
  std::string out_;     ///< on its way to the peer
  std::string queued_;  ///< written by pgproxy, not accepted yet
  bool in_due_ = false;
  bool out_due_ = false;
  bool near_closed_ = false;
  bool far_closed_ = false;
  bool was_reset_ = false;
  bool far_reads_ = true;
  bool is_black_hole_ = false;
};

/// pgproxy's end of a Link.
class Transport final : public io::Transport {
 public:
  explicit Transport(std::shared_ptr<Link> link) : link_(std::move(link)) {}
  ~Transport() override { link_->close_near(is_finished_); }
  void set_listener(io::TransportListener& listener) override;
  void write(Bytes first, Bytes second) override;
  std::size_t queued_bytes() const override { return link_->queued_.size(); }
  void pause_reading() override { is_paused_ = true; }
  void resume_reading() override;
  io::Endpoint peer() const override { return {.host = "10.0.0.1", .port = 5432}; }
  io::Endpoint local() const override { return {.host = "10.0.0.2", .port = 1024}; }
  /// The close that follows is a graceful one.
  void finish() { is_finished_ = true; }

 private:
  friend class Link;
  std::shared_ptr<Link> link_;
  io::TransportListener* listener_ = nullptr;
  bool is_paused_ = false;
  bool is_finished_ = false;
};

}  // namespace pgproxy::sim
