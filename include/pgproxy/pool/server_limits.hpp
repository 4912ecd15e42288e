#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "pgproxy/base/time.hpp"
#include "pgproxy/pool/capacity.hpp"

namespace pgproxy::pool {

/// What a server has for this instance, of which the pools know nothing by themselves.
struct GivenLimit {
  std::uint32_t connections = 0;  ///< that may be open; 0: none
  std::uint32_t planned = 0;      ///< of these, what the configuration plans for
  /// How to have more of them: "Raise max_connections to 120 at the server". Without a full stop:
  /// it becomes a part of a HINT.
  std::string hint = {};
};
/// What is missing has no limit.
struct GivenLimits {
  std::optional<GivenLimit> connections = {};
  std::map<std::string, GivenLimit> roles = {};
  std::map<std::string, GivenLimit> databases = {};  ///< by their names on the server
};

/// One limit on our connections to a server: on all, on those of a role or to a database.
struct ServerLimit {
  std::string name;       ///< "server 10.0.0.1:5432", "role app at 10.0.0.1:5432"
  std::string statement;  ///< that raises it at the server: "max_connections", "ALTER ROLE …"
  /// Guarded by the CapacityLock; what is below belongs to the loop.
  Budget budget = {};
  std::uint32_t planned = 0;
  std::string given_hint = {};
  /// A time in which it keeps pools from connecting, or more is open than it allows.
  struct Bite {
    TimePoint since{};
    TimePoint last_seen{};
    WallTime wall_since{};
    std::string what;  ///< as logged
  };
  std::optional<Bite> bite = {};

  /// What to change for `more` connections: max_host_connections where that is what limits, and
  /// the server has more; else what was given with the limit. Without a full stop.
  std::string hint(std::uint32_t more) const;
};

/// The limits of one server; each is made when it is asked for, and stays. Used on the loop's
/// thread; whoever looks into budgets, or calls set(), holds the CapacityLock.
class ServerLimits {
 public:
  /// `server`: host and port. `max_host_connections`: 0 is none.
  ServerLimits(std::string_view server, std::uint32_t max_host_connections);

  ServerLimit& host() { return host_; }
  const ServerLimit& host() const { return host_; }
  ServerLimit& role(const std::string& name);
  ServerLimit& database(const std::string& name);
  /// Replaces all that was given before.
  void set(const GivenLimits& given);
  /// Calls `visit` with each limit; it may not ask for ones that are new.
  void for_each(const std::function<void(ServerLimit&)>& visit);

 private:
  static void assign(ServerLimit& limit, const GivenLimit* given);

  const std::string server_;
  ServerLimit host_;
  std::map<std::string, ServerLimit> roles_;
  std::map<std::string, ServerLimit> databases_;
};

}  // namespace pgproxy::pool
