#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

#include "session/client_session.hpp"

#include "pgproxy/session/sessions.hpp"

namespace pgproxy::session {

/// One call of process(). To be sent, in one write: what was `made` of messages and put between
/// them, then in[begin, pos) as it is.
struct ClientSession::Pass {
  explicit Pass(Bytes bytes) : in(bytes) {}

  Bytes in;
  std::size_t pos = 0;
  std::size_t begin = 0;
  std::size_t kept_from = 0;  ///< where the cycle that is being kept begins or goes on
  std::string made = {};

  void flush(ClientSession& client) {
    if (begin < pos || !made.empty()) client.server_->send(as_bytes(made), unsent());
    made.clear();
    begin = std::max(begin, pos);
  }
  /// The next `count` bytes are not sent.
  void skip(ClientSession& client, std::size_t count) {
    gather(client);
    pos += count;
    begin = pos;
  }
  /// `bytes` go in front of the message at hand.
  void insert(ClientSession& client, std::string_view bytes) {
    gather(client);
    made += bytes;
  }
  /// The first `count` bytes of the message at hand are not sent; what takes their place is to be
  /// appended to the result.
  std::string& rewrite(ClientSession& client, std::size_t count) {
    gather(client);
    begin = pos + count;
    return made;
  }
  /// Gives back the memory that it borrowed.
  void finish(ClientSession& client) {
    if (made.capacity() > client.sessions_.scratch().capacity()) {
      made.swap(client.sessions_.scratch());
    }
  }

 private:
  /// What is longer is not copied to save a write.
  static constexpr std::size_t max_copied_bytes = 16 * 1024;

  Bytes unsent() const { return begin < pos ? in.subspan(begin, pos - begin) : Bytes{}; }
  void gather(ClientSession& client) {
    if (unsent().size() > max_copied_bytes) return flush(client);
    if (made.capacity() < client.sessions_.scratch().capacity() && made.empty()) {
      made.swap(client.sessions_.scratch());
    }
    made += as_text(unsent());
    begin = pos;
  }
};

}  // namespace pgproxy::session
