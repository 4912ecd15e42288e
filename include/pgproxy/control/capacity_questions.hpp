#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "pgproxy/config/capacity.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/control/connection.hpp"

namespace pgproxy::control {

/// Asks each server of a plan how many connections it has, for whom, and how many others hold: as
/// control_user in control_dbname, who needs pg_monitor. One statement and one connection for each
/// server, closed after the answer unless the next question comes soon. On the loop's thread; never
/// blocks.
class CapacityQuestions final : public io::Disposable {
 public:
  using Done = std::function<void(std::vector<config::ServerFacts>)>;

  /// `settings` outlives the object and has a control_user; `plan` is copied from.
  CapacityQuestions(Services services, const config::Settings& settings,
                    const config::CapacityPlan& plan);
  ~CapacityQuestions() override;

  /// Asks all servers at once. `done` hears, once, perhaps from within the call, what each of them
  /// said, in the plan's order; what could not be asked within server_connect_timeout has an error
  /// with a hint. Asked again before that, the same answers go to both. `done` may ask again, and
  /// must not destroy the object.
  void ask(Done done);
  bool is_asking() const { return !waiting_.empty(); }

 private:
  struct Server;

  void finish(std::size_t index, const Answer& answer);

  const config::Settings& settings_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<config::ServerFacts> facts_;  ///< of the round that is on
  std::size_t pending_count_ = 0;
  std::vector<Done> waiting_;
};

}  // namespace pgproxy::control
