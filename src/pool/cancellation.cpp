#include "pool/cancellation.hpp"

#include "pool/server_attempt.hpp"

#include "pgproxy/pool/pool.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::pool {

Cancellation::Cancellation(ServerConnection& server, const io::ServerAddress& address,
                           const CancelRoute& route, std::uint64_t cycle)
    : server_(server), cycle_(cycle), wanted_cycle_(cycle), deadline_(*this) {
  Pool& pool = server.pool();
  attempt_ = pool.connect(address, route, *this);
  pool.loop().timeouts().queue(pool.global().cancel_wait_timeout).arm(deadline_, pool.loop().now());
}

Cancellation::~Cancellation() {
  while (!listeners_.empty()) {
    CancelListener& listener = listeners_.front();
    listener.unlink();
    listener.on_cancel_finished();
  }
}

void Cancellation::add(CancelListener& listener, std::uint64_t cycle) {
  if (!is_sent_) cycle_ = cycle;
  wanted_cycle_ = cycle;
  listeners_.push_back(listener);
}

void Cancellation::succeed(Cancellation& earlier) {
  while (!earlier.listeners_.empty()) {
    CancelListener& listener = earlier.listeners_.front();
    listener.unlink();
    listeners_.push_back(listener);
  }
}

void Cancellation::stop() {
  deadline_.disarm();
  attempt_.reset();
  transport_.reset();
}

void Cancellation::on_connected(std::unique_ptr<io::Transport> transport) {
  attempt_.reset();
  if (server_.cycle_ != cycle_ || server_.expected().size() == 0) {
    return server_
        .on_cancel_finished();  // answered meanwhile: the cancel would hit what comes next
  }
  transport_ = std::move(transport);
  transport_->set_listener(*this);
  std::string packet;
  wire::put_cancel_request(packet, server_.backend_pid_, as_bytes(server_.backend_secret_));
  transport_->write(as_bytes(packet));
  is_sent_ = true;
}

void Cancellation::on_connect_failed(const Error& error) {
  attempt_.reset();
  log::line(log::Level::warning, server_.subject(), "cancel request failed: {}", error.message);
  server_.on_cancel_finished();
}

void Cancellation::on_closed(const std::string& /*reason*/) {
  server_.on_cancel_finished();
}

void Cancellation::on_timeout(Timeout& /*timeout*/) {
  log::line(log::Level::warning, server_.subject(), "cancel request failed: cancel_wait_timeout");
  // Whether it will still arrive is unknown: this server may not go to anyone else.
  server_.lost(
      {.sqlstate = "08006",
       .message = "server connection closed: its cancel request was not answered in time",
       .hint = "Raise cancel_wait_timeout, or check that the server accepts connections."});
}

}  // namespace pgproxy::pool
