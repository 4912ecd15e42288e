#pragma once

#include <chrono>

namespace pgproxy {

using Duration = std::chrono::microseconds;
/// Monotonic time; only differences mean anything.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;
/// Wall clock, for people.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

}  // namespace pgproxy
