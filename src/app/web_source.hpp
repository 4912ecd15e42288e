#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "pgproxy/net/loop.hpp"
#include "pgproxy/web/server.hpp"

namespace pgproxy::app {

/// Has the loop answer what the threads of the HTTP server ask.
class WebSource final : public web::Source {
 public:
  /// What the loop is asked for, on its thread.
  struct Makers {
    std::function<metrics::Status()> status;
    std::function<std::vector<config::ConfigRow>()> config;
    std::function<std::vector<SlowQueryRow>()> slow_queries;
    std::function<std::vector<ErrorRow>()> errors;
  };
  WebSource(net::UvLoop& loop, Makers makers) : loop_(loop), makers_(std::move(makers)) {}

  std::shared_ptr<const metrics::Status> status() override;
  std::vector<config::ConfigRow> config() override;
  std::optional<std::vector<SlowQueryRow>> slow_queries() override;
  std::optional<std::vector<ErrorRow>> errors() override;

 private:
  net::UvLoop& loop_;
  const Makers makers_;
};

}  // namespace pgproxy::app
