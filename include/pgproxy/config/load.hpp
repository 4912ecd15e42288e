#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/config/settings.hpp"

namespace pgproxy::config {

/// One thing wrong with a configuration.
struct Problem {
  std::string file;
  int line = 0;  ///< 0: not about one line (a setting that is missing)
  std::string message;
  std::string hint = {};
};

/// Result of load(): settings that may be used only when `problems` is empty.
struct Loaded {
  Settings settings;
  std::vector<Problem> problems;  ///< all of them, by file and line
  std::vector<std::string> warnings;
  /// Table names of the settings that the file gives, sorted; for SHOW CONFIG.
  std::vector<std::string> given;
  struct Place {
    std::string file;
    int line = 0;  ///< 0: the file as a whole
  };
  /// Where each of them stands; "" is the main file.
  std::map<std::string, Place, std::less<>> places;
  /// Settings whose values are SET's; a reload forgets them.
  std::set<std::string, std::less<>> set_at_run_time;

  /// Adds what was found wrong with a setting when it was put to use, as with a certificate.
  void add_problem(std::string_view setting, std::string message, std::string hint);
};

/// Reads and checks a configuration file with its %include files and auth_file. Never throws;
/// blocks on file I/O. All problems are reported at once; nothing outside is touched.
Loaded load(const std::string& path);

/// The same for a text in memory (tests, fuzzing); %include and auth_file are relative to the
/// working directory, as in PgBouncer.
Loaded load_text(std::string_view text, const std::string& name);

/// "file:line: message" with the hint on a line of its own.
std::string format_problem(const Problem& problem);

/// One row of SHOW CONFIG; secrets hidden.
struct ConfigRow {
  std::string name;
  std::string value;
  std::string default_value;  ///< empty with must_be_given
  bool must_be_given = false;
  bool changeable = false;  ///< by RELOAD
  bool given = false;
  bool is_set = false;  ///< by SET, while running
  std::string reason;   ///< why the default is what it is
};
std::vector<ConfigRow> describe(const Loaded& loaded);

/// One setting of [pgproxy] that two configurations have differently; secrets hidden.
struct Change {
  std::string name;
  std::string from;
  std::string to;
  bool needs_restart = false;
};
/// What a reload would change, [databases], [users] and auth_file's contents aside.
std::vector<Change> compare(const Settings& running, const Settings& loaded);

/// pgproxy.ini.example and docs/settings.md, from the settings table.
std::string example_file();
std::string settings_document();

}  // namespace pgproxy::config
