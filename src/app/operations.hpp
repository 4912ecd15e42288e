#pragma once

#include <functional>
#include <list>
#include <string>
#include <vector>

#include "app/reload.hpp"
#include "app/shutdown.hpp"

#include "pgproxy/base/commands.hpp"
#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/pool/pools.hpp"
#include "pgproxy/session/sessions.hpp"

namespace pgproxy::app {

/// What operators have done to the pools and the clients, by the console and by signals. Each
/// command is a line in the log; what one waits for is told to whoever gave it, logged, and in SHOW
/// HEALTH. On the loop's thread.
class Operations final : public CommandTarget, private TimeoutListener {
 public:
  struct Parts {
    io::Loop& loop;
    const config::Settings& settings;
    pool::Pools& pools;
    session::Sessions& sessions;
    Shutdown& shutdown;
    Reload& reload;
    /// All server connections, with who holds them.
    std::function<std::vector<ConnectionRow>()> servers;
  };
  /// All of them outlive the object.
  explicit Operations(Parts parts);

  void run(const Command& command, CommandListener& listener) override;
  void cancel(CommandListener& listener) override;
  /// SIGUSR1, SIGUSR2 and SIGHUP: an error goes to the log.
  void run_for_signal(CommandKind kind, std::string_view signal);
  /// What waits, and what is paused.
  void describe_health(std::vector<HealthRow>& rows) const;

 private:
  struct Waiting {
    Command command;
    pool::DatabaseEntry* database = nullptr;  ///< nullptr: all
    TimePoint since{};
    WallTime wall_since{};
    TimePoint last_word{};
    IntrusiveList<CommandListener> listener;  ///< none when it has left
  };

  void on_timeout(Timeout& timeout) override;
  /// nullopt: the answer comes later.
  std::optional<Result<std::string_view>> start(const Command& command, CommandListener* listener);
  std::optional<Result<std::string_view>> wait(const Command& command,
                                               pool::DatabaseEntry* database,
                                               CommandListener* listener);
  std::optional<Error> carry_out(const Command& command, pool::DatabaseEntry* database);
  void configure(const Command& command, CommandListener* listener);
  std::optional<Error> pause(pool::DatabaseEntry* database);
  std::optional<Error> resume(pool::DatabaseEntry* database);
  std::optional<Error> suspend();
  std::optional<Error> kill(pool::DatabaseEntry* database);
  std::optional<Error> kill_client(std::uint64_t id);
  std::optional<Error> shut_down(const Command& command);
  Result<pool::DatabaseEntry*> find(const Command& command);

  bool is_undone(const Waiting& waiting) const;
  bool is_done(const Waiting& waiting) const;
  std::string obstacles(const Waiting& waiting) const;
  void say(Waiting& waiting);
  void poll();
  static void finish(Waiting& waiting, const Result<std::string_view>& tag);

  Parts parts_;
  std::list<Waiting> waiting_;
  WallTime paused_since_{};  ///< all, or suspended
  Timeout poll_timer_;
};

}  // namespace pgproxy::app
