#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/control/connection.hpp"
#include "pgproxy/io/transport.hpp"
#include "pgproxy/route/cluster.hpp"

namespace pgproxy::control {

/// Asks primaries what functions, tables, views and policies their databases have: as control_user
/// in the database itself, every catalog_interval, and soon after a client has changed some. One
/// database is asked after the other, on a connection that is closed behind the answer, which is
/// read on another thread. What cannot be asked is not known, and logged once with its reason. On
/// the loop's thread; never blocks.
class CatalogQuestions final : private TimeoutListener {
 public:
  /// `settings` outlives the object.
  CatalogQuestions(Services services, const config::Settings& settings);
  ~CatalogQuestions();

  /// `cluster`, which outlives the object, is told what its primary says of the database, now and
  /// again and again; `servers` are those of its view.
  void ask(route::Cluster& cluster, const std::vector<io::ServerAddress>& servers,
           const std::string& dbname);
  /// A cluster has a primary: what could not be asked for want of one is.
  void on_primary();
  /// No database is asked any more until it is wanted again.
  void clear();
  void describe_health(std::vector<HealthRow>& rows) const;

 private:
  struct Known;
  struct Round;
  class Reading;

  void on_timeout(Timeout& timeout) override;
  void ask_next();
  Known* next_due();
  void start(Known& known, std::size_t primary);
  void on_functions(const Answer& answer);
  void on_relations(const Answer& answer);
  void finish(const route::CatalogRef& catalog);
  void fail(const Error& error);
  void end_round();

  Services services_;
  const config::Settings& settings_;
  std::vector<std::unique_ptr<Known>> known_;
  std::unique_ptr<Round> round_;  ///< the question that is on
  Timeout timer_;
  Timeout pause_;
};

}  // namespace pgproxy::control
