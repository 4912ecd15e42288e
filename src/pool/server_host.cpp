#include "pgproxy/pool/server_host.hpp"

#include <utility>

#include "pgproxy/base/assert.hpp"
#include "pgproxy/base/log.hpp"
#include "pgproxy/base/text.hpp"

namespace pgproxy::pool {
namespace {

constexpr unsigned bit(HostState state) {
  return 1U << static_cast<unsigned>(state);
}

constexpr unsigned next_states(HostState from) {
  using enum HostState;
  switch (from) {  // no default: the compiler finds a forgotten state
    case healthy: return bit(suspect) | bit(recovering) | bit(failed);
    case suspect: return bit(healthy) | bit(recovering) | bit(failed);
    case recovering: return bit(healthy) | bit(suspect) | bit(failed);
    case failed: return bit(healthy) | bit(suspect);
  }
  std::unreachable();
}

double seconds_of(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

std::string_view to_string(ServerRole role) {
  switch (role) {
    case ServerRole::unknown: return "unknown";
    case ServerRole::replaced: return "replaced";
    case ServerRole::primary: return "primary";
    case ServerRole::standby: return "standby";
  }
  std::unreachable();
}

std::string_view to_string(HostState state) {
  using enum HostState;
  switch (state) {
    case healthy: return "healthy";
    case suspect: return "suspect";
    case recovering: return "recovering";
    case failed: return "failed";
  }
  std::unreachable();
}

/// 57P01 to 57P03: it shuts down, crashed, or starts. All other words of a server's are about us,
/// and so is 08004: it and we do not agree on encryption.
FailureKind failure_kind(const Error& error) {
  const std::string& sqlstate = error.sqlstate;
  const bool is_down = sqlstate == "57P01" || sqlstate == "57P02" || sqlstate == "57P03";
  if (sqlstate == "08004") return FailureKind::refusal;
  if (is_down || sqlstate.starts_with("08")) return FailureKind::unreachable;
  return sqlstate.starts_with("53") ? FailureKind::full : FailureKind::refusal;
}

/// Where PostgreSQL has no SQLSTATE for it, the words are the system's, or this program's own.
std::string_view failure_reason(const Error& error) {
  const std::string& sqlstate = error.sqlstate;
  const auto says = [&error](std::string_view words) { return error.message.contains(words); };
  if (says("server_settings, init_statements or connect_query")) return "settings";
  if (says("server_connect_timeout") || says("timed out")) return "timeout";
  if (says("could not translate host name")) return "name";
  if (says("Connection refused") || says("No such file or directory")) return "refused";
  if (says("could not connect to server")) return "network";
  if (sqlstate == "08004") return "tls";
  if (sqlstate == "08P01") return "protocol";
  if (sqlstate.starts_with("08")) return "closed";
  if (sqlstate.starts_with("28")) return "authentication";
  if (sqlstate.starts_with("53")) return "full";
  if (sqlstate == "57P01" || sqlstate == "57P02" || sqlstate == "57P03") return "unavailable";
  return "other";
}

ServerHost::ServerHost(io::Loop& loop, const config::Settings& settings, HostListener& listener,
                       io::ServerAddress address)
    : loop_(loop),
      settings_(settings),
      listener_(listener),
      address_(std::move(address)),
      name_(server_name(address_.host, address_.port)),
      limits_(name_, settings.max_host_connections),
      since_(loop.wall_now()),
      next_attempt_(*this) {}

/// The only place where the state changes.
void ServerHost::move_to(HostState next) {
  PGPROXY_ASSERT((next_states(state_) & bit(next)) != 0);
  state_ = next;
  since_ = loop_.wall_now();
}

void ServerHost::on_login_done() {
  on_reached();
}

/// Somebody answered who is able to take connections.
void ServerHost::on_reached() {
  if (state_ == HostState::healthy || state_ == HostState::failed) return;
  recover("a login reached it");
}

void ServerHost::on_login_failed(const Error& error) {
  if (failure_kind(error) != FailureKind::unreachable) return on_reached();
  ++failures_ever_;
  last_error_ = error;
  if (may_connect()) fail(error);
}

/// The first failure: from here on there are attempts, or nothing.
void ServerHost::fail(const Error& error) {
  const HostState before = state_;
  last_error_ = error;
  attempts_ = 0;
  failed_at_ = loop_.now();
  if (settings_.auto_recover) {
    move_to(HostState::recovering);
    log::line(
        log::Level::warning,
        "server {} cannot be reached: {}; {} attempts (max_attempts) follow, every {} s "
        "(attempt_interval); clients {} (while_recovering)",
        name_, error.message, settings_.max_attempts, seconds_of(settings_.attempt_interval),
        settings_.while_recovering == config::WhileRecovering::queue ? "wait" : "are refused");
    wait_for_attempt();
  } else {
    move_to(HostState::failed);
    log::line(log::Level::error,
              "server {} has failed: {}; there are no attempts (auto_recover = 0), {}", name_,
              error.message, until());
  }
  listener_.on_host_changed(*this, before);
}

void ServerHost::wait_for_attempt() {
  is_attempt_on_ = false;
  loop_.timeouts().queue(settings_.attempt_interval).arm(next_attempt_, loop_.now());
}

/// With nobody who may connect (no pool has room) the attempt is put off, and does not count.
void ServerHost::on_timeout(Timeout& /*timeout*/) {
  if (state_ != HostState::recovering) return;
  is_attempt_on_ = true;
  if (!listener_.start_attempt(*this)) wait_for_attempt();
}

void ServerHost::on_attempt_done(const Error* error) {
  if (state_ != HostState::recovering || !is_attempt_on_) {  // something else was faster
    return error == nullptr ? on_login_done() : on_login_failed(*error);
  }
  is_attempt_on_ = false;
  ++attempts_;
  ++attempts_ever_;
  if (error == nullptr || failure_kind(*error) != FailureKind::unreachable) {
    return recover(fmt::format("attempt {} of {} succeeded", attempts_, settings_.max_attempts));
  }
  ++failures_ever_;
  last_error_ = *error;
  log::line(log::Level::warning, "server {}: attempt {} of {} failed: {}", name_, attempts_,
            settings_.max_attempts, error->message);
  if (attempts_ < settings_.max_attempts) return wait_for_attempt();
  move_to(HostState::failed);
  log::line(log::Level::error,
            "server {} has failed: it could not be reached in {} attempts (max_attempts), {:.1f} "
            "s; {}",
            name_, attempts_, seconds_down(), until());
  listener_.on_host_changed(*this, HostState::recovering);
}

void ServerHost::on_connection_lost(const Error& error) {
  // Any other FATAL ended that one session only (25P03, 57P05, …).
  if (failure_kind(error) != FailureKind::unreachable) return;
  ++failures_ever_;
  last_error_ = error;
  if (state_ != HostState::healthy) return;
  move_to(HostState::suspect);
  log::line(log::Level::log,
            "server {} is suspect: a connection to it was lost: {}; the next login or health check "
            "tells",
            name_, error.message);
  listener_.on_host_changed(*this, HostState::healthy);
}

void ServerHost::on_check_passed(Duration latency) {
  latency_ = latency;
  failed_checks_ = 0;
  is_gone_ = false;
  if (state_ == HostState::healthy) return;
  const bool may_return = settings_.failed_until == config::FailedUntil::health_check;
  if (state_ == HostState::failed && !may_return) return;
  recover("a health check succeeded");
}

void ServerHost::on_check_failed(const Error& error, bool is_silent) {
  is_silent_ = is_silent;
  ++failed_checks_;
  ++failures_ever_;
  last_error_ = error;
  if (may_connect()) {
    log::line(log::Level::warning,
              "server {}: health check {} of {} (failure_threshold) failed: {}", name_,
              failed_checks_, settings_.failure_threshold, error.message);
  }
  if (failed_checks_ >= settings_.failure_threshold && !is_gone_) {
    is_gone_ = true;
    if (may_connect()) return fail(error);
    return listener_.on_host_changed(*this, state_);
  }
  if (state_ != HostState::healthy) return;
  move_to(HostState::suspect);
  listener_.on_host_changed(*this, HostState::healthy);
}

void ServerHost::recover(std::string_view how) {
  const HostState before = state_;
  next_attempt_.disarm();
  is_attempt_on_ = false;
  is_gone_ = false;
  failed_checks_ = 0;
  move_to(HostState::healthy);
  if (before == HostState::suspect) {
    log::line(log::Level::log, "server {} is healthy: {}", name_, how);
  } else {
    log::line(log::Level::log, "server {} is healthy again after {:.1f} s: {}", name_,
              seconds_down(), how);
  }
  listener_.on_host_changed(*this, before);
}

void ServerHost::reset() {
  if (may_connect()) return;
  const HostState before = state_;
  next_attempt_.disarm();
  is_attempt_on_ = false;
  is_gone_ = false;
  failed_checks_ = 0;
  move_to(HostState::suspect);
  log::line(log::Level::log, "server {} may be connected to again: RECONNECT", name_);
  listener_.on_host_changed(*this, before);
}

double ServerHost::seconds_down() const {
  return seconds_of(loop_.now() - failed_at_);
}

std::string ServerHost::until() const {
  return settings_.failed_until == config::FailedUntil::health_check
             ? "until a health check succeeds, or RECONNECT (failed_until = health_check)"
             : "until RECONNECT (failed_until = reconnect)";
}

Error ServerHost::refusal() const {
  const std::string last = last_error_ ? last_error_->message : "";
  if (state_ == HostState::recovering) {
    return {.sqlstate = "57P03",
            .message = fmt::format("server {} cannot be reached: {}", name_, last),
            .detail = fmt::format("Attempt {} of {} follows within {} s.", attempts_ + 1,
                                  settings_.max_attempts, seconds_of(settings_.attempt_interval)),
            .hint = (last_error_ && !last_error_->hint.empty() ? last_error_->hint + " " : "") +
                    "Try again later; while_recovering = queue lets clients wait."};
  }
  return {
      .sqlstate = "08006",
      .message = fmt::format("server {} has failed: {}", name_, last),
      .detail = settings_.auto_recover
                    ? fmt::format("It could not be reached in {} attempts; it stays so {}.",
                                  attempts_, until())
                    : fmt::format("It is not tried again (auto_recover = 0), {}.", until()),
      .hint = settings_.auto_recover
                  ? fmt::format("Repair the server, then RECONNECT on the console; max_attempts "
                                "= {} would go on for longer.",
                                settings_.max_attempts * 2)
                  : "Repair the server, then RECONNECT on the console; auto_recover = 1 would "
                    "try again by itself."};
}

HostRow ServerHost::measure() const {
  return {.name = name_,
          .role = {},
          .may_connect = may_connect(),
          .failures = failures_ever_,
          .attempts = attempts_ever_,
          .check_latency = latency_};
}

HealthRow ServerHost::describe() const {
  HealthRow row{.kind = "server",
                .name = name_,
                .state = std::string(to_string(state_)),
                .reason = {},
                .hint = {},
                .since = since_};
  if (state_ == HostState::recovering) {
    row.state = fmt::format("recovering {} of {}", attempts_, settings_.max_attempts);
  }
  if (state_ != HostState::healthy) row.reason = last_error_ ? last_error_->message : "";
  const auto add = [&row](std::string text) {
    row.reason += (row.reason.empty() ? "" : "; ") + std::move(text);
  };
  if (latency_) {
    add(fmt::format("last health check {:.1f} ms", seconds_of(*latency_) * 1000));
  } else if (settings_.check_interval == Duration::zero()) {
    add("not checked (check_interval = 0)");
  }
  if (failed_checks_ > 0) add(fmt::format("{} health checks failed in a row", failed_checks_));
  if (failures_ever_ > 0) add(fmt::format("{} failures since the start", failures_ever_));
  if (attempts_ever_ > 0) add(fmt::format("{} attempts since the start", attempts_ever_));
  if (!may_connect()) row.hint = refusal().hint;
  return row;
}

}  // namespace pgproxy::pool
