#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pgproxy/base/commands.hpp"

namespace pgproxy::session {

/// What a user of the console may do: look (stats_users), or change things too (admin_users).
enum class ConsoleAccess : std::uint8_t { stats, admin };

/// The console as a session sees it: one more target that can be asked.
class ConsoleTarget {
 public:
  /// Appends the whole answer to one Query, ReadyForQuery included.
  virtual void execute(std::string_view text, ConsoleAccess access, std::string& out) = 0;
  /// Appends what Describe answers: RowDescription, NoData, or ErrorResponse. Runs nothing.
  virtual void describe(std::string_view text, ConsoleAccess access, std::string& out) = 0;
  /// If `text` is a command that changes something: it is carried out, and `listener` hears how it
  /// ended, during the call or later. False: it is none, and execute() answers it.
  virtual bool command(std::string_view text, ConsoleAccess access, std::string_view asked_by,
                       CommandListener& listener) = 0;
  /// Whoever waits for `listener`'s command has had enough.
  virtual void cancel_command(CommandListener& listener) = 0;
  /// ParameterStatus of the console's login.
  virtual std::vector<std::pair<std::string, std::string>> parameters() const = 0;

 protected:
  ~ConsoleTarget() = default;
};

}  // namespace pgproxy::session
