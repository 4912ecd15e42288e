#include "pgproxy/pool/server_limits.hpp"

#include "pgproxy/base/log.hpp"

namespace pgproxy::pool {

std::string ServerLimit::hint(std::uint32_t more) const {
  const std::uint32_t there = budget.given.value_or(Budget::unlimited);
  if (budget.limit != 0 && budget.limit < there) {
    const std::uint32_t wanted = budget.limit + std::min(more, there - budget.limit);
    return fmt::format("Set max_host_connections = {}", wanted);
  }
  if (!given_hint.empty()) return given_hint;
  return fmt::format("Raise what {} allows by {} ({} at the server)", name, more, statement);
}

ServerLimits::ServerLimits(std::string_view server, std::uint32_t max_host_connections)
    : server_(server),
      host_{.name = fmt::format("server {}", server),
            .statement = "max_connections",
            .budget = {.limit = max_host_connections}} {}

ServerLimit& ServerLimits::role(const std::string& name) {
  const auto at = roles_.find(name);
  if (at != roles_.end()) return at->second;
  ServerLimit limit{.name = fmt::format("role {} at {}", name, server_),
                    .statement = fmt::format("ALTER ROLE {} CONNECTION LIMIT", name)};
  return roles_.emplace(name, std::move(limit)).first->second;
}

ServerLimit& ServerLimits::database(const std::string& name) {
  const auto at = databases_.find(name);
  if (at != databases_.end()) return at->second;
  ServerLimit limit{.name = fmt::format("database {} at {}", name, server_),
                    .statement = fmt::format("ALTER DATABASE {} CONNECTION LIMIT", name)};
  return databases_.emplace(name, std::move(limit)).first->second;
}

void ServerLimits::assign(ServerLimit& limit, const GivenLimit* given) {
  limit.budget.given = given != nullptr ? std::optional(given->connections) : std::nullopt;
  limit.planned = given != nullptr ? given->planned : 0;
  limit.given_hint = given != nullptr ? given->hint : std::string();
}

void ServerLimits::set(const GivenLimits& given) {
  assign(host_, given.connections ? &*given.connections : nullptr);
  for (auto& [name, limit] : roles_) assign(limit, nullptr);
  for (auto& [name, limit] : databases_) assign(limit, nullptr);
  for (const auto& [name, limit] : given.roles) assign(role(name), &limit);
  for (const auto& [name, limit] : given.databases) assign(database(name), &limit);
}

void ServerLimits::for_each(const std::function<void(ServerLimit&)>& visit) {
  visit(host_);
  for (auto& [name, limit] : roles_) visit(limit);
  for (auto& [name, limit] : databases_) visit(limit);
}

}  // namespace pgproxy::pool
