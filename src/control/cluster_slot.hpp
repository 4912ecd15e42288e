#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/published_plan.hpp"

#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/control/connection.hpp"
#include "pgproxy/control/coordination.hpp"

namespace pgproxy::control {

/// One of the hosts of a cluster, and what this instance plans for it.
struct SlotHost {
  std::string host;
  std::uint16_t port = 0;
  PublishedPlan plan;
  std::string name() const;
};

/// By commas.
std::string name_of_list(const std::vector<SlotHost>& hosts);

/// This instance's slot at the primary of one list of hosts (see Coordination).
class ClusterSlot final : private TimeoutListener {
 public:
  /// What it needs of Coordination.
  struct Owner {
    std::function<void()> on_change;
    /// The name of another list whose slot that backend's connection is for; empty: none.
    std::function<std::string(const ClusterSlot& asker, std::int32_t backend_pid)> find_own;
  };

  /// `hosts` is not empty.
  ClusterSlot(Services services, const config::Settings& settings, std::vector<SlotHost> hosts,
              Owner owner);
  ~ClusterSlot();

  /// Whether a list of hosts is the one that it is for: it is the same, or the primary at which it
  /// is held is among them.
  bool is_for(const std::vector<SlotHost>& hosts) const;
  /// Such a list, perhaps with other plans, which the others hear of with the next question.
  void replan(std::vector<SlotHost> hosts);
  /// Once. `done` hears how the first attempt ended.
  void acquire(std::function<void(Result<void>)> done);
  bool is_refused() const { return state_ == State::refused; }
  bool is_backend(std::int32_t pid) const { return connection_ != nullptr && backend_pid_ == pid; }
  std::string name() const;
  HealthRow describe_health() const;
  const CoordinationCounts& counts() const { return counts_; }

 private:
  //  acquiring -> held <-> lost, refused;   lost <-> refused
  enum class State : std::uint8_t { acquiring, held, lost, refused };
  static std::string_view name_of(State state);

  void on_timeout(Timeout& timeout) override;

  void begin_attempt();
  void try_next_host();
  void connect_to(std::size_t host);
  void on_introduced(const Answer& answer);
  void take();
  void on_taken(const Answer& answer);
  void ask_for_holders();
  void on_holders(const Answer& answer);
  std::optional<Error> find_refusal(const Holders& holders) const;
  std::optional<Error> find_loss(const Holders& holders) const;

  void succeed(const Holders& holders);
  void fail(State state, Error error);
  void fail_without_primary();
  void lose(Error error);
  void enter(State state);
  void report(const Result<void>& result);
  void drop_connection();
  const SlotHost& host() const { return hosts_[at_]; }
  static std::size_t place_of(const SlotHost& host, const std::vector<SlotHost>& hosts);
  PublishedPlan plan() const;
  Error explain(const Error& error) const;

  Services services_;
  const config::Settings& settings_;
  std::vector<SlotHost> hosts_;
  const Owner owner_;
  std::function<void(Result<void>)> done_;

  State state_ = State::acquiring;
  WallTime since_{};
  TimePoint without_since_{};  ///< the slot is not held
  std::string reason_;
  std::string hint_;
  std::uint64_t attempts_ = 0;  ///< likewise
  CoordinationCounts counts_;

  std::size_t at_ = 0;  ///< the host that is connected to
  std::size_t next_ = 0;
  std::vector<Error> failures_;               ///< of this attempt, by host
  std::optional<std::size_t> first_standby_;  ///< met in this attempt
  bool takes_standby_ = false;                ///< there is no primary in the list
  std::unique_ptr<Connection> connection_;
  std::int32_t backend_pid_ = 0;
  std::uint32_t slot_ = 0;  ///< 0: none
  Timeout timer_;           ///< for the next question while it is held, else for the next attempt
};

}  // namespace pgproxy::control
