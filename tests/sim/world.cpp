#include "world.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "pgproxy/base/log.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::sim {
namespace {

using std::chrono::seconds;

/// More would only repeat the first.
constexpr std::size_t max_violations = 5;
/// So much later a timeout may be seen.
constexpr Duration wait_slack = std::chrono::milliseconds(5);
/// How often the costlier checks are made.
constexpr unsigned steps_between_rows = 16;

}  // namespace

config::Settings plain_settings() {
  log::configure({.least = log::Level::fatal});
  config::Settings settings;
  settings.auth_type = config::AuthType::trust;
  settings.secrets = {{"u", ""}, {"v", ""}};
  settings.max_client_conn = 1000;
  settings.default_pool_size = 2;
  settings.max_server_logins = 3;
  settings.max_pinned_fraction = 1;
  settings.max_prepared_statements = 200;
  settings.scram_iterations = 4096;
  settings.max_packet_size = 0x7fffffff;
  settings.server_reset_query = "DISCARD ALL";
  settings.server_check_delay = seconds(30);
  settings.server_lifetime = seconds(3600);
  settings.server_connect_timeout = seconds(15);
  settings.auto_recover = true;
  settings.max_attempts = 1'000;
  settings.attempt_interval = seconds(15);
  settings.while_recovering = config::WhileRecovering::reject;
  settings.cancel_wait_timeout = seconds(10);
  settings.client_login_timeout = seconds(150);
  settings.query_wait_timeout = seconds(120);
  config::Database database;
  database.name = "db";
  database.hosts = {"10.0.0.1"};
  settings.databases = {database};
  return settings;
}

/// Ends as a connection, unless it is given up before or the server is not there.
class World::Attempt final : public io::ConnectAttempt {
 public:
  explicit Attempt(std::shared_ptr<bool> is_wanted) : is_wanted_(std::move(is_wanted)) {}
  ~Attempt() override { *is_wanted_ = false; }

 private:
  std::shared_ptr<bool> is_wanted_;
};

World::World(config::Settings settings, std::uint64_t seed)
    : random(seed),
      postgres(loop, random, [this](std::string what) { complain(std::move(what)); }),
      settings_((loop.set_connector(*this), std::move(settings))),
      pools_(loop, settings_),
      sessions_(loop, settings_, pools_, *this, *this) {
  loop.set_observer([this] { check(); });
}

World::~World() {
  loop.set_observer({});
  pools_.shut_down();
  sessions_.close_all();
}

std::unique_ptr<io::ConnectAttempt> World::connect(const io::ServerAddress& address,
                                                   io::ConnectListener& listener) {
  auto is_wanted = std::make_shared<bool>(true);
  const Duration delay(random.below(300) + 1);
  connects.push_back(address.host);
  loop.after(delay, [this, is_wanted, &listener, host = address.host] {
    if (!*is_wanted) return;
    Node* const node = postgres.replication != nullptr ? postgres.replication->find(host) : nullptr;
    const bool is_down = node != nullptr && !node->is_up;
    if (refuses_connections || refusing_hosts.contains(host) || is_down)
      return listener.on_connect_failed({"08001", "Connection refused"});
    auto link = std::make_shared<Link>(loop, random, server_weather);
    auto transport = link->make_transport();
    postgres.accept(std::move(link), node);
    listener.on_connected(std::move(transport));
  });
  return std::make_unique<Attempt>(std::move(is_wanted));
}

bool World::find(std::string_view /*database*/, std::string_view /*user*/,
                 io::SecretListener& listener) {
  if (has_auth_query) lookups.push_back(listener);
  return has_auth_query;
}

void World::answer_lookups(const io::FoundSecret& answer) {
  while (!lookups.empty()) {
    io::SecretListener& next = lookups.front();
    next.unlink();
    next.on_secret(answer);
  }
}

void World::execute(std::string_view text, session::ConsoleAccess /*access*/, std::string& out) {
  wire::put_command_complete(out, text);
  wire::put_ready_for_query(out, wire::TransactionStatus::idle);
}

Client& World::client(const NameMap& startup, const std::string& user,
                      const std::string& database) {
  const auto number = static_cast<unsigned>(clients_.size() + 1);
  auto link = std::make_shared<Link>(loop, random, client_weather);
  auto transport = link->make_transport();
  clients_.push_back(std::make_unique<Client>(
      std::move(link), number, [this](std::string what) { complain(std::move(what)); }));
  postgres.register_client(number, user, startup);
  sessions_.on_accepted(std::move(transport));
  clients_.back()->start(user, database, startup);
  return *clients_.back();
}

