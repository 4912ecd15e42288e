// Which server a pool connects to, and what becomes of its connections when one fails.
#include <algorithm>

#include "pgproxy/pool/pools.hpp"

namespace pgproxy::pool {

ServerHost& Pool::host_at(std::size_t index) const {
  return place_at(index).host;
}

/// Counted on from the last one; those that failed are left out.
std::optional<std::size_t> Pool::find_host() const {
  for (std::size_t step = 0; step < hosts_.size(); ++step) {
    if (may_use(host_at(next_host_ + step))) return next_host_ + step;
  }
  return std::nullopt;
}

void Pool::move_to_host(std::size_t index) {
  const bool rotates = database_.config.load_balance_hosts == config::LoadBalanceHosts::round_robin;
  if (index != next_host_ && !rotates) {
    ++counters_.host_switch_count;
    const ServerHost& left = host_at(next_host_);
    log::line(log::Level::warning, "pool {}/{}: server {} {}: connecting to {}",
              database_.config.name, user_.name, left.name(),
              left.may_connect() ? "has no room" : fmt::format("is {}", to_string(left.state())),
              host_at(index).name());
  }
  next_host_ = rotates ? index + 1 : index;
}

bool Pool::uses(const ServerHost& host) const {
  return std::ranges::any_of(hosts_, [&](const PoolHost& at) { return &at.host == &host; });
}

void Pool::on_host_changed(ServerHost& host) {
  if (host.is_gone()) give_up_servers(host);
  if (may_use(host)) return grow();
  if (const auto reason = hopeless()) refuse_waiters(*reason);
}

void Pool::describe_hosts(std::map<std::string, HostRow, std::less<>>& rows) const {
  for (const auto& [id, server] : servers_) {
    const auto row = rows.find(server->host().name());
    if (row == rows.end()) continue;
    ++row->second.connections;
    const StateRef& state = server->session_state();
    const std::string_view is_standby = state ? state->value("in_hot_standby") : "";
    if (!is_standby.empty()) row->second.role = is_standby == "on" ? "standby" : "primary";
  }
}

void Pool::mark_progress(const ServerHost& host) {
  for (const auto& [id, server] : servers_) {
    if (&server->host() == &host) server->mark_progress();
  }
}

/// Idle connections to a server that is gone would only be found out by a client. Busy ones on
/// which something has come since the checks began to fail are at work; the others wait for ever,
/// when nobody there so much as refuses a connection.
void Pool::give_up_servers(ServerHost& host) {
  std::vector<std::uint64_t> doomed;
  for (const auto& [id, server] : servers_) {
    if (&server->host() != &host || is_logging_in(*server)) continue;
    const bool is_stuck = host.is_silent() && !server->has_progressed();
    if (server->state() == ServerState::idle || is_stuck) doomed.push_back(id);
  }
  const Error error{
      .sqlstate = "08006",
      .message = fmt::format("server {} does not answer its health checks any more", host.name()),
      .detail = fmt::format("{} checks (failure_threshold) failed in a row.", host.failed_checks()),
      .hint =
          "Look after the server; failure_threshold and check_timeout say how "
          "long it may be silent."};
  for (const std::uint64_t id : doomed) {
    const auto at = servers_.find(id);  // closing one may have closed others
    if (at != servers_.end()) at->second->give_up(error);
  }
}

/// Others that serve the queue, or a login that may, are reason enough to wait.
std::optional<Error> Pool::hopeless() const {
  if (const auto error = no_primary()) return is_hold_over_ ? error : std::nullopt;
  if (servers_.size() > logins_ || logins_ > attempts_) return std::nullopt;
  const bool may_queue = settings_.on_exhausted == config::OnExhausted::queue;
  if (login_error_ && context_.loop.now() < retry_at_) {
    const bool is_full = failure_kind(*login_error_) == FailureKind::full;
    if (is_full) {
      return may_queue ? std::nullopt : std::optional(exhausted_error("on_exhausted = reject"));
    }
    Error error = *login_error_;
    error.detail = "Server login has been failing; this is the last error" +
                   (error.detail.empty() ? "." : ": " + error.detail);
    if (error.hint.empty()) error.hint = "The next attempt is made after attempt_interval.";
    return error;
  }
  if (find_host()) return std::nullopt;
  if (std::ranges::any_of(hosts_, [](const auto& at) { return at.host.may_connect(); })) {
    return std::nullopt;  // it is a matter of their roles
  }
  const ServerHost* best = &host_at(0);
  for (std::size_t index = 0; index < hosts_.size(); ++index) {
    const ServerHost& host = host_at(index);
    if (host.state() == HostState::recovering) best = &host;
  }
  const bool waits = global().while_recovering == config::WhileRecovering::queue;
  if (best->state() == HostState::recovering && waits) return std::nullopt;
  return best->refusal();
}

}  // namespace pgproxy::pool
