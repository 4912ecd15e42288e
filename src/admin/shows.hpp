#pragma once

#include <span>
#include <string_view>

#include "admin/result_set.hpp"

#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/config/load.hpp"

namespace pgproxy::admin {

/// A SHOW command and how its answer is made.
struct Show {
  std::string_view name;  ///< lower case
  ResultSet (*answer)(const StatusSource& source, const config::Loaded& loaded);
};

/// All that we have, in the order of SHOW HELP.
std::span<const Show> shows();

// SHOW STATS and its relatives.
ResultSet show_stats(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_stats_totals(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_stats_averages(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_totals(const StatusSource& source, const config::Loaded& loaded);

}  // namespace pgproxy::admin
