#include "pgproxy/base/commands.hpp"

#include <utility>

namespace pgproxy {

std::string_view to_string(CommandKind kind) {
  using enum CommandKind;
  switch (kind) {
    case pause: return "PAUSE";
    case resume: return "RESUME";
    case suspend: return "SUSPEND";
    case kill: return "KILL";
    case kill_client: return "KILL_CLIENT";
    case reconnect: return "RECONNECT";
    case disable: return "DISABLE";
    case enable: return "ENABLE";
    case wait_close: return "WAIT_CLOSE";
    case shutdown: return "SHUTDOWN";
    case reload: return "RELOAD";
    case set: return "SET";
  }
  std::unreachable();
}

std::string Command::text() const {
  std::string text(to_string(kind));
  if (kind == CommandKind::kill_client) return text + " " + std::to_string(client_id);
  if (kind == CommandKind::set) return text + " " + setting;
  if (!database.empty()) return text + " " + database;
  if (kind != CommandKind::shutdown) return text;
  switch (shutdown) {
    case ShutdownMode::immediate: return text;
    case ShutdownMode::wait_for_servers: return text + " WAIT_FOR_SERVERS";
    case ShutdownMode::wait_for_clients: return text + " WAIT_FOR_CLIENTS";
  }
  std::unreachable();
}

}  // namespace pgproxy
