#pragma once

#include <filesystem>
#include <fstream>
#include <stdlib.h>  // mkdtemp
#include <string>
#include <string_view>

#include "pgproxy/config/load.hpp"

namespace pgproxy::config {

/// The settings that must be given, with nothing to complain about.
inline constexpr std::string_view kRequired = R"(
pool_mode = transaction
default_pool_size = 20
max_client_conn = 100
query_wait_timeout = 50
query_timeout = 0
idle_transaction_timeout = 60
server_connect_timeout = 15
server_tls_sslmode = disable
on_residue = pin
auth_type = any
)";

/// More of them, behind everything else: tests count lines.
inline constexpr std::string_view kRequiredToo = R"(
[pgproxy]
max_pinned_fraction = 0.5
on_exhausted = queue
leak_warning = 10
[capacity]
check = off
coordination = none
instances = 1
safety_margin = 0.8
target_utilization = 0.7
capacity_check_interval = 0
on_overcommit = refuse_new
verify_acquire = 0
expected_rps = 1
mean_transaction_ms = 1
[recovery]
auto_recover = 1
max_attempts = 40
attempt_interval = 15
while_recovering = queue
failed_until = health_check
rerun_on = none
[health]
check_interval = 5
check_timeout = 3
failure_threshold = 3
health_query = SELECT 1
)";

/// [pgproxy] with what must be given and `more`, which begins at line 12; then one database.
inline Loaded load_with(std::string_view more) {
  return load_text("[pgproxy]" + std::string(kRequired) + std::string(more) +
                       "\n[databases]\nlast_database = user=app\n" + std::string(kRequiredToo),
                   "test.ini");
}

/// The settings that must be given, with `line` for the one that has another value.
inline Loaded load_instead(std::string_view name, std::string_view line) {
  std::string text = "[pgproxy]" + std::string(kRequired) +
                     "\n[databases]\nlast_database = user=app\n" + std::string(kRequiredToo);
  const std::size_t at = text.find("\n" + std::string(name) + " = ") + 1;
  text.replace(at, text.find('\n', at) - at, line);
  return load_text(text, "test.ini");
}

/// All problems, one per line, as format_problem shows them.
inline std::string problems_of(const Loaded& loaded) {
  std::string text;
  for (const Problem& problem : loaded.problems) text += format_problem(problem) + "\n";
  return text;
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// All warnings but the two that kRequiredToo is worth by itself: no server is asked.
inline std::string warnings_of(const Loaded& loaded) {
  std::string text;
  for (const std::string& warning : loaded.warnings) {
    if (contains(warning, ": check = off: ") || contains(warning, ": verify_acquire = 0: "))
      continue;
    text += warning + "\n";
  }
  return text;
}

/// A directory of its own that goes away with the object.
class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "pgproxy-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempDirectory() { std::filesystem::remove_all(path_); }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  /// Writes a file and returns its path.
  std::string write(const std::string& name, std::string_view text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }
  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace pgproxy::config
