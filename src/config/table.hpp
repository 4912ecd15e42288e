#pragma once

#include <span>
#include <string_view>

#include "config/row.hpp"

namespace pgproxy::config {

/// Why pool sizes start at 1.
constexpr std::string_view kUnlimitedServersHint =
    "0 would mean unlimited; pgproxy has no unlimited server counts";

/// Settings that belong together in the example file and in the documentation.
struct Group {
  std::string_view title;
  std::span<const Row<Settings>> rows;
  std::string_view section = "pgproxy";  ///< of the file
};

/// What [pgproxy] and the sections beside it may hold and this version does.
std::span<const Group> setting_groups();
/// Those of them about TLS.
std::span<const Row<Settings>> tls_settings();
/// [capacity], [recovery] and [health], which are to be given.
std::span<const Row<Settings>> capacity_settings();
std::span<const Row<Settings>> recovery_settings();
std::span<const Row<Settings>> health_settings();
/// [routing].
std::span<const Row<Settings>> routing_settings();
/// What else PgBouncer's [pgbouncer] may hold: Support::later and Support::no_effect.
std::span<const Row<Settings>> foreign_settings();
/// What a connection string in [databases] may hold.
std::span<const Row<Database>> database_rows();
/// What a line in [users] may hold.
std::span<const Row<User>> user_rows();

/// By name or alias, in all of these sections; nullptr when unknown.
const Row<Settings>* find_setting(std::string_view name);
/// The section that a setting belongs to.
std::string_view section_of(const Row<Settings>& row);

}  // namespace pgproxy::config
