#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_set>

#include "session/routing.hpp"

#include "pgproxy/pool/pool.hpp"
#include "pgproxy/sql/shapes.hpp"

namespace pgproxy::session {

/// What is known of what the clients of one pool do: the shapes of their statements, and how many
/// server connections they pin.
struct Workload {
  struct Counts {
    std::uint64_t pins = 0;
    std::uint64_t refusals = 0;
  };

  sql::Shapes shapes;
  /// Stands for the statements of a cycle with several different ones: what they cost together.
  sql::ShapeRef several = std::make_shared<sql::Shape>(sql::Shape{.text = "(several statements)"});
  std::uint32_t pinned_count = 0;
  /// Somebody asked for lastval or currval in a later transaction: who draws from a sequence keeps
  /// the server connection (on_sequence_state = learn).
  bool uses_sequence_state = false;
  std::array<Counts, sql::residue_count> counts{};  ///< by sql::Residue
  std::unique_ptr<Routing> routing;                 ///< nullptr: the entry's servers are alike
  std::unordered_set<std::uint64_t> logged;         ///< shapes whose pin or refusal was logged

  Counts& counts_of(sql::Residue reason) { return counts[static_cast<std::size_t>(reason)]; }
  /// Logs the first pin or refusal of each shape, with advice.
  void log_once(const pool::Pool& pool, std::uint64_t fingerprint, sql::Residue reason,
                std::string_view what_happened);
};

}  // namespace pgproxy::session
