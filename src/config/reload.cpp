#include "pgproxy/config/reload.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <span>

#include "config/table.hpp"
#include "config/text.hpp"

#include "pgproxy/base/assert.hpp"

namespace pgproxy::config {
namespace {

/// What needs a restart stays as it is.
void keep_what_stays(const Settings& running, Settings& next) {
  for (const Group& group : setting_groups()) {
    for (const auto& row : group.rows) {
      if (row.apply != Apply::on_restart) continue;
      const Outcome outcome = row.field.store(row, row.field.print(running), next);
      PGPROXY_ASSERT(outcome == Outcome::stored);
    }
  }
}

std::string shown(std::string_view value, bool is_secret) {
  if (value.empty()) return "(none)";
  return is_secret ? "****" : std::string(value);
}

/// "pool_size 20 -> 30, host a -> b"; empty: nothing.
template <class Entry>
std::string differences(std::span<const Row<Entry>> rows, const Entry& before, const Entry& after) {
  std::string text;
  for (const auto& row : rows) {
    if (row.field.print == nullptr) continue;
    const std::string old_value = row.field.print(before);
    const std::string new_value = row.field.print(after);
    if (old_value == new_value) continue;
    text += fmt::format("{}{} {} -> {}", text.empty() ? "" : ", ", row.name,
                        shown(old_value, row.extra.secret), shown(new_value, row.extra.secret));
  }
  return text;
}

/// What no row prints.
std::string other_differences(const User&, const User&) {
  return {};
}

std::string other_differences(const Database& before, const Database& after) {
  const auto value_in = [](const Database& entry, std::string_view name) -> std::string {
    for (const auto& [known, value] : entry.startup_settings) {
      if (known == name) return value;
    }
    return {};
  };
  std::string text;
  for (const auto& row : database_rows()) {
    const std::string old_value = value_in(before, row.name);
    const std::string new_value = value_in(after, row.name);
    if (old_value == new_value) continue;
    text += fmt::format("{}{} {} -> {}", text.empty() ? "" : ", ", row.name,
                        shown(old_value, false), shown(new_value, false));
  }
  return text;
}

template <class Entry>
void compare_entries(std::string_view kind, std::span<const Row<Entry>> rows,
                     const std::vector<Entry>& before, const std::vector<Entry>& after,
                     std::vector<std::string>& lines) {
  const auto find = [](const std::vector<Entry>& entries, const std::string& name) {
    return std::ranges::find(entries, name, &Entry::name);
  };
  for (const Entry& entry : before) {
    const auto now = find(after, entry.name);
    const std::string what = fmt::format("{} {}", kind, in_quotes(entry.name));
    if (now == after.end()) {
      lines.push_back(what + ": removed");
    } else {
      for (const auto& changes : {differences(rows, entry, *now), other_differences(entry, *now)}) {
        if (!changes.empty()) lines.push_back(fmt::format("{}: {}", what, changes));
      }
    }
  }
  for (const Entry& entry : after) {
    if (find(before, entry.name) != before.end()) continue;
    lines.push_back(fmt::format("{} {}: added", kind, in_quotes(entry.name)));
  }
}

std::vector<Database> with_auto_database(const Settings& settings) {
  std::vector<Database> all = settings.databases;
  if (settings.auto_database) all.push_back(*settings.auto_database);
  return all;
}

/// Names only: what they prove is secret.
void compare_secrets(const Settings& before, const Settings& after,
                     std::vector<std::string>& lines) {
  const auto count = [&lines](std::size_t number, std::string_view what) {
    if (number > 0) lines.push_back(fmt::format("auth_file: {} {}", number, what));
  };
  std::size_t added = 0;
  std::size_t changed = 0;
  for (const auto& [user, secret] : after.secrets) {
    const auto known = before.secrets.find(user);
    added += known == before.secrets.end();
    changed += known != before.secrets.end() && known->second != secret;
  }
  count(added, "user(s) added");
  count(changed, "secret(s) changed");
  count(before.secrets.size() + added - after.secrets.size(), "user(s) removed");
}

template <class Line>
void compare_rules(std::string_view setting, const std::vector<Line>& before,
                   const std::vector<Line>& after, std::vector<std::string>& lines) {
  const auto is_same = [](const Line& a, const Line& b) { return a.says_the_same_as(b); };
  if (std::ranges::equal(before, after, is_same)) return;
  lines.push_back(fmt::format("{}: its lines have changed", setting));
}

}  // namespace

std::vector<std::string> Reload::lines() const {
  std::vector<std::string> all;
  for (const Change& change : changes) {
    all.push_back(fmt::format("{}: {} -> {}{}", change.name, shown(change.from, false),
                              shown(change.to, false),
                              change.needs_restart ? " (not before a restart)" : ""));
  }
  all.insert(all.end(), entries.begin(), entries.end());
  return all;
}

Reload plan_reload(const Loaded& running, Loaded loaded) {
  Reload reload{.next = std::move(loaded), .changes = {}, .entries = {}};
  const Settings& before = running.settings;
  Settings& after = reload.next.settings;
  reload.changes = compare(before, after);
  keep_what_stays(before, after);
  compare_entries("database", database_rows(), with_auto_database(before),
                  with_auto_database(after), reload.entries);
  compare_entries("user", user_rows(), before.users, after.users, reload.entries);
  compare_secrets(before, after, reload.entries);
  compare_rules("auth_hba_file", before.hba_lines, after.hba_lines, reload.entries);
  compare_rules("auth_ident_file", before.ident_lines, after.ident_lines, reload.entries);
  return reload;
}

bool needs_new_connections(const Database& before, const Database& after) {
  return before.dbname != after.dbname || before.hosts != after.hosts ||
         before.port != after.port || before.connect_query != after.connect_query ||
         before.init_statements != after.init_statements || before.read_only != after.read_only ||
         before.load_balance_hosts != after.load_balance_hosts ||
         before.startup_settings != after.startup_settings ||
         before.server_settings != after.server_settings;
}

}  // namespace pgproxy::config
