#include "pgproxy/route/write_fences.hpp"

namespace pgproxy::route {

void WriteFences::answered(std::uint64_t number, const WalPosition& position) {
  if (!ring_.empty() && number <= at(ring_.size() - 1).number) return;
  if (ring_.size() < capacity) {
    ring_.push_back({number, position});
    return;
  }
  ring_[oldest_] = {number, position};
  oldest_ = (oldest_ + 1) % capacity;
}

std::optional<WalPosition> WriteFences::first_since(std::uint64_t number) const {
  std::size_t low = 0;
  std::size_t high = ring_.size();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (at(middle).number < number) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == ring_.size()) return std::nullopt;
  return at(low).position;
}

}  // namespace pgproxy::route
