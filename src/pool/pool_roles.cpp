// What pools of a cluster do as its servers' roles change.
#include <algorithm>
#include <vector>

#include "pgproxy/pool/pools.hpp"

namespace pgproxy::pool {

bool Pool::has_role(const ServerHost& host) const {
  switch (kind_) {
    case PoolKind::any: return true;
    case PoolKind::primary: return host.role() == ServerRole::primary;
    case PoolKind::replica: return host.role() == ServerRole::standby;
  }
  std::unreachable();
}

std::uint32_t Pool::timeline() const {
  std::uint32_t latest = 0;
  for (const PoolHost& at : hosts_) latest = std::max(latest, at.host.timeline());
  return latest;
}

bool Pool::is_usable() const {
  const bool is_failing = login_error_ && context_.loop.now() < retry_at_;
  return find_host() && (!is_failing || servers_.size() > logins_);
}

void Pool::note_doubt(const ServerHost& host) {
  if (kind_ != PoolKind::any) pools_.doubt(host);
}

bool Pool::has_server_in_role() const {
  return std::ranges::any_of(hosts_, [this](const auto& at) { return has_role(at.host); });
}

/// Nothing is given out while the role of what is connected to is not known: a server that was the
/// primary may have been one for the last time.
void Pool::update_serving() {
  const bool is_right = has_server_in_role();
  serves_ = hold_ == Hold::none && is_right;
  if (kind_ != PoolKind::primary) return;
  if (is_right) {
    failover_.disarm();
    is_hold_over_ = false;
  } else if (!failover_.is_armed() && !is_hold_over_) {
    const auto routing = config::routing_settings(global(), database_.config, user_.name);
    timeout_queue(routing.failover_hold).arm(failover_, loop().now());
  }
}

/// As long as nobody else has the role, and its own is not known, it may have it still.
bool Pool::is_misplaced(const ServerConnection& server) const {
  const ServerHost& host = server.host();
  if (kind_ == PoolKind::any || has_role(host)) return false;
  return host.role() != ServerRole::unknown || (kind_ == PoolKind::primary && has_server_in_role());
}

/// What is written to a server that another one has taken the place of would be lost: who does it
/// is told. A standby that was promoted goes on with what reads there.
void Pool::leave_misplaced() {
  std::vector<std::uint64_t> writing;
  for (const auto& [id, server] : servers_) {
    if (!is_misplaced(*server)) continue;
    server->mark_outdated();
    const bool is_busy = server->state() == ServerState::active;
    if (is_busy && kind_ == PoolKind::primary) writing.push_back(id);
  }
  for (const std::uint64_t id : writing) {
    const auto at = servers_.find(id);  // closing one may have closed others
    if (at == servers_.end()) continue;
    at->second->give_up(
        {.sqlstate = "57P03",
         .message = fmt::format("server {} is no longer the primary", at->second->host().name()),
         .hint = "Run the transaction again: it goes to the new primary."});
  }
  close_those(
      [this](const ServerConnection& server) {
        return server.state() == ServerState::idle && is_misplaced(server);
      },
      "its server has another role now");
}

void Pool::on_role_changed() {
  if (kind_ == PoolKind::any) return;
  forget_login_error();  // it may have been about the role
  update_serving();
  leave_misplaced();
  if (kind_ == PoolKind::replica && !has_server_in_role()) {
    const ServerHost& host = hosts_.front().host;
    refuse_waiters({.sqlstate = "57P03",
                    .message = fmt::format("server {} is {} now, no standby", host.name(),
                                           to_string(host.role()))});
  }
  serve_waiters();
  grow();
}

/// Nullopt: there is one, or it makes no difference.
std::optional<Error> Pool::no_primary() const {
  if (kind_ != PoolKind::primary) return std::nullopt;
  if (has_server_in_role()) return std::nullopt;
  std::string roles;
  for (const PoolHost& at : hosts_) {
    roles +=
        fmt::format("{}{} is {}", roles.empty() ? "" : ", ", at.host.name(),
                    at.host.may_connect() ? to_string(at.host.role()) : to_string(at.host.state()));
  }
  return Error{
      .sqlstate = "57P03",
      .message = fmt::format("no server of {} is known to be the primary", database_.config.name),
      .detail = std::move(roles) + ".",
      .hint =
          "Promote one of them; failover_hold says how long transactions wait for that, SHOW "
          "HOSTS on the console what each server said last."};
}

}  // namespace pgproxy::pool
