#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "pgproxy/metrics/status.hpp"

// What the JSON endpoints share: rows as objects, times in seconds.
namespace pgproxy::web {

using nlohmann::ordered_json;

double seconds(Duration duration);
/// Since 1970.
double seconds(WallTime time);
double seconds(std::uint64_t microseconds);

/// What clients choose (names of databases and users) need not be UTF-8.
std::string dump(const ordered_json& json);

ordered_json pool_json(const metrics::PoolStatus& pool);
ordered_json capacity_json(const CapacityRow& row);
ordered_json slow_query_json(const SlowQueryRow& row);
ordered_json error_json(const ErrorRow& row);
/// The rows that are not well.
ordered_json trouble_json(const std::vector<HealthRow>& health);

/// All that the status page shows, in one answer.
ordered_json status_json(const metrics::Status& status,
                         const std::vector<SlowQueryRow>& slow_queries,
                         const std::vector<ErrorRow>& errors);

}  // namespace pgproxy::web
