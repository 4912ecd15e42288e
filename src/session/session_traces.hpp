#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pgproxy/base/time.hpp"
#include "pgproxy/pool/session_state.hpp"
#include "pgproxy/sql/shapes.hpp"

namespace pgproxy::session {

/// What a client may have left in the session of the server that it holds; there while anything
/// may be left.
struct SessionTraces {
  /// Since the server was last asked.
  sql::ResidueSet pending;
  /// Names of settings that the client may have changed.
  std::vector<std::string> settings;
  /// Startup settings to be given again behind a RESET; "all": each of them.
  std::vector<std::string> resets;
  std::uint32_t resets_from = 0;  ///< number of the first message of their cycle
  /// What the client was told of reported settings before they are given again.
  pool::StateRef before_restore;
  /// What ran code that is not known to be clean.
  std::vector<sql::ShapeRef> code;
  /// `SET name = constant`, alone in its cycle: no question is needed when it succeeds.
  std::optional<sql::SetConstant> constant;
  std::uint32_t constant_number = 0;  ///< of its Query

  sql::ResidueSet pinned_by;
  WallTime pinned_since{};
  std::uint64_t pinned_shape = 0;      ///< fingerprint of the statement that brought the pin
  std::uint64_t pending_shape = 0;     ///< likewise of the last one that may have left something
  bool is_undone = false;              ///< an error or ROLLBACK: no proof that code is clean
  bool code_names_settings = false;    ///< it may set them to what they are: no proof either
  std::uint8_t round_count = 0;        ///< of the question, for what functions call
  std::vector<std::string> functions;  ///< that ran, or may have been called by those that ran

  /// The server is still to be asked.
  bool is_asked_about() const {
    return !pending.empty() && !pinned_by.contains(sql::Residue::hidden);
  }
  /// Nothing but code that is not known to be clean: what it did, if anything, nobody asked for.
  bool is_code_only() const {
    return (pending - sql::ResidueSet{sql::Residue::code}).empty() && pinned_by.empty() &&
           settings.empty() && resets.empty() && !constant && !code_names_settings;
  }
  bool is_empty() const {
    return pending.empty() && resets.empty() && !constant && pinned_by.empty();
  }
};

}  // namespace pgproxy::session
