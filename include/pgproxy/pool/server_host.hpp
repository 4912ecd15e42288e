#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "pgproxy/base/result.hpp"
#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/io/loop.hpp"
#include "pgproxy/pool/server_limits.hpp"

namespace pgproxy::pool {

class ServerHost;

//  healthy <-> suspect -> recovering -> failed;  healthy -> recovering
//  healthy, suspect -> failed (auto_recover = 0);  recovering, failed -> healthy, suspect
enum class HostState : std::uint8_t {
  healthy,
  suspect,     ///< a connection or a health check was lost: the next login or check tells
  recovering,  ///< attempts at a fixed interval; nobody else connects
  failed,      ///< given up, until what failed_until says
};
std::string_view to_string(HostState state);

/// What a server is in its cluster, as it was told last (Pools::set_role).
enum class ServerRole : std::uint8_t {
  unknown,
  primary,
  standby,
  replaced,  ///< it takes writes still, but another was promoted: nobody may write to it
};
std::string_view to_string(ServerRole role);

/// What the end of a login or of a connection says.
enum class FailureKind : std::uint8_t {
  unreachable,  ///< nobody answers, or whoever does takes no connections: no pool can use the host
  full,         ///< it has no slot for us now (53xxx); it works
  refusal,      ///< it does not want this user, database or setting; it works
};
FailureKind failure_kind(const Error& error);
/// The same, finer, for metrics; one of: refused (nobody listens), name (the host's is not known),
/// network (any other way in which connecting failed), timeout, tls, authentication, full (53xxx),
/// unavailable (it starts or shuts down), closed (while it logged us in), protocol, settings (it
/// does not take what the entry wants of each connection), other.
std::string_view failure_reason(const Error& error);

/// Told by a ServerHost; the call is the last thing that it does.
class HostListener {
 public:
  virtual void on_host_changed(ServerHost& host, HostState before) = 0;
  /// A login is to be tried, whose end comes back as on_attempt_done. False: nobody can just now.
  virtual bool start_attempt(ServerHost& host) = 0;

 protected:
  ~HostListener() = default;
};

/// What is known of one server, host and port, for all pools of the loop: the only place where it
/// is decided whether it may be connected to. It follows [recovery] and [health].
class ServerHost final : private TimeoutListener {
 public:
  ServerHost(io::Loop& loop, const config::Settings& settings, HostListener& listener,
             io::ServerAddress address);

  const io::ServerAddress& address() const { return address_; }
  const std::string& name() const { return name_; }
  HostState state() const { return state_; }
  /// Connections may be opened, apart from the attempts.
  bool may_connect() const { return state_ == HostState::healthy || state_ == HostState::suspect; }
  /// Of a server that nobody has given a role: `unknown`.
  ServerRole role() const { return role_; }
  /// False: it is as it was.
  bool set_role(ServerRole role, std::uint32_t timeline) {
    timeline_ = std::max(timeline_, timeline);
    return std::exchange(role_, role) != role;
  }
  /// The latest one that it was known to be on.
  std::uint32_t timeline() const { return timeline_; }
  /// failure_threshold health checks in a row have failed.
  bool is_gone() const { return is_gone_; }
  /// And nobody so much as refused the last one: what is busy may be so for ever.
  bool is_silent() const { return is_gone_ && is_silent_; }
  std::uint32_t failed_checks() const { return failed_checks_; }
  /// For a client that cannot be served because of this host; only while !may_connect().
  Error refusal() const;
  HealthRow describe() const;
  /// But for what its connections tell.
  HostRow measure() const;
  /// How many connections to it there may be.
  ServerLimits& limits() { return limits_; }
  const ServerLimits& limits() const { return limits_; }

  // Connections.
  void on_login_done();
  /// A login failed that was no attempt of the recovery.
  void on_login_failed(const Error& error);
  void on_attempt_done(const Error* error);
  void on_connection_lost(const Error& error);

  // Health checks.
  void on_check_passed(Duration latency);
  /// `is_silent`: nobody answered in time.
  void on_check_failed(const Error& error, bool is_silent);

  /// RECONNECT: whatever it was, it may be connected to now.
  void reset();

 private:
  void on_timeout(Timeout& timeout) override;
  void move_to(HostState next);
  void on_reached();
  void fail(const Error& error);
  void wait_for_attempt();
  void recover(std::string_view how);
  std::string until() const;
  double seconds_down() const;

  io::Loop& loop_;
  const config::Settings& settings_;
  HostListener& listener_;
  const io::ServerAddress address_;
  const std::string name_;
  ServerLimits limits_;
  HostState state_ = HostState::healthy;
  ServerRole role_ = ServerRole::unknown;
  std::uint32_t timeline_ = 0;
  WallTime since_;
  TimePoint failed_at_{};
  std::optional<Error> last_error_;
  std::optional<Duration> latency_;  ///< of the last health check that succeeded
  std::uint32_t attempts_ = 0;       ///< made in the recovery at hand
  std::uint32_t failed_checks_ = 0;  ///< in a row
  std::uint64_t attempts_ever_ = 0;
  std::uint64_t failures_ever_ = 0;
  bool is_gone_ = false;
  bool is_silent_ = false;
  bool is_attempt_on_ = false;
  Timeout next_attempt_;
};

}  // namespace pgproxy::pool
