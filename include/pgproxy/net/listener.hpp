#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pgproxy/base/result.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/io/transport.hpp"
#include "pgproxy/net/loop.hpp"

namespace pgproxy::net {

class Acceptor;
class ListeningSocket;
class SpareDescriptor;

/// The sockets on which clients arrive. Lives on the loop's thread; may be closed or destroyed
/// inside on_accepted(). A unix socket's file is removed when it closes.
class Listener {
 public:
  /// Opens what listen_addr, listen_port and unix_socket_* say and starts accepting. Resolves names
  /// of listen_addr and may block for it: call it at start only. Errors name the setting to change.
  static Result<std::unique_ptr<Listener>> open(UvLoop& loop, const config::Settings& settings,
                                                io::AcceptListener& listener);
  /// Takes over stream sockets that listen already (systemd socket activation,
  /// sd_listen_fds(3)); a unix socket's file is left to whoever made it. Owns `fds` in any case.
  static Result<std::unique_ptr<Listener>> adopt(UvLoop& loop, const std::vector<int>& fds,
                                                 io::AcceptListener& listener);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Stops accepting and frees the addresses. Connections that were accepted stay.
  void close();
  /// Likewise, but unix sockets stay open.
  void close_tcp();
  /// Hands over at once what the kernel has accepted: close() would reset these connections. Unlike
  /// elsewhere, on_accepted() may neither close nor destroy this object.
  void accept_waiting();
  /// Those that are open, for the log: "127.0.0.1:6432", "unix:/tmp/.s.PGSQL.6432".
  const std::vector<std::string>& addresses() const { return addresses_; }
  /// Connections closed at once because the process or the system had no descriptors left.
  std::uint64_t refused_count() const;

 private:
  Listener(UvLoop& loop, std::vector<ListeningSocket> sockets, io::AcceptListener& listener);

  std::vector<std::string> addresses_;
  std::unique_ptr<SpareDescriptor> spare_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
};

}  // namespace pgproxy::net
