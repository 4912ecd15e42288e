#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "pgproxy/base/time.hpp"

namespace pgproxy {

/// How many durations lie below each of fixed bounds. One writer, no allocation: cheap enough for
/// each transaction.
class Histogram {
 public:
  /// Upper bounds, included, in microseconds; longer ones are counted behind the last.
  static constexpr std::array<std::uint32_t, 17> bounds_us = {
      100,     250,     500,     1'000,     2'500,     5'000,     10'000,     25'000,    50'000,
      100'000, 250'000, 500'000, 1'000'000, 2'500'000, 5'000'000, 10'000'000, 60'000'000};

  void add(Duration duration) {
    const auto* bound = std::ranges::lower_bound(bounds_us, duration.count());
    ++counts_[static_cast<std::size_t>(bound - bounds_us.data())];
  }
  /// Of durations up to each bound, and at the end of longer ones; not cumulative.
  const std::array<std::uint64_t, bounds_us.size() + 1>& counts() const { return counts_; }
  Histogram& operator+=(const Histogram& other) {
    std::ranges::transform(counts_, other.counts_, counts_.begin(), std::plus<>());
    return *this;
  }

 private:
  std::array<std::uint64_t, bounds_us.size() + 1> counts_{};
};

/// Durations with their sum.
struct Durations {
  Histogram times;
  std::uint64_t total_us = 0;

  void add(Duration duration) {
    times.add(duration);
    total_us += static_cast<std::uint64_t>(duration.count());
  }
  Durations& operator+=(const Durations& other) {
    times += other.times;
    total_us += other.total_us;
    return *this;
  }
};

}  // namespace pgproxy
