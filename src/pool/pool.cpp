#include "pgproxy/pool/pool.hpp"

#include <algorithm>
#include <utility>

#include "pool/server_attempt.hpp"

#include "pgproxy/pool/pools.hpp"

namespace pgproxy::pool {
namespace {

/// Bounds the memory that clients with ever new startup settings can claim.
constexpr std::size_t max_canonical_states = 1000;

}  // namespace

Pool::Pool(Pools& pools, PoolContext& context, CapacityLock& lock, DatabaseEntry& database,
           UserEntry& user, config::PoolSettings settings, ServerHost* replica)
    : pools_(pools),
      context_(context),
      database_(database),
      user_(user),
      settings_(settings),
      capacity_(lock, settings.pool_size, settings.reserve_pool_size, database.server_budget,
                user.server_budget),
      replica_(replica),
      retry_(*this),
      reserve_(*this),
      failover_(*this) {
  look_up_queues();
  look_up_hosts();
}

Pool::~Pool() {
  for (const auto& [id, server] : servers_) server->close("pooler is shut down");
}

ServerConnection* Pool::checkout(PoolClient& client) {
  if (serves_ && waiters_.empty() && !idle_.empty() && !needs_check(idle_.front())) {
    ServerConnection& server = idle_.front();
    server.unlink();
    server.set_holder(&client);
    ++counters_.server_assignment_count;
    return &server;
  }
  enqueue(client);
  return nullptr;
}

void Pool::enqueue(PoolClient& client) {
  client.queued_at = loop().now();
  if (const auto reason = hopeless()) {
    if (client.is_counted()) ++counters_.refused_count;
    return client.on_server_refused(*reason);
  }
  waiters_.push_back(client);
  ++waiting_count_;
  if (settings_.reserve_pool_size > 0 && (!reserve_.is_armed() || waiting_count_ == 1)) {
    timeout_queue(global().reserve_pool_timeout).arm(reserve_, loop().now());
  }
  serve_waiters();
  grow();
  if (!client.is_linked() || !must_not_wait()) return;
  const Error error = exhausted_error("on_exhausted = reject");
  leave_queue(client);
  if (client.is_counted()) ++counters_.refused_count;
  client.on_server_refused(error);
}

void Pool::leave_queue(PoolClient& client) {
  if (!client.is_linked()) return;
  client.unlink();
  --waiting_count_;
}

PoolClient& Pool::take_waiter() {
  PoolClient& client = waiters_.front();
  leave_queue(client);
  return client;
}

void Pool::give_out(ServerConnection& server, PoolClient& client) {
  server.set_holder(&client);
  if (client.is_counted()) {
    ++counters_.server_assignment_count;
    counters_.note_wait(loop().now() - client.queued_at);
  }
  client.on_server_granted(server);
}

void Pool::checkin(ServerConnection& server) {
  if (const auto reason = reason_to_close(server); !reason.empty()) return close(server, reason);
  const bool is_single_use = settings_.server_lifetime == Duration::zero();
  if (is_single_use || (server.is_expired() && may_expire_now())) {
    return close(server, "server_lifetime");
  }
  if (pools_.is_shrinking() && must_shrink(server)) {
    return close(server, "a limit at its server was lowered");
  }
  if (pools_.has_starving() && !waiters_.empty() && pools_.owes(*this, server)) {
    is_yielding_ = true;
    close(server, "evicted: a client of another pool has waited longer");
    is_yielding_ = false;
    return grow();
  }
  give_back(server);
}

void Pool::give_back(ServerConnection& server) {
  make_idle(server);
  serve_waiters();
  if (pools_.has_starving() && !idle_.empty()) pools_.on_capacity_freed(*this);
}

void Pool::make_idle(ServerConnection& server) {
  server.go_idle(loop().now());
  switch (global().checkout_order) {
    case config::CheckoutOrder::lifo: return idle_.push_front(server);
    case config::CheckoutOrder::round_robin: return idle_.push_back(server);
    case config::CheckoutOrder::random: return insert_anywhere(server);
  }
}

/// One of the idle ones changes places with the front, so that the front is as good as drawn.
void Pool::insert_anywhere(ServerConnection& server) {
  idle_.push_front(server);
  std::size_t steps = order_() % idle_.size();
  for (ServerConnection& other : idle_) {
    if (steps-- > 0) continue;
    other.unlink();
    idle_.push_front(other);
    return;
  }
}

/// A client that gives its server back at once does so within give_out(): the loop below it on the
/// stack goes on, so that a long queue does not become a deep stack.
void Pool::serve_waiters() {
  if (std::exchange(is_serving_, true)) return;
  while (serves_ && !waiters_.empty() && !idle_.empty()) {
    ServerConnection& server = idle_.front();
    if (needs_check(server)) {
      server.run_check(global().server_check_query);
    } else {
      server.unlink();
      give_out(server, take_waiter());
    }
  }
  is_serving_ = false;
}

bool Pool::needs_check(const ServerConnection& server) const {
  return !global().server_check_query.empty() &&
         context_.loop.now() - server.idle_since() > global().server_check_delay;
}

void Pool::reset(ServerConnection& server, bool cancel_what_runs) {
  if (server.expected().is_uncertain()) return close(server, "unclean server");
  if (server.has_hidden_residue())
    return close(server, "client left what DISCARD ALL may not remove");
  server.run_reset("DISCARD ALL", cancel_what_runs);
}

void Pool::reset(ServerConnection& server, const std::string& reset_query) {
  if (reset_query.empty()) return checkin(server);
  server.run_reset(reset_query, false);
}

void Pool::close(ServerConnection& server, std::string_view reason) {
  if (is_logging_in(server)) {
    --logins_;
    attempts_ -= server.is_attempt() ? 1 : 0;
  }
  server.close(reason);
  const auto at = servers_.find(server.id());
  PGPROXY_ASSERT(at != servers_.end());
  loop().destroy_later(std::move(at->second));
  servers_.erase(at);
  grow();
  pools_.on_capacity_freed(*this);
}

bool Pool::is_logging_in(const ServerConnection& server) {
  return server.state() == ServerState::connecting ||
         server.state() == ServerState::authenticating || server.state() == ServerState::preparing;
}

void Pool::grow() {
  const bool is_failing = login_error_ && loop().now() < retry_at_;
  if (is_failing || pools_.is_shutting_down() || hold_ != Hold::none || is_yielding_) return;
  const bool is_in_use = client_count > 0 || !database_.config.user.empty();
  // min_pool_size does not take back what was given up for clients of another pool.
  const std::size_t floor = is_in_use && !pools_.has_starving() ? settings_.min_pool_size : 0;
  while (logins_ < global().max_server_logins) {
    const bool below_floor = servers_.size() < floor;
    if (logins_ >= waiting_count_ && !below_floor) return;
    if (open_connection(false)) continue;
    if (!below_floor && reserve_is_due() && open_connection(true)) {
      log::line(log::Level::log, "taking connection from reserve_pool: {}/{}",
                database_.config.name, user_.name);
      continue;
    }
    if (logins_ >= waiting_count_ && !below_floor) return;  // closing something woke this pool
    note_limit();
    if (!below_floor) note_exhausted();
    return;
  }
}

/// At the next server in turn that may be connected to and has room.
bool Pool::open_connection(bool from_reserve) {
  if (pools_.is_growth_held()) return false;
  if (!capacity_.has_own_room(from_reserve)) return false;
  for (std::size_t step = 0; step < hosts_.size(); ++step) {
    if (open_at(next_host_ + step, from_reserve)) return true;
  }
  return waiting_count_ > logins_ && evict_and_open(from_reserve);
}

bool Pool::open_at(std::size_t index, bool from_reserve) {
  const PoolHost& place = place_at(index);
  if (!may_use(place.host)) return false;
  auto permit = capacity_.try_reserve(from_reserve, place.budgets());
  if (!permit) return false;
  move_to_host(index);
  start_login(std::move(*permit), place.host, false);
  return true;
}

/// All servers that may be connected to are full, for this pool at least.
bool Pool::evict_and_open(bool from_reserve) {
  if (!find_host()) return false;
  pools_.note_starving();
  for (std::size_t step = 0; step < hosts_.size(); ++step) {
    const PoolHost& place = place_at(next_host_ + step);
    if (!may_use(place.host) || !pools_.evict_for(*this, place)) continue;
    if (logins_ >= waiting_count_) return true;  // as that has woken this pool
    if (open_at(next_host_ + step, from_reserve)) return true;
  }
  return false;
}

bool Pool::attempt(ServerHost& host) {
  const auto place =
      std::ranges::find_if(hosts_, [&](const auto& at) { return &at.host == &host; });
  if (place == hosts_.end() || pools_.is_growth_held() || hold_ != Hold::none) return false;
  auto permit = capacity_.try_reserve(false, place->budgets());
  // What another pool does not need, as for any connection that somebody waits for.
  if (!permit && has_waiters() && pools_.evict_for(*this, *place)) {
    permit = capacity_.try_reserve(false, place->budgets());
  }
  if (!permit) return false;
  ++attempts_;
  start_login(std::move(*permit), host, true);
  return true;
}

void Pool::start_login(Permit permit, ServerHost& host, bool is_attempt) {
  const std::uint64_t id = ++context_.last_id;
  auto server = std::make_unique<ServerConnection>(*this, id, std::move(permit), host, is_attempt);
  ServerConnection& started = *server;
  servers_.emplace(id, std::move(server));
  ++logins_;
  started.start();
}

bool Pool::reserve_is_due() const {
  if (waiters_.empty() || settings_.reserve_pool_size == 0) return false;
  if (settings_.on_exhausted == config::OnExhausted::reject) return true;  // nobody will wait
  return global().reserve_pool_timeout > Duration::zero() &&
         context_.loop.now() - waiters_.front().queued_at >= global().reserve_pool_timeout;
}

void Pool::on_server_ready(ServerConnection& server) {
  const bool is_new = is_logging_in(server);
  if (is_new) {
    login_error_.reset();
    retry_.disarm();
    if (default_state_ != server.session_state()) canonical_states_.clear();
    default_state_ = server.session_state();
    wants_verification_ = false;
  }
  ServerHost& host = server.host();
  const bool was_attempt = server.is_attempt();
  if (const auto reason = reason_to_close(server); !reason.empty()) {
    close(server, reason);
  } else {
    logins_ -= is_new ? 1 : 0;
    attempts_ -= is_new && was_attempt ? 1 : 0;
    give_back(server);
  }
  if (is_new) report_login(host, was_attempt, nullptr);
  if (pools_.is_shrinking()) pools_.enforce_limits();
  grow();
}

void Pool::on_login_failed(ServerConnection& server, const Error& error) {
  const Error failure = error;
  log::line(log::Level::warning, server.subject(), "server login failed: FATAL {}",
            failure.message);
  counters_.note_connect_failure(failure_reason(failure));
  if (login_listener_ != nullptr) login_listener_->on_login_failed(server.host(), failure);
  // That a server is not the primary is no reason to wait with another one.
  const bool is_about_role = kind_ == PoolKind::primary && failure.sqlstate == not_primary_sqlstate;
  if (failure_kind(failure) != FailureKind::unreachable && !is_about_role) {
    login_error_ = failure;
    retry_at_ = loop().now() + global().attempt_interval;
    timeout_queue(global().attempt_interval).arm(retry_, loop().now());
  }
  report_login(server.host(), server.is_attempt(), &failure);
  close(server, "server login failed");
  if (const auto reason = hopeless()) refuse_waiters(*reason);
}

void Pool::report_login(ServerHost& host, bool was_attempt, const Error* error) {
  if (was_attempt) return host.on_attempt_done(error);
  if (error != nullptr) return host.on_login_failed(*error);
  host.on_login_done();
}

std::unique_ptr<io::ConnectAttempt> Pool::connect(const io::ServerAddress& address,
                                                  io::ConnectListener& listener) {
  return std::make_unique<ServerAttempt>(*this, address, listener);
}

std::unique_ptr<io::ConnectAttempt> Pool::connect(const io::ServerAddress& address,
                                                  const CancelRoute& cancel,
                                                  io::ConnectListener& listener) {
  return std::make_unique<ServerAttempt>(*this, address, listener, cancel);
}

void Pool::note_unencrypted(const io::ServerAddress& address) {
  ++unencrypted_count_;
  const std::string host = fmt::format("{}:{}", address.host, address.port);
  if (!context_.unencrypted_hosts.insert(host).second) return;
  log::line(log::Level::warning,
            "server {} offers no TLS: its connections are not encrypted; server_tls_sslmode = "
            "require would refuse it, disable would not ask",
            host);
}

void Pool::refuse_waiters(const Error& error) {
  for (std::size_t left = waiting_count_; left > 0 && !waiters_.empty(); --left) {
    PoolClient& client = take_waiter();
    if (client.is_counted()) ++counters_.refused_count;
    client.on_server_refused(error);
  }
}

void Pool::on_timeout(Timeout& timeout) {
  if (&timeout == &failover_) {
    is_hold_over_ = true;
    if (const auto error = no_primary()) refuse_waiters(*error);
    return;
  }
  if (&timeout == &reserve_ && !waiters_.empty()) {
    timeout_queue(global().reserve_pool_timeout).arm(reserve_, loop().now());
  }
  grow();
}

bool Pool::may_expire_now() {
  const TimePoint now = loop().now();
  if (last_expiry_ != TimePoint{} && now - last_expiry_ < expiry_spacing()) return false;
  last_expiry_ = now;
  return true;
}

Duration Pool::expiry_spacing() const {
  return settings_.server_lifetime / std::max<std::uint32_t>(1, settings_.pool_size);
}

const std::string& Pool::server_database() const {
  return database_.config.server_dbname();
}

std::string Pool::server_password() const {
  if (!database_.config.password.empty()) return database_.config.password;
  const auto at = context_.settings.secrets.find(user_.name);
  return at != context_.settings.secrets.end() ? at->second : found_secret_;
}

void Pool::note_login(const std::string* secret, const auth::ProvenScram* proven) {
  if (secret != nullptr) found_secret_ = *secret;
  if (proven != nullptr) proven_scram_ = *proven;
}

StateRef Pool::find_canonical(const std::string& raw_settings) const {
  const auto at = canonical_states_.find(raw_settings);
  return at != canonical_states_.end() ? at->second : nullptr;
}

void Pool::remember_canonical(const std::string& raw_settings, const StateRef& state) {
  if (canonical_states_.size() >= max_canonical_states) canonical_states_.clear();
  canonical_states_[raw_settings] = state;
}

PoolRow Pool::describe() const {
  PoolRow row{.database = database_.config.name,
              .user = user_.name,
              .cl_waiting = static_cast<std::uint32_t>(waiting_count_),
              .sv_idle = static_cast<std::uint32_t>(idle_.size()),
              .sv_login = static_cast<std::uint32_t>(logins_),
              .pool_size = settings_.pool_size,
              .sv_unencrypted = unencrypted_count_,
              .exhaustions = counters_.exhausted_count,
              .refusals = counters_.refused_count,
              .host_switches = counters_.host_switch_count,
              .leak_warnings = counters_.leak_count};
  for (const auto& [id, server] : servers_) {
    row.sv_active += server->state() == ServerState::active;
    row.sv_tested +=
        server->state() == ServerState::testing || server->state() == ServerState::resetting;
    row.sv_being_canceled += server->has_cancel_in_flight();
  }
  row.sv_active_cancel = row.sv_being_canceled;
  if (!waiters_.empty()) row.maxwait = context_.loop.now() - waiters_.front().queued_at;
  row.pool_mode = to_string(settings_.pool_mode);
  row.load_balance_hosts = kind_ == PoolKind::any ? load_balancing(database_.config) : std::nullopt;
  if (replica_ != nullptr) row.replica = replica_->name();
  return row;
}

void Pool::describe_servers(std::vector<ConnectionRow>& rows) const {
  for (const auto& [id, server] : servers_) rows.push_back(server->describe());
}

}  // namespace pgproxy::pool
