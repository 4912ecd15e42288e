#include <algorithm>
#include <string>

#include "config/table.hpp"

#include "pgproxy/config/load.hpp"

namespace pgproxy::config {

namespace {

std::string shown_value(const Row<Settings>& row, const Settings& settings) {
  const std::string value = row.field.print(settings);
  return row.extra.secret && !value.empty() ? "****" : value;
}

}  // namespace

std::vector<ConfigRow> describe(const Loaded& loaded) {
  std::vector<ConfigRow> result;
  for (const Group& group : setting_groups()) {
    for (const auto& row : group.rows) {
      const bool is_given = std::ranges::binary_search(loaded.given, row.name);
      result.push_back({
          .name = std::string(row.name),
          .value = shown_value(row, loaded.settings),
          .default_value = std::string(row.standard.must_be_given ? "" : row.standard.text),
          .must_be_given = row.standard.must_be_given,
          .changeable = row.apply == Apply::on_reload,
          .given = is_given,
          .is_set = loaded.set_at_run_time.contains(row.name),
          .reason = std::string(row.standard.reason),
      });
    }
  }
  std::ranges::sort(result, {}, &ConfigRow::name);
  return result;
}

std::vector<Change> compare(const Settings& running, const Settings& loaded) {
  std::vector<Change> changes;
  for (const Group& group : setting_groups()) {
    for (const auto& row : group.rows) {
      if (row.field.print(running) == row.field.print(loaded)) continue;
      changes.push_back({.name = std::string(row.name),
                         .from = shown_value(row, running),
                         .to = shown_value(row, loaded),
                         .needs_restart = row.apply == Apply::on_restart});
    }
  }
  return changes;
}

}  // namespace pgproxy::config
