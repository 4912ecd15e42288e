#pragma once

#include <string_view>

#include "pgproxy/base/commands.hpp"

namespace pgproxy::admin {

/// The commands of the console that change something: PAUSE, RESUME, SUSPEND, KILL, KILL_CLIENT,
/// RECONNECT, DISABLE, ENABLE, WAIT_CLOSE, SHUTDOWN; in PgBouncer's words. On the loop's thread.
class Commands {
 public:
  /// `target` outlives the object.
  explicit Commands(CommandTarget& target) : target_(target) {}

  /// Takes `text` apart and has it carried out; `listener` hears how it ended, during the call or
  /// later. Without `is_admin` that is 42501. False: `text` begins with none of these commands.
  bool execute(std::string_view text, bool is_admin, std::string_view asked_by,
               CommandListener& listener) const;
  /// ^C of whoever waits.
  void cancel(CommandListener& listener) const { target_.cancel(listener); }

 private:
  CommandTarget& target_;
};

}  // namespace pgproxy::admin
