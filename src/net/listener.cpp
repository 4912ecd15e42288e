#include "pgproxy/net/listener.hpp"

#include <utility>

#include "net/acceptor.hpp"
#include "net/listening_socket.hpp"
#include "net/socket_address.hpp"

namespace pgproxy::net {

Listener::Listener(UvLoop& loop, std::vector<ListeningSocket> sockets, io::AcceptListener& listener)
    : spare_(std::make_unique<SpareDescriptor>()) {
  for (auto& socket : sockets) {
    addresses_.push_back(listening_text(socket.fd()));
    acceptors_.push_back(std::make_unique<Acceptor>(loop, std::move(socket), *spare_, listener));
  }
}

Listener::~Listener() = default;

Result<std::unique_ptr<Listener>> Listener::open(UvLoop& loop, const config::Settings& settings,
                                                 io::AcceptListener& listener) {
  auto sockets = open_listening_sockets(settings);
  if (!sockets) return std::unexpected(sockets.error());
  return std::unique_ptr<Listener>(new Listener(loop, std::move(*sockets), listener));
}

Result<std::unique_ptr<Listener>> Listener::adopt(UvLoop& loop, const std::vector<int>& fds,
                                                  io::AcceptListener& listener) {
  std::vector<ListeningSocket> sockets;
  std::vector<Error> errors;
  for (const int fd : fds) {  // all of them, so that all are owned
    auto socket = adopt_listening_socket(fd);
    if (socket) {
      sockets.push_back(std::move(*socket));
    } else {
      errors.push_back(socket.error());
    }
  }
  if (!errors.empty()) return std::unexpected(errors.front());
  return std::unique_ptr<Listener>(new Listener(loop, std::move(sockets), listener));
}

void Listener::close() {
  acceptors_.clear();
  addresses_.clear();
}

void Listener::close_tcp() {
  std::vector<std::string> addresses;
  std::vector<std::unique_ptr<Acceptor>> acceptors;
  for (std::size_t i = 0; i < acceptors_.size(); ++i) {
    if (!addresses_[i].starts_with("unix:")) continue;
    addresses.push_back(std::move(addresses_[i]));
    acceptors.push_back(std::move(acceptors_[i]));
  }
  addresses_ = std::move(addresses);
  acceptors_ = std::move(acceptors);
}

void Listener::accept_waiting() {
  for (const auto& acceptor : acceptors_) acceptor->accept_waiting();
}

std::uint64_t Listener::refused_count() const {
  return spare_->refused_count();
}

}  // namespace pgproxy::net
