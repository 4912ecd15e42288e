#pragma once

#include <cstdint>

#include "pgproxy/base/time.hpp"

namespace pgproxy::metrics {

/// What the process takes of the machine.
struct Process {
  Duration cpu_time{};
  std::uint64_t resident_bytes = 0;
  std::uint64_t descriptor_count = 0;
  std::uint64_t descriptor_limit = 0;
};

/// Reads /proc; what cannot be read is 0.
Process measure_process();

}  // namespace pgproxy::metrics
