#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pgproxy/auth/verifier_cache.hpp"
#include "pgproxy/auth/verifier_warmup.hpp"
#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/io/loop.hpp"
#include "pgproxy/io/secret_source.hpp"
#include "pgproxy/pool/pools.hpp"
#include "pgproxy/session/console_target.hpp"

namespace pgproxy::route {
class Cluster;
}

namespace pgproxy::session {

class CancelSession;
class ClientSession;
struct Routing;
struct Workload;

/// All clients of a loop: takes new connections in, finds a client by its cancel key, counts.
/// Single threaded.
class Sessions final : public io::AcceptListener {
 public:
  Sessions(io::Loop& loop, const config::Settings& settings, pool::Pools& pools,
           ConsoleTarget& console, io::SecretSource& secret_source);
  ~Sessions();

  /// Clients that come from now on get TLS with this one; nullptr: none.
  void use_tls(std::shared_ptr<const io::TlsContext> tls) { tls_ = std::move(tls); }
  const io::TlsContext* tls() const { return tls_.get(); }
  void on_accepted(std::unique_ptr<io::Transport> transport) override;
  /// Where clients find what is known of the servers of an entry that routes; each lives as long as
  /// this object.
  using FindCluster = std::function<route::Cluster*(const config::Database&)>;
  void use_clusters(FindCluster find) { find_cluster_ = std::move(find); }
  /// What is known of some cluster is new: clients that wait for a replica look again.
  void on_cluster_changed();
  std::vector<RouteRow> describe_routes() const;
  /// Of each routed database, for a client that has not written and has no settings of its own.
  std::vector<RouteExplanation> explain_route(std::string_view sql) const;

  /// No login is let in any more but the console's. `when_empty` is called when only consoles are
  /// left.
  void close_doors(std::function<void()> when_empty);
  bool is_draining() const { return draining_; }
  /// Behind close_doors(): has the next `count` clients leave, at most. One that is between
  /// transactions is told 57P01 and closed, another when its transaction ends; `drops_waiting`: one
  /// that waits for a server to begin with is closed too. Returns how many are still to be asked.
  std::size_t drain_next(std::size_t count, bool drops_waiting);
  /// Clients that drain_next() would ask.
  std::size_t staying_count() const { return staying_.size(); }
  /// All of them now.
  void drain(std::function<void()> when_empty) {
    close_doors(std::move(when_empty));
    drain_next(staying_.size(), false);
  }
  /// Ends every client that is not a console's with `error`; returns how many there were.
  std::size_t fail_all(const Error& error);
  /// Those of one database.
  void fail_all(const pool::DatabaseEntry& database, const Error& error);
  /// Those that do not take what is theirs, or whose server does not.
  void fail_unflushed(const Error& error);
  /// False: there is no such client.
  bool fail_one(std::uint64_t id, const Error& error);
  /// While it is suspended nothing is read from clients that are logged in to a database.
  void suspend(bool is_suspended);
  bool is_suspended() const { return is_suspended_; }
  std::size_t unflushed_count() const;
  /// Closes every client at once with 57P01.
  void close_all();
  /// RELOAD: settings are others now. Clients of pools that were retired are told why and closed,
  /// each when its transaction has ended.
  void reload();
  /// Nobody is in this pool any more, and it will be gone.
  void forget(const pool::Pool& pool);
  std::size_t client_count() const { return sessions_.size(); }

  std::vector<ConnectionRow> describe() const;
  /// Adds the clients' part to the rows of SHOW POOLS.
  void describe_pools(std::vector<PoolRow>& rows) const;
  ListCounts count() const;
  ClientCounters& counters() { return counters_; }
  const ClientCounters& counters() const { return counters_; }
  std::vector<PinRow> describe_pins() const;
  std::vector<PinTotalRow> describe_pin_totals() const;
  /// Shapes that were run; those that took most time first.
  std::vector<QueryRow> describe_queries() const;
  /// The last 100, the newest first.
  std::vector<SlowQueryRow> describe_slow_queries() const;
  /// Who has waited longest first.
  std::vector<WaitRow> describe_waits() const;
  /// The last 100, the newest first.
  std::vector<ErrorRow> describe_errors() const;
  void describe_memory(std::vector<MemoryRow>& rows) const;