Client& World::ready_client(const NameMap& startup, const std::string& user,
                            const std::string& database) {
  Client& ready = client(startup, user, database);
  run();
  if (!ready.is_logged_in()) complain("a client could not log in");
  return ready;
}

Client& World::client_in_transaction(const std::string& database) {
  Client& client = ready_client({}, "u", database);
  Script script(client.number());
  script.begin();
  client.play(script);
  run();
  return client;
}

Client& World::cancel(const Client& client) {
  auto link = std::make_shared<Link>(loop, random, client_weather);
  auto transport = link->make_transport();
  cancels_.push_back(
      std::make_unique<Client>(link, 0, [this](std::string what) { complain(std::move(what)); }));
  cancels_.back()->may_lose_connection = true;
  sessions_.on_accepted(std::move(transport));
  std::string packet;
  wire::put_cancel_request(packet, client.pid(), as_bytes(client.secret()));
  link->send(packet);
  return *cancels_.back();
}

void World::reload(const std::function<void(config::Settings&)>& change) {
  change(settings_);
  pools_.reload(nullptr, false);
  sessions_.reload();
  run();
}

void World::drain() {
  for (const auto& client : clients_) {
    if (!client->is_closed()) client->terminate();
  }
  run();
  // Cleaning up a connection that nothing comes through ends with its timeout.
  if (postgres.has_black_hole()) loop.run_for(settings_.server_connect_timeout + seconds(1));
  if (sessions_.client_count() != 0) complain("a client is still there after all have left");
  if (!sessions_.describe_waits().empty()) complain("a client still waits after all have left");
  pools_.for_each_even_retired([&](const pool::Pool& pool) {
    if (pool.has_waiters()) complain("a waiter is left");
    if (pool.client_count != 0) complain("a pool still counts clients");
    if (pool.idle_count() != pool.server_count())
      complain("a server is not idle though all have left");
  });
  postgres.check_clean();
}

const pool::Pool& World::pool(const std::string& user, const std::string& database) {
  return pools_.pool(*pools_.find_database(database), pools_.user(user));
}

Backend& World::backend(std::uint32_t pid) {
  Backend* found = nullptr;
  postgres.for_each([&](Backend& backend) {
    if (backend.pid() == pid) found = &backend;
  });
  return *found;
}

void World::complain(std::string what) {
  if (violations_.size() < max_violations) violations_.push_back(std::move(what));
}

std::string World::violation_text() const {
  std::string text;
  for (const std::string& violation : violations_) text += violation + "\n";
  return text;
}

/// Server connections are permits, and permits are within their limits.
void World::check() {
  std::map<const pool::Budget*, std::uint32_t> used;
  std::size_t servers = 0;
  pools_.for_each_even_retired([&](const pool::Pool& pool) {
    servers += pool.server_count();
    used[&pool.database().server_budget] += static_cast<std::uint32_t>(pool.server_count());
    used[&pool.user().server_budget] += static_cast<std::uint32_t>(pool.server_count());
    for (const pool::PoolHost& place : pool.hosts()) {
      const auto there = static_cast<std::uint32_t>(pool.server_count(place.host));
      const pool::ServerBudgets at = place.budgets();
      for (const pool::Budget* budget : {&at.host, &at.role, &at.database}) used[budget] += there;
    }
    if (const std::string found = contradictions(pool.books()); !found.empty()) complain(found);
    const config::PoolSettings& limits = pool.settings();
    // As with any limit that was lowered.
    std::size_t& before = servers_before_[&pool];
    if (pool.server_count() >
        std::max<std::size_t>(before, limits.pool_size + limits.reserve_pool_size)) {
      complain("a pool has more servers than its size");
    }
    before = pool.server_count();
  });
  for (const auto& [budget, count] : used) {
    if (budget->used != count) complain("permits and servers differ");
    // What is open when a limit is lowered may stay, but it does not grow.
    if (count > std::max(budget->most(), used_before_[budget])) complain("a limit is exceeded");
  }
  used_before_ = std::move(used);
  if (postgres.open_count() > servers) complain("a connection is open without a permit");
  if (++steps_ % steps_between_rows == 0) check_rows();
}

/// No server has two clients; nobody waits for longer than allowed.
void World::check_rows() {
  std::set<std::uint64_t> links;
  for (const ConnectionRow& row : sessions_.describe()) {
    if (row.link != 0 && !links.insert(row.link).second) complain("a server has two clients");
  }
  for (const WaitRow& row : sessions_.describe_waits()) {
    if (row.waits_for != "replay" && row.wait > settings_.query_wait_timeout + wait_slack)
      complain("a waiter is past its deadline");
  }
}

}  // namespace pgproxy::sim
