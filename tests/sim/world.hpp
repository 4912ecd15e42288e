#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "client.hpp"

#include "pgproxy/config/settings.hpp"
#include "pgproxy/pool/pools.hpp"
#include "pgproxy/session/sessions.hpp"

namespace pgproxy::sim {

/// The settings of a world: trust, one database "db" on one host, two server connections,
/// transaction mode, generous timeouts.
config::Settings plain_settings();

/// pgproxy's heart between model clients and a model PostgreSQL, on a simulated network. Checks its
/// invariants after every event; what it finds is in violations().
class World final : private io::Connector,
                    private session::ConsoleTarget,
                    private io::SecretSource {
 public:
  explicit World(config::Settings settings = plain_settings(), std::uint64_t seed = 1);
  ~World();

  Client& client(const NameMap& startup = {}, const std::string& user = "u",
                 const std::string& database = "db");
  /// A client that has logged in.
  Client& ready_client(const NameMap& startup = {}, const std::string& user = "u",
                       const std::string& database = "db");
  /// One that has begun a transaction, or waits for a server to do so.
  Client& client_in_transaction(const std::string& database = "db");
  /// Sends a CancelRequest for `client`; what is returned is closed when pgproxy is done with it.
  Client& cancel(const Client& client);

  void run() { loop.run_until_quiet(); }
  /// All clients leave; then what must hold of an idle pool is checked.
  void drain();
  /// The settings are others now.
  void reload(const std::function<void(config::Settings&)>& change);
  /// The rest, all at once: SIGTERM.
  void shut_down() {
    sessions_.drain([] {});
  }

  const std::vector<std::string>& violations() const { return violations_; }
  std::string violation_text() const;
  void forget_violations() { violations_.clear(); }
  const pool::Pool& pool(const std::string& user = "u", const std::string& database = "db");
  const config::Settings& settings() const { return settings_; }
  session::Sessions& sessions() { return sessions_; }
  pool::Pools& pools() { return pools_; }
  PoolRow row(const std::string& user = "u", const std::string& database = "db") {
    return pool(user, database).describe();
  }
  /// The backend that `pid` names, counted from 1 in the order of connecting.
  Backend& backend(std::uint32_t pid);
  void complain(std::string what);

  Random random;
  Loop loop;
  Weather client_weather;
  Weather server_weather;
  bool refuses_connections = false;
  std::set<std::string> refusing_hosts;
  std::vector<std::string> connects;  ///< the host of each attempt to connect
  /// Users are looked up, and those who ask wait until answer_lookups().
  bool has_auth_query = false;
  IntrusiveList<io::SecretListener> lookups;
  void answer_lookups(const io::FoundSecret& answer);
  Postgres postgres;

 private:
  class Attempt;
  std::unique_ptr<io::ConnectAttempt> connect(const io::ServerAddress& address,
                                              io::ConnectListener& listener) override;
  void execute(std::string_view text, session::ConsoleAccess access, std::string& out) override;
  void describe(std::string_view, session::ConsoleAccess, std::string&) override {}
  bool command(std::string_view, session::ConsoleAccess, std::string_view,
               CommandListener&) override {
    return false;
  }
  void cancel_command(CommandListener&) override {}
  std::vector<std::pair<std::string, std::string>> parameters() const override { return {}; }
  bool find(std::string_view, std::string_view, io::SecretListener& listener) override;
  void check();
  void check_rows();

  config::Settings settings_;
  std::vector<std::string> violations_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::unique_ptr<Client>> cancels_;
  unsigned steps_ = 0;
  std::map<const pool::Budget*, std::uint32_t> used_before_;
  std::map<const pool::Pool*, std::size_t> servers_before_;
  pool::Pools pools_;
  session::Sessions sessions_;
};

}  // namespace pgproxy::sim
