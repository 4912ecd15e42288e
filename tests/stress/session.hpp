#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace stress {

using Random = std::mt19937_64;

inline std::uint64_t below(Random& random, std::uint64_t limit) {
  return random() % limit;
}

/// Settings that clients change, as current_setting tells them.
struct Settings {
  std::string work_mem = "4MB";
  std::string statement_timeout = "0";
  std::string tenant;  ///< app.tenant; "": not set

  std::string& operator[](std::size_t index) {
    return index == 0 ? work_mem : index == 1 ? statement_timeout : tenant;
  }
};
inline constexpr std::array<const char*, 3> setting_names{"work_mem", "statement_timeout",
                                                          "app.tenant"};

/// A prepared statement: the client that prepared it shows in each of its rows, by its text or by
/// the setting that it reads.
struct Prepared {
  std::uint64_t sequence = 0;  ///< 0: the text that all clients share
  bool is_from_sql = false;
};

/// What one client has in its session, as PostgreSQL would have it: what every reply is held
/// against.
struct Session {
  std::uint32_t owner = 0;
  std::uint32_t login = 0;  ///< how often the client has logged in
  std::uint32_t pid = 0;    ///< of its BackendKeyData
  Settings startup;
  Settings settings;
  std::string role;  ///< "": none
  std::map<std::string, Prepared> statements;
  // What keeps a server connection.
  std::optional<std::uint64_t> table;   ///< the sequence number in its row
  std::optional<std::uint64_t> cursor;  ///< the sequence number in its rows
  std::uint32_t fetched = 0;            ///< rows of the cursor
  bool has_lock = false;
  bool listens = false;
  bool names_in_sql = false;      ///< the protocol prepared SQL that names statements
  std::uint32_t residue_age = 0;  ///< operations since it has any of these

  /// A new connection, with startup settings by chance.
  static Session logged_in(Random& random, std::uint32_t owner, std::uint32_t login);
  std::vector<std::string> startup_parameters() const;
  std::string application_name() const { return "client " + std::to_string(owner); }
  std::string channel() const {
    return "channel_" + std::to_string(owner) + "_" + std::to_string(login);
  }
  /// The server connection is its own for certain: nothing may be refused.
  bool is_pinned() const;
  bool has_residue() const { return is_pinned() || names_in_sql; }
  void discard_all();
};

}  // namespace stress
