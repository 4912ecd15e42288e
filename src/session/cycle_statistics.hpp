#pragma once

#include <cstdint>
#include <string_view>

#include "pgproxy/base/time.hpp"
#include "pgproxy/sql/shapes.hpp"

namespace pgproxy::session {

/// What is measured of the cycle at hand: one Query, or what goes up to a Sync.
struct CycleStatistics {
  sql::ShapeRef shape;  ///< of its statement; nullptr: none was seen
  Duration wait{};      ///< for a server connection
  Duration connect{};   ///< as much of that as the server took to log in
  Duration client{};    ///< rows were there that the client did not take
  TimePoint paused_at{};
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  bool is_first = false;  ///< on this server: settings may have been replayed before it
  bool has_failed = false;

  /// A statement of this shape is about to run; `several` counts what different ones cost together.
  void note_statement(const sql::ShapeRef& next, const sql::ShapeRef& several) {
    ++next->counts.calls;
    if (shape == next) return;
    shape = shape == nullptr ? next : several;
  }
  /// The tag of a CommandComplete: "INSERT 0 5", "SELECT 5"; other commands have no count.
  void note_command(std::string_view tag);
  /// Adds the cycle to what is counted for its shape.
  void count(Duration execution, bool is_slow) const;
};

}  // namespace pgproxy::session
