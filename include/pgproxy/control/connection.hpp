#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pgproxy/base/result.hpp"
#include "pgproxy/io/fd_watcher.hpp"
#include "pgproxy/io/loop.hpp"
#include "pgproxy/io/resolver.hpp"

struct pg_conn;
struct pg_result;

namespace pgproxy::control {

/// Takes libpq's variables out of the environment: connections go where the configuration says. To
/// be called once, before there are threads.
void ignore_environment();
/// Whether the libpq at hand has sslnegotiation (17).
bool knows_direct_tls();

/// What connections of ours need of the world.
struct Services {
  io::Loop& loop;
  io::FdWatcher& watcher;
  io::Resolver& resolver;
};

/// TCP keepalives of connections that hold something at the server (Target::has_keepalives): on
/// our side, and by settings of the session on the server's. Three probes, so that a lost packet or
/// two are not an end; five seconds apart, which is above any round trip; ten seconds of silence
/// before the first, as questions come every few seconds anyway.
constexpr int keepalive_idle_seconds = 10;
constexpr int keepalive_interval_seconds = 5;
constexpr int keepalive_count = 3;
/// After which a server knows at the latest that our host is dead, and frees what we held there.
constexpr int dead_peer_seconds =
    keepalive_idle_seconds + keepalive_interval_seconds * keepalive_count;

/// Where a connection of ours goes.
struct Target {
  std::vector<std::string> hosts;  ///< names, addresses, "/directory"; tried in turn
  std::uint16_t port = 5432;
  std::string dbname;
  std::string user;
  std::string password;
  /// libpq's words for TLS (sslmode, sslrootcert, …).
  std::vector<std::pair<std::string, std::string>> tls;
  /// A server that declines what `tls` asks for is gone to without it, which is logged once.
  bool may_be_in_clear = false;
  bool has_keepalives = false;
  Duration timeout{};  ///< for connecting, and for each question; zero: none
  std::string_view timeout_setting = "server_connect_timeout";  ///< that says so
  Duration idle_timeout{};  ///< after which it is closed; zero: never
};

using Row = std::vector<std::optional<std::string>>;  ///< nullopt: NULL
using Answer = Result<std::vector<Row>>;

/// A connection of ours to a server, apart from the pools, by libpq: opened for the first question,
/// asks one at a time, and opened again when it was lost. Never blocks. Environment variables,
/// service and password files play no part in it.
class Connection final : public io::Disposable,
                         private io::FdListener,
                         private io::ResolveListener,
                         private TimeoutListener {
 public:
  /// `on_lost` hears, once, that an open connection which was asked nothing has ended without our
  /// doing, in the server's words if it had some (57P01), else as 08006. It may have the connection
  /// destroyed later, or ask, which connects anew.
  Connection(Services services, Target target, std::function<void(const Error&)> on_lost = {});
  ~Connection() override;

  /// `sql` is one statement with parameters $1, …; `done` is called once, perhaps from within the
  /// call. A connection that cannot be had is the answer to all that wait for it; one that turns
  /// out to have been lost since the last answer is replaced, once, unless somebody hears of
  /// losses.
  void ask(std::string sql, std::vector<std::string> parameters, std::function<void(Answer)> done);
  /// Closes an open connection; the next question opens another one.
  void hang_up() {
    if (state_ == State::idle) close();
  }
  bool is_open() const { return state_ == State::idle || state_ == State::asking; }

 private:
  //  closed -> [resolving ->] connecting -> idle <-> asking;   any -> closed
  enum class State : std::uint8_t { closed, resolving, connecting, idle, asking };
  struct Question {
    std::string sql;
    std::vector<std::string> parameters;
    std::function<void(Answer)> done;
  };
  struct Finish {
    void operator()(pg_conn* connection) const;
  };

  void on_ready() override;
  void on_resolved(const std::vector<std::string>& addresses) override;
  void on_resolve_failed(const Error& error) override;
  void on_timeout(Timeout& timeout) override;

  void advance();
  void try_next_host();
  void connect(const std::string& host, const std::string& address);
  void start_connecting();
  bool is_tls_declined() const;
  void connect_in_clear();
  void go_on_connecting();
  void send_question();
  void go_on_asking();
  void read_results();
  void watch_for(bool readable, bool writable);
  void answer(Answer answer);
  void fail(const Error& error);
  void fail_asking(const Error& error);
  void close();
  void note_last_words(const pg_result* notice);
  void lose();
  Error libpq_error(std::string what) const;
  Error login_error() const;

  Services services_;
  const Target target_;
  const std::function<void(const Error&)> on_lost_;
  std::optional<Error> last_words_;  ///< what the server said without being asked
  State state_ = State::closed;
  bool has_answered_ = false;  ///< the connection at hand, before
  std::size_t next_host_ = 0;
  std::string host_;                ///< of the attempt at hand: for the checks of certificates
  std::string address_;             ///< and where it goes
  bool is_in_clear_ = false;        ///< as the server declined TLS
  std::deque<Question> questions_;  ///< the first one is being asked
  Answer found_;
  std::unique_ptr<io::ResolveAttempt> lookup_;
  std::unique_ptr<pg_conn, Finish> connection_;
  std::unique_ptr<io::FdWatch> watch_;  ///< gone before the connection is
  Timeout timeout_;
};

}  // namespace pgproxy::control
