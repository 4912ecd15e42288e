#pragma once

#include <string>

#include "pgproxy/metrics/status.hpp"

namespace pgproxy::metrics {

/// `status` and the state of the process in Prometheus' text format 0.0.4. Pools beyond the first
/// max_labelled_pools are summed up under database and user "(others)". Any thread.
std::string exposition(const Status& status);

/// As many pools as a Prometheus server takes from one target without a thought.
constexpr std::size_t max_labelled_pools = 500;

}  // namespace pgproxy::metrics
