#include "session/cycle_statistics.hpp"

#include <algorithm>
#include <charconv>

namespace pgproxy::session {
namespace {

std::uint64_t microseconds(Duration duration) {
  return static_cast<std::uint64_t>(std::max(duration, Duration::zero()).count());
}

}  // namespace

void CycleStatistics::note_command(std::string_view tag) {
  const std::string_view digits = tag.substr(tag.rfind(' ') + 1);
  std::uint64_t count = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), count);
  rows += count;
}

void CycleStatistics::count(Duration execution, bool is_slow) const {
  if (shape == nullptr) return;
  StatementCounts& counts = shape->counts;
  counts.errors += has_failed;
  counts.rows += rows;
  counts.bytes += bytes;
  counts.time += microseconds(execution);
  counts.max_time = std::max(counts.max_time, microseconds(execution));
  counts.wait_time += microseconds(wait);
  counts.slow_count += is_slow;
  counts.times.add(execution);
}

}  // namespace pgproxy::session
