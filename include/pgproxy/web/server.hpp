#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pgproxy/base/result.hpp"
#include "pgproxy/config/load.hpp"
#include "pgproxy/metrics/status.hpp"

struct mg_context;
struct mg_connection;

namespace pgproxy::web {

/// Where the endpoints get what they show. Called on the server's own threads.
class Source {
 public:
  /// nullptr: the loop did not answer in time.
  virtual std::shared_ptr<const metrics::Status> status() = 0;
  /// SHOW CONFIG; empty: likewise.
  virtual std::vector<config::ConfigRow> config() = 0;
  /// SHOW SLOW_QUERIES; nullopt: likewise.
  virtual std::optional<std::vector<SlowQueryRow>> slow_queries() = 0;
  /// SHOW ERRORS; nullopt: likewise.
  virtual std::optional<std::vector<ErrorRow>> errors() = 0;

 protected:
  ~Source() = default;
};

struct Options {
  std::string listen;  ///< "127.0.0.1:9127", "[::1]:9127"
  std::string token;   ///< that requests have to bear (RFC 6750); empty: none
};

/// The HTTP endpoints: the status page at /, /status, /metrics, /pool-stats, /slow-queries,
/// /capacity, /config, /health, /ready.
/// Has threads of its own, a fixed number of them; a request of more than 16 KiB, or one that takes
/// longer than two seconds, is refused.
class Server {
 public:
  /// The error names http_listen. `source` outlives the object.
  static Result<std::unique_ptr<Server>> start(Options options, Source& source);
  /// Waits for the requests at hand; two seconds in any case, which is how often civetweb looks.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  Server(Options options, Source& source);
  static int on_request(mg_connection* connection) noexcept;
  void answer(mg_connection& connection) const;

  const Options options_;
  Source& source_;
  mg_context* context_ = nullptr;
};

}  // namespace pgproxy::web
