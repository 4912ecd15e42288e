#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "pgproxy/base/intrusive_list.hpp"
#include "pgproxy/base/result.hpp"

// What an operator has the program do: given by the console or a signal, carried out by app.
namespace pgproxy {

enum class CommandKind : std::uint8_t {
  pause,
  resume,
  suspend,
  kill,
  kill_client,
  reconnect,
  disable,
  enable,
  wait_close,
  shutdown,
  reload,
  set,
};
/// "PAUSE", as the answer's tag has it.
std::string_view to_string(CommandKind kind);

enum class ShutdownMode : std::uint8_t {
  immediate,
  wait_for_servers,  ///< until each client's transaction has ended
  wait_for_clients,  ///< until the last client has left by itself
};

/// One command, taken apart.
struct Command {
  CommandKind kind = CommandKind::pause;
  std::string database = {};    ///< empty: all of them
  std::uint64_t client_id = 0;  ///< of KILL_CLIENT
  ShutdownMode shutdown = ShutdownMode::immediate;
  std::string setting = {};  ///< of SET, and its value
  std::string value = {};
  std::string asked_by = {};  ///< for the log: "C-0x5 admin@127.0.0.1:5000", "SIGUSR1"

  /// As it is typed: "PAUSE shop"; of SET without the value, which may be secret.
  std::string text() const;
};

/// Whoever gave a command. Hears nothing any more once it is destroyed; the command goes on.
class CommandListener : public ListHook<CommandListener> {
 public:
  /// What a command that takes long is waiting for.
  virtual void on_command_notice(std::string_view text) = 0;
  /// The end, heard once: the answer's tag, or why it was not done. The last call.
  virtual void on_command_done(const Result<std::string_view>& tag) = 0;

 protected:
  ~CommandListener() = default;
};

/// Carries commands out. On the loop's thread.
class CommandTarget {
 public:
  /// `listener` hears how it ended: during the call, or later for PAUSE, SUSPEND, WAIT_CLOSE,
  /// RELOAD and SET.
  virtual void run(const Command& command, CommandListener& listener) = 0;
  /// Whoever waits does not want to any longer: PAUSE and SUSPEND are undone, as by RESUME.
  virtual void cancel(CommandListener& listener) = 0;

 protected:
  ~CommandTarget() = default;
};

}  // namespace pgproxy
