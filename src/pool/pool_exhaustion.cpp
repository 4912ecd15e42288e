// Clients that get no server connection: what they are told, and what the log says of it. And the
// pool's own books.
#include <algorithm>

#include "pgproxy/pool/pools.hpp"

namespace pgproxy::pool {
namespace {

/// An episode is over when no client has been blocked for so long: pauses between bursts do not
/// make two of one.
constexpr Duration episode_end = std::chrono::seconds(10);

double seconds_of(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

/// With on_exhausted = reject: everything is in use, and what is being opened is others' already.
bool Pool::must_not_wait() const {
  return hold_ == Hold::none && settings_.on_exhausted == config::OnExhausted::reject &&
         waiting_count_ > logins_ && obstacle().limit != CapacityLimit::none;
}

std::string Pool::sizes() const {
  std::size_t active = 0;
  for (const auto& [id, server] : servers_) active += server->state() == ServerState::active;
  const auto longest =
      waiters_.empty() ? Duration::zero() : context_.loop.now() - waiters_.front().queued_at;
  std::string hosts;
  for (std::size_t index = 0; index < hosts_.size(); ++index) {
    const ServerHost& host = host_at(index);
    hosts += fmt::format("; server {} is {}", host.name(), host.describe().state);
  }
  return fmt::format(
      "Pool {}/{}: pool_size {} (effective {}), {} active, {} idle, {} logging in, {} clients "
      "waiting, the longest for {:.3f} s{}.",
      database_.config.name, user_.name, settings_.pool_size, attainable_size(), active,
      idle_.size(), logins_, waiting_count_, seconds_of(longest), hosts);
}

std::string Pool::place_of_entry() const {
  const std::string& place = database_.config.place;
  return place.empty() ? "" : ", " + place;
}

/// Where the size of this pool is given, and what would let in those who wait.
std::string Pool::hint_to_raise_size(std::uint32_t size) const {
  const config::User* user = global().find_user(user_.name);
  if (user != nullptr && user->pool_size) {
    return fmt::format("pool_size = {} for user {} ({})", size, user_.name, user->place);
  }
  if (database_.config.pool_size) {
    return fmt::format("pool_size = {} for database {} ({})", size, database_.config.name,
                       database_.config.place);
  }
  const auto place = global().places.find("default_pool_size");
  return fmt::format("default_pool_size = {}{}", size,
                     place != global().places.end() ? " (" + place->second + ")" : "");
}

/// One of the pool's own settings, and where it is given if it is a size.
std::string Pool::hint_to_raise(CapacityLimit limit, std::uint32_t more) const {
  switch (limit) {
    case CapacityLimit::database:
      return fmt::format("max_db_connections = {} for database {}",
                         settings_.max_db_connections + more, database_.config.name);
    case CapacityLimit::user:
      return fmt::format("max_user_connections = {} for user {}",
                         settings_.max_user_connections + more, user_.name);
    default: return hint_to_raise_size(capacity_.pool_limit() + more);
  }
}

/// More than a server has is not proposed.
/// What else stands in the way of a pool that is larger by `more`.
std::string Pool::hint_to_raise_too(CapacityLimit limit, std::uint32_t more) const {
  if (limit != CapacityLimit::pool) return {};
  const std::uint32_t size = capacity_.pool_limit() + more;
  std::string text;
  const auto add = [&](std::string_view setting, std::uint32_t value) {
    if (value != 0 && value < size) text += fmt::format(" and {} = {}", setting, size);
  };
  add("max_db_connections", settings_.max_db_connections);
  add("max_user_connections", settings_.max_user_connections);
  add("max_host_connections", global().max_host_connections);
  return text;
}

std::string Pool::exhaustion_hint() const {
  if (pools_.is_growth_held()) {
    return fmt::format(
        "Set instances = {}, here and at the others, or end one of them: no "
        "connection is opened while this one has no place among them (SHOW HEALTH)",
        global().instances + 1);
  }
  std::uint32_t more = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(waiting_count_));
  const Obstacle found = obstacle();
  if (found.at_server != nullptr) return pools_.hint_to_raise(*found.at_server, more);
  if (found.limit != CapacityLimit::none) {
    const auto [spare, tightest] = least_spare();
    if (spare == 0) return pools_.hint_to_raise(*tightest, more);
    more = std::min(more, spare);
    return "Set " + hint_to_raise(found.limit, more) + hint_to_raise_too(found.limit, more);
  }
  if (!login_error_) return "The server is slow to log in; look at its load";
  const std::string& words = login_error_->message;
  if (words.contains("for role")) {
    return fmt::format("Raise the limit at the server (ALTER ROLE {} CONNECTION LIMIT), or set {}",
                       user_.name,
                       hint_to_raise_size(std::max<std::uint32_t>(
                           1, static_cast<std::uint32_t>(servers_.size()))));
  }
  if (words.contains("for database")) {
    return fmt::format(
        "Raise the limit at the server (ALTER DATABASE {} CONNECTION LIMIT), or set "
        "{}",
        server_database(),
        hint_to_raise_size(
            std::max<std::uint32_t>(1, static_cast<std::uint32_t>(servers_.size()))));
  }
  return fmt::format(
      "The server has no slot for pgproxy (\"{}\"): raise max_connections at the "
      "server by {}, or end what takes its slots",
      words, std::max<std::size_t>(1, waiting_count_));
}

Error Pool::exhausted_error(std::string_view setting) const {
  if (hold_ != Hold::none) {
    const std::string_view command = hold_ == Hold::paused ? "paused" : "suspended";
    return {.sqlstate = "57P03",
            .message =
                fmt::format("{}: database \"{}\" is {}", setting, database_.config.name, command),
            .detail = sizes(),
            .hint = "It goes on when RESUME is given on the console."};
  }
  const bool has_servers = servers_.size() > logins_;
  if (!has_servers && !find_host()) {
    const ServerHost& host = host_at(next_host_);
    Error error = host.refusal();
    error.message = fmt::format("{}: {}", setting, error.message);
    error.detail += (error.detail.empty() ? "" : " ") + sizes();
    return error;
  }
  return {.sqlstate = "53300",
          .message = fmt::format("{}: no server connection became free in time", setting),
          .detail = sizes(),
          .hint = fmt::format("{}, or shorten transactions{}.", exhaustion_hint(),
                              setting.contains('=') ? ", or let clients wait (on_exhausted = queue)"
                                                    : ", or raise " + std::string(setting))};
}

/// A client waits, and no connection may be opened for it.
void Pool::note_exhausted() {
  const TimePoint now = loop().now();
  if (!waiters_.front().is_counted()) return;
  if (!find_host()) return;  // that is another matter
  if (!episode_) {
    ++counters_.exhausted_count;
    episode_ = Episode{.since = now, .wall_since = loop().wall_now()};
    log::line(log::Level::warning, "pool {}/{} is exhausted: {} Settings: {}",
              database_.config.name, user_.name, sizes(),
              config::describe_pool_settings(global(), database_.config, user_.name));
  }
  episode_->last_seen = now;
  episode_->peak_waiters = std::max(episode_->peak_waiters, waiting_count_);
}

void Pool::end_episode() {
  const TimePoint now = loop().now();
  if (!waiters_.empty()) episode_->last_seen = now;
  if (now - episode_->last_seen < episode_end) return;
  log::line(log::Level::log,
            "pool {}/{} is not exhausted any more: it was for {:.1f} s, with at most {} clients "
            "waiting at once",
            database_.config.name, user_.name, seconds_of(episode_->last_seen - episode_->since),
            episode_->peak_waiters);
  episode_.reset();
}

void Pool::keep_house() {
  if (waiting_count_ > logins_ && hold_ == Hold::none) note_limit();
  if (episode_) end_episode();
  if (is_trimming_) trim();
  check_books();
}

void Pool::describe_health(std::vector<HealthRow>& rows) const {
  const std::string name = database_.config.name + "/" + user_.name;
  if (episode_) {
    rows.push_back({.kind = "pool",
                    .name = name,
                    .state = "exhausted",
                    .reason = sizes(),
                    .hint = exhaustion_hint(),
                    .since = episode_->wall_since});
  }
  if (contradictions_.empty()) return;
  rows.push_back({.kind = "pool",
                  .name = name,
                  .state = "inconsistent",
                  .reason = contradictions_,
                  .hint = "Report it, with what the log says.",
                  .since = {}});
}

PoolBooks Pool::books() const {
  PoolBooks books{.permits = capacity_.used(),
                  .servers = servers_.size(),
                  .logins_counted = logins_,
                  .idle_listed = idle_.size(),
                  .waiters_counted = waiting_count_,
                  .waiters_listed = waiters_.size()};
  for (const auto& [id, server] : servers_) {
    books.logins_seen += is_logging_in(*server) ? 1 : 0;
    books.idle_seen += server->state() == ServerState::idle ? 1 : 0;
  }
  return books;
}

std::string contradictions(const PoolBooks& books) {
  std::string text;
  const auto compare = [&text](std::string_view left, std::size_t a, std::string_view right,
                               std::size_t b) {
    if (a == b) return;
    text += fmt::format("{}{} {} but {} {}", text.empty() ? "" : ", ", a, left, b, right);
  };
  compare("permits", books.permits, "server connections", books.servers);
  compare("logins counted", books.logins_counted, "logging in", books.logins_seen);
  compare("idle listed", books.idle_listed, "idle", books.idle_seen);
  compare("waiters counted", books.waiters_counted, "waiting", books.waiters_listed);
  return text;
}

/// A permit stays with its connection whatever is found: giving it back by guess could exceed what
/// the server allows.
void Pool::check_books() {
  std::string found = contradictions(books());
  if (!found.empty()) ++counters_.inconsistency_count;
  if (found == contradictions_) return;
  contradictions_ = std::move(found);
  if (contradictions_.empty()) return;
  std::string dump;
  for (const auto& [id, server] : servers_) {
    dump += fmt::format(" S-{} {} pid={} {}", id, to_string(server->state()), server->backend_pid(),
                        server->host().name());
  }
  log::line(log::Level::error, "pool {}/{}: its books do not agree: {}; report it. Servers:{}",
            database_.config.name, user_.name, contradictions_, dump);
}

}  // namespace pgproxy::pool
