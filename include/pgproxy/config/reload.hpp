#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/config/load.hpp"

namespace pgproxy::config {

/// A configuration that is to take the place of a running one.
struct Reload {
  Loaded next;                  ///< what needs a restart is as it runs
  std::vector<Change> changes;  ///< of settings, those that need a restart included
  /// Of [databases], [users], auth_file and the like, a line each: `database "shop": pool_size 20
  /// -> 30`.
  std::vector<std::string> entries;

  /// All of it, a line each; secrets hidden.
  std::vector<std::string> lines() const;
};
/// `loaded` has no problems.
Reload plan_reload(const Loaded& running, Loaded loaded);

/// What SET makes of a running configuration: problems are those of the value, or of what it does
/// to others. Reads auth_file and the like again where the value names them.
Loaded with_setting(const Loaded& running, std::string_view name, std::string_view value);

/// Server connections of an entry that was made with `before` do not fit `after`.
bool needs_new_connections(const Database& before, const Database& after);

}  // namespace pgproxy::config