  // For the sessions.

  /// Random, as PostgreSQL's BackendKeyData.
  struct CancelKey {
    std::uint32_t pid = 0;
    std::uint32_t secret = 0;
  };

  io::Loop& loop() { return loop_; }
  const config::Settings& settings() const { return settings_; }
  pool::Pools& pools() { return pools_; }
  ConsoleTarget& console() { return console_; }
  const std::shared_ptr<auth::VerifierCache>& verifiers() { return verifiers_; }
  /// Users whom auth_file does not have.
  io::SecretSource& secret_source() { return secret_source_; }
  /// Of one pool; lives as long as this object.
  Workload& workload(const pool::Pool& pool);
  /// How its clients are routed; nullptr: they are not.
  Routing* routing(const pool::Pool& pool);
  /// The session waits for a replica, and is told when its cluster has changed.
  void add_replica_waiter(ClientSession& session);
  /// Code of this pool's database may have changed: what was learned of it is void.
  void forget_learned(const pool::Pool& pool);
  /// A key that no other client has; `session` is found by it until it is removed. With
  /// `wanted_pid`, unless that is 0 or another client has it (as of a backend on another host).
  CancelKey register_key(ClientSession& session, std::uint32_t wanted_pid);
  /// Clients that passed or are passing max_client_conn (the console's are exempt).
  std::uint32_t counted_clients = 0;
  /// Hands over a connection that opened with a CancelRequest.
  void cancel(std::unique_ptr<io::Transport> transport, std::uint32_t pid, Bytes secret);
  /// A session has become a console's.
  void on_console_entered() { note_if_empty(); }
  void remember_slow_query(SlowQueryRow row);
  void remember_error(ErrorRow row);
  void remove(ClientSession& session);
  void remove(CancelSession& session);

  /// Buffers for bytes that must wait; given back when empty, so that idle clients hold none.
  std::unique_ptr<std::string> take_buffer();
  void give_back(std::unique_ptr<std::string> buffer);
  /// Memory for messages that are put together; borrowed during one call of a session.
  std::string& scratch() { return scratch_; }

 private:
  void warm_up();

  io::Loop& loop_;
  const config::Settings& settings_;
  pool::Pools& pools_;
  ConsoleTarget& console_;
  io::SecretSource& secret_source_;
  std::shared_ptr<auth::VerifierCache> verifiers_;
  std::unique_ptr<auth::VerifierWarmup> warmup_;
  std::shared_ptr<const io::TlsContext> tls_;
  std::unordered_map<std::uint64_t, std::unique_ptr<ClientSession>> sessions_;
  std::unordered_map<std::uint32_t, ClientSession*> by_pid_;
  std::unordered_map<CancelSession*, std::unique_ptr<CancelSession>> cancels_;
  std::unordered_map<const pool::Pool*, std::unique_ptr<Workload>> workloads_;
  FindCluster find_cluster_;
  std::vector<std::uint64_t> replica_waiters_;  ///< ids; some of them wait no longer
  ClientCounters counters_;
  std::deque<SlowQueryRow> slow_queries_;  ///< the newest last
  std::deque<ErrorRow> errors_;            ///< likewise
  std::vector<std::unique_ptr<std::string>> free_buffers_;
  std::string scratch_;
  void note_if_empty();
  void set_up_routing(const pool::Pool& pool, Workload& work);
  template <class Predicate>
  std::size_t fail_those(Predicate predicate, const Error& error);

  bool draining_ = false;
  bool is_suspended_ = false;
  std::vector<std::uint64_t> staying_;  ///< ids of those that drain_next() asks; the next one last
  std::function<void()> when_empty_;
};

}  // namespace pgproxy::session
