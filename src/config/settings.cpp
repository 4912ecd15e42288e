#include "pgproxy/config/settings.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/ranges.h>

#include "config/field.hpp"

#include "pgproxy/config/capacity.hpp"

namespace pgproxy::config {

namespace {

template <class T>
const T* find_named(const std::vector<T>& items, std::string_view name) {
  for (const T& item : items) {
    if (item.name == name) return &item;
  }
  return nullptr;
}

}  // namespace

std::string to_string(SslMode mode) {
  return Codec<SslMode>::print(mode);
}

const Database* Settings::find_database(std::string_view wanted) const {
  return find_named(databases, wanted);
}

const User* Settings::find_user(std::string_view wanted) const {
  return find_named(users, wanted);
}

PoolSettings effective_settings(const Settings& settings, const Database& database,
                                std::string_view user) {
  const auto calculated = [&](std::uint32_t size) {
    return size == auto_size ? needed_connections(settings, database, user).connections : size;
  };
  const User* found = settings.find_user(user);
  const User by_user = found != nullptr ? *found : User{};
  return {
      .pool_mode = by_user.pool_mode.value_or(database.pool_mode.value_or(settings.pool_mode)),
      .pool_size = calculated(
          by_user.pool_size.value_or(database.pool_size.value_or(settings.default_pool_size))),
      .min_pool_size = calculated(database.min_pool_size.value_or(settings.min_pool_size)),
      .reserve_pool_size = by_user.reserve_pool_size.value_or(
          database.reserve_pool_size.value_or(settings.reserve_pool_size)),
      .max_db_connections = database.max_db_connections.value_or(settings.max_db_connections),
      .max_user_connections = by_user.max_user_connections.value_or(settings.max_user_connections),
      .on_exhausted = database.on_exhausted.value_or(settings.on_exhausted),
      .on_residue = database.on_residue.value_or(settings.on_residue),
      .max_pinned_fraction = database.max_pinned_fraction.value_or(settings.max_pinned_fraction),
      .server_lifetime = database.server_lifetime.value_or(settings.server_lifetime),
      .query_timeout =
          by_user.query_timeout.value_or(database.query_timeout.value_or(settings.query_timeout)),
      .query_wait_timeout = by_user.query_wait_timeout.value_or(
          database.query_wait_timeout.value_or(settings.query_wait_timeout)),
      .idle_transaction_timeout =
          by_user.idle_transaction_timeout.value_or(settings.idle_transaction_timeout),
      .transaction_timeout = by_user.transaction_timeout.value_or(settings.transaction_timeout),
      .client_idle_timeout = by_user.client_idle_timeout.value_or(settings.client_idle_timeout),
      .slow_query_threshold = by_user.slow_query_threshold.value_or(
          database.slow_query_threshold.value_or(settings.slow_query_threshold)),
  };
}

bool is_routed(const Settings& settings, const Database& database) {
  const Routing routing = database.routing.value_or(settings.routing.value_or(Routing::off));
  return database.hosts.size() > 1 && routing != Routing::off;
}

RoutingSettings routing_settings(const Settings& settings, const Database& database,
                                 std::string_view user) {
  if (!is_routed(settings, database)) return {};
  const auto given = [](const auto& own, const auto& global, auto standard) {
    return own.value_or(global.value_or(standard));
  };
  RoutingSettings routing{
      .routing = given(database.routing, settings.routing, Routing::off),
      .read_consistency =
          given(database.read_consistency, settings.read_consistency, ReadConsistency::session),
      .on_no_replica = given(database.on_no_replica, settings.on_no_replica, OnNoReplica::error),
      .failover_hold = given(database.failover_hold, settings.failover_hold, Duration::zero()),
      .max_replica_lag = database.max_replica_lag.value_or(settings.max_replica_lag),
      .host_weights = std::vector<std::uint32_t>(database.hosts.size(), 1)};
  const ReplicaPoolSize size = database.replica_pool_size.value_or(settings.replica_pool_size);
  const std::uint32_t whole = effective_settings(settings, database, user).pool_size;
  const std::uint64_t share = (std::uint64_t{whole} * size.percent + 99) / 100;
  routing.replica_pool_size = size.connections > 0
                                  ? size.connections
                                  : static_cast<std::uint32_t>(std::max<std::uint64_t>(1, share));
  for (std::size_t i = 0; i < std::min(database.host_weights.size(), database.hosts.size()); ++i) {
    const std::string& text = database.host_weights[i];
    std::from_chars(text.data(), text.data() + text.size(), routing.host_weights[i]);
  }
  return routing;
}

std::string describe_pool_settings(const Settings& settings, const Database& database,
                                   std::string_view user) {
  const PoolSettings pool = effective_settings(settings, database, user);
  const User* line = settings.find_user(user);
  const auto described = [&](std::string_view name, std::string value, bool by_user,
                             bool by_database, std::string_view global = "") {
    std::string place = "default";
    const auto given = settings.places.find(global.empty() ? name : global);
    if (given != settings.places.end()) place = given->second;
    if (by_database) place = database.place;
    if (by_user) place = line->place;
    return fmt::format("{} = {} ({})", name, value, place);
  };
  const auto seconds = [](Duration value) { return Codec<Duration>::print(value); };
  const User none{};
  const User& by = line != nullptr ? *line : none;
  const std::string parts[] = {
      described("pool_size", std::to_string(pool.pool_size), by.pool_size.has_value(),
                database.pool_size.has_value(), "default_pool_size"),
      described("reserve_pool_size", std::to_string(pool.reserve_pool_size),
                by.reserve_pool_size.has_value(), database.reserve_pool_size.has_value()),
      described("max_db_connections", std::to_string(pool.max_db_connections), false,
                database.max_db_connections.has_value()),
      described("max_user_connections", std::to_string(pool.max_user_connections),
                by.max_user_connections.has_value(), false),
      described("query_wait_timeout", seconds(pool.query_wait_timeout),
                by.query_wait_timeout.has_value(), database.query_wait_timeout.has_value()),
      described("query_timeout", seconds(pool.query_timeout), by.query_timeout.has_value(),
                database.query_timeout.has_value()),
      described("idle_transaction_timeout", seconds(pool.idle_transaction_timeout),
                by.idle_transaction_timeout.has_value(), false),
      described("on_exhausted", Codec<OnExhausted>::print(pool.on_exhausted), false,
                database.on_exhausted.has_value())};
  return fmt::format("{}", fmt::join(parts, ", "));
}

Duration worst_case_detection(const Settings& settings) {
  return settings.failure_threshold * (settings.check_interval + settings.check_timeout);
}

}  // namespace pgproxy::config
