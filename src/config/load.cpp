#include "pgproxy/config/load.hpp"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <span>
#include <utility>

#include "config/check.hpp"
#include "config/connection_string.hpp"
#include "config/entry.hpp"
#include "config/file.hpp"
#include "config/hba.hpp"
#include "config/ini_reader.hpp"
#include "config/report.hpp"
#include "config/table.hpp"
#include "config/text.hpp"
#include "config/userlist.hpp"

#include "pgproxy/base/assert.hpp"
#include "pgproxy/config/reload.hpp"

namespace pgproxy::config {

namespace {

enum class Holds { settings, databases, users, nothing_yet };

struct Section {
  std::string_view name;
  Holds holds;
};

constexpr Section kSections[] = {
    {"pgproxy", Holds::settings},  {"pgbouncer", Holds::settings}, {"databases", Holds::databases},
    {"users", Holds::users},       {"peers", Holds::nothing_yet},  {"capacity", Holds::settings},
    {"recovery", Holds::settings}, {"health", Holds::settings},    {"routing", Holds::settings},
};

constexpr std::string_view kConsoleNames[] = {"pgproxy", "pgbouncer"};

const Section* find_section(std::string_view name) {
  const auto* found = std::ranges::find(kSections, name, &Section::name);
  return found == std::end(kSections) ? nullptr : found;
}

/// What to write instead of a value that a later version will understand.
template <class Owner>
std::string version_hint(const Row<Owner>& row) {
  if (row.field.support == Support::full) {
    return fmt::format("in this version: {}", row.field.allowed(row.field.range));
  }
  const std::string_view standard = row.standard.text;
  return fmt::format("{} {}", row.doc,
                     standard.empty() ? fmt::format("Leave {} out.", row.name)
                                      : fmt::format("Leave {} out, or {}.", row.name, standard));
}

/// Fills Settings from the entries of a configuration file.
class Loader final : public IniListener {
 public:
  Loader(Settings& settings, Origins& origins, Report& report)
      : settings_(settings), origins_(origins), report_(report) {}

  bool on_section(std::string_view name, const Origin& at) override;
  void on_entry(std::string_view section, std::string_view name, std::string_view value,
                const Origin& at) override;

 private:
  void take_setting(std::string_view section, std::string_view name, std::string_view value,
                    const Origin& at);
  void take_database(std::string_view name, std::string_view value, const Origin& at);
  void take_user(std::string_view name, std::string_view value, const Origin& at);

  template <class Owner>
  bool store(const Row<Owner>& row, const std::string& what, std::string_view text,
             const Origin& at, Owner& into);
  template <class Owner>
  bool store_all(std::span<const Row<Owner>> rows, std::string_view kind, std::string_view value,
                 const Origin& at, Owner& into);
  void note_given(Origins::Places& places, const std::string& what, std::string_view name,
                  const Origin& at, bool usable);

  Settings& settings_;
  Origins& origins_;
  Report& report_;
};

bool Loader::on_section(std::string_view name, const Origin& at) {
  if (find_section(name) != nullptr) return true;
  NearestName nearest(name);
  for (const Section& section : kSections) nearest.offer(section.name);
  report_.problem(at, fmt::format("unknown section {}; its lines are not read", in_quotes(name)),
                  nearest.hint());
  return false;
}

void Loader::on_entry(std::string_view section, std::string_view name, std::string_view value,
                      const Origin& at) {
  const Section* found = find_section(section);
  if (found == nullptr) {
    return report_.problem(at, fmt::format("{} stands before the first section", in_quotes(name)),
                           "begin with [pgproxy]");
  }
  switch (found->holds) {
    case Holds::settings: return take_setting(section, name, value, at);
    case Holds::databases: return take_database(name, value, at);
    case Holds::users: return take_user(name, value, at);
    case Holds::nothing_yet:
      return report_.problem(
          at, fmt::format("{}: section [{}] is not in this version", in_quotes(name), section));
  }
}

/// PgBouncer's names belong to [pgproxy], or [pgbouncer]; so do aliases.
bool belongs(const Row<Settings>& row, std::string_view name, std::string_view section) {
  const std::string_view own = name == row.extra.alias ? "pgproxy" : section_of(row);
  return own == section || (own == "pgproxy" && section == "pgbouncer");
}

void Loader::take_setting(std::string_view section, std::string_view name, std::string_view value,
                          const Origin& at) {
  const auto* row = find_setting(name);
  if (row == nullptr) {
    NearestName nearest(name);
    for (const Group& group : setting_groups()) {
      for (const auto& known : group.rows) nearest.offer(known.name);
    }
    for (const auto& known : foreign_settings()) nearest.offer(known.name);
    return report_.problem(at, fmt::format("unknown setting {}", in_quotes(name)), nearest.hint());
  }
  if (!belongs(*row, name, section)) {
    report_.problem(at, fmt::format("{} stands in [{}]", name, section),
                    fmt::format("it belongs to [{}]", section_of(*row)));
  }
  const auto before = origins_.settings.find(row->name);
  if (before != origins_.settings.end() && before->second.is_alias != (name != row->name)) {
    report_.problem(at, fmt::format("{} and {} are the same setting", row->name, row->extra.alias),
                    fmt::format("give {} only; {}:{} has the other one", row->name,
                                before->second.at.file, before->second.at.line));
  }
  const bool usable = store(*row, std::string(name), value, at, settings_);
  note_given(origins_.settings, std::string(name), row->name, at, usable);
  origins_.settings.find(row->name)->second.is_alias = name != row->name;
}

void Loader::take_database(std::string_view name, std::string_view value, const Origin& at) {
  const std::string what = fmt::format("database {}", in_quotes(name));
  if (std::ranges::find(kConsoleNames, name) != std::end(kConsoleNames)) {
    return report_.problem(at, what + ": this name is the console's", "choose another name");
  }
  Database database{.name = std::string(name)};
  const bool usable = store_all(database_rows(), what, value, at, database);
  if (database.server_lifetime == Duration::zero()) database.server_lifetime.reset();
  database.place = fmt::format("{}:{}", at.file, at.line);
  note_given(origins_.databases, what, name, at, usable);
  if (name == "*") {
    settings_.auto_database = std::move(database);
    return;
  }
  std::erase_if(settings_.databases, [&](const Database& known) { return known.name == name; });
  settings_.databases.push_back(std::move(database));
}

void Loader::take_user(std::string_view name, std::string_view value, const Origin& at) {
  const std::string what = fmt::format("user {}", in_quotes(name));
  User user{.name = std::string(name)};
  const bool usable = store_all(user_rows(), what, value, at, user);
  user.place = fmt::format("{}:{}", at.file, at.line);
  note_given(origins_.users, what, name, at, usable);
  std::erase_if(settings_.users, [&](const User& known) { return known.name == name; });
  settings_.users.push_back(std::move(user));
}

/// False when the value cannot be used, which is then reported.
template <class Owner>
bool Loader::store(const Row<Owner>& row, const std::string& what, std::string_view text,
                   const Origin& at, Owner& into) {
  const std::string shown = row.extra.secret ? "(hidden)" : in_quotes(text);
  switch (row.field.store(row, text, into)) {
    case Outcome::stored: return true;
    case Outcome::no_effect:
      report_.warning(at, fmt::format("{}: accepted, no effect here. {}", what, row.doc));
      return true;
    case Outcome::not_in_this_version:
      report_.problem(at, fmt::format("{}: {}: not in this version", what, shown),
                      version_hint(row));
      return false;
    case Outcome::not_allowed:
      report_.problem(
          at, fmt::format("{}: {}: want {}", what, shown, row.field.allowed(row.field.range)),
          std::string(row.extra.bad_hint));
      return false;
  }
  std::unreachable();
}

/// Takes the pairs of a connection string. False when some cannot be used, which is then reported.
template <class Owner>
bool Loader::store_all(std::span<const Row<Owner>> rows, std::string_view what,
                       std::string_view value, const Origin& at, Owner& into) {
  const auto pairs = parse_connection_string(value);
  if (!pairs) {
    const bool misplaced = find_setting(into.name) != nullptr;
    report_.problem(at, fmt::format("{}: {}", what, pairs.error().message),
                    misplaced ? fmt::format("the setting {} belongs to [{}]", into.name,
                                            section_of(*find_setting(into.name)))
                              : pairs.error().hint);
    return false;
  }
  bool usable = true;
  for (const auto& [key, text] : *pairs) {
    const auto row = std::ranges::find_if(rows, [&key](const Row<Owner>& known) {
      return known.name == key || known.extra.alias == key;
    });
    if (row != rows.end()) {
      usable &= store(*row, fmt::format("{}: {}", what, key), text, at, into);
      continue;
    }
    NearestName nearest(key);
    for (const auto& known : rows) nearest.offer(known.name);
    report_.problem(at, fmt::format("{}: unknown key {}", what, in_quotes(key)), nearest.hint());
    usable = false;
  }
  return usable;
}

void Loader::note_given(Origins::Places& places, const std::string& what, std::string_view name,
                        const Origin& at, bool usable) {
  const auto [place, is_new] = places.try_emplace(std::string(name), Origins::Given{at, usable});
  if (is_new) return;
  report_.warning(at, fmt::format("{} again: {}:{} does not count any more", what,
                                  place->second.at.file, place->second.at.line));
  place->second = {at, usable};
}

}  // namespace

std::vector<Problem> problems_of_entry(std::string_view section, std::string_view name,
                                       std::string_view value, const Origin& at) {
  Settings settings;
  Origins origins{.file = at.file};
  Report report;
  Loader(settings, origins, report).on_entry(section, name, value, at);
  return report.sorted_problems({at.file});
}

namespace {

void take_defaults(Settings& settings) {
  for (const Group& group : setting_groups()) {
    for (const auto& row : group.rows) {
      const Outcome outcome = row.field.store(row, row.standard.text, settings);
      // Nothing is what an optional one has by itself.
      PGPROXY_ASSERT(outcome == Outcome::stored || row.standard.text.empty());
    }
  }
}

/// What each entry of [databases] may say, when all of them do.
bool is_given_by_entries(const Settings& settings, std::string_view name) {
  if (settings.databases.empty() && !settings.auto_database) return false;
  const auto has = [name](const Database& entry) {
    return (name == "expected_rps" && entry.expected_rps) ||
           (name == "mean_transaction_ms" && entry.mean_transaction_ms);
  };
  return std::ranges::all_of(settings.databases, has) &&
         (!settings.auto_database || has(*settings.auto_database));
}

void report_missing(const Settings& settings, const Origins& origins, Report& report) {
  for (const Group& group : setting_groups()) {
    for (const auto& row : group.rows) {
      if (!row.standard.must_be_given || origins.settings.contains(row.name)) continue;
      if (is_given_by_entries(settings, row.name)) continue;
      report.problem({origins.file, 0},
                     fmt::format("{} must be given in [{}]", row.name, group.section),
                     fmt::format("{} = {}: {}", row.name, row.standard.text, row.standard.reason));
    }
  }
}

void read_secrets(Settings& settings, const Origins& origins, Report& report) {
  if (settings.auth_file.empty()) return;
  const auto text = read_file(settings.auth_file);
  if (!text) {
    return report.problem(origins.of(origins.settings, "auth_file"),
                          "auth_file: " + text.error().message,
                          "it is read as the user who runs pgproxy");
  }
  settings.secrets = parse_userlist(*text, settings.auth_file, report);
}

void read_hba(Settings& settings, const Origins& origins, Report& report,
              std::vector<std::string>& files) {
  if (settings.auth_type != AuthType::hba) return;
  const auto read = [&](const std::string& path, std::string_view setting) {
    if (path.empty()) return std::vector<AuthTextLine>();
    const Origin at = origins.of(origins.settings, setting);
    return read_auth_lines(path, at, setting, files_on_disk(), report, files);
  };
  settings.hba_lines = parse_hba(read(settings.auth_hba_file, "auth_hba_file"), report);
  settings.ident_lines = parse_ident(read(settings.auth_ident_file, "auth_ident_file"), report);
}

}  // namespace

void Loaded::add_problem(std::string_view setting, std::string message, std::string hint) {
  const auto found = places.find(setting);
  const Place& place = found != places.end() ? found->second : places[""];
  problems.push_back({.file = place.file,
                      .line = place.line,
                      .message = std::string(setting) + ": " + std::move(message),
                      .hint = std::move(hint)});
}

Loaded load_text(std::string_view text, const std::string& name) {
  Loaded loaded;
  Report report;
  Origins origins{.file = name};
  take_defaults(loaded.settings);
  Loader loader(loaded.settings, origins, report);
  std::vector<std::string> files = read_ini(text, name, loader, report);
  report_missing(loaded.settings, origins, report);
  read_secrets(loaded.settings, origins, report);
  files.push_back(loaded.settings.auth_file);
  read_hba(loaded.settings, origins, report, files);
  loaded.places[""] = {name, 0};
  for (const auto& [setting, given] : origins.settings) {
    loaded.given.push_back(setting);
    loaded.places[setting] = {given.at.file, given.at.line};
    loaded.settings.places[setting] = fmt::format("{}:{}", given.at.file, given.at.line);
  }
  check(loaded.settings, origins, report);
  loaded.problems = report.sorted_problems(files);
  loaded.warnings = report.warnings();
  return loaded;
}

namespace {

/// "file:line" of an entry.
Origins::Given given_at(const std::string& place) {
  const std::size_t colon = place.rfind(':');
  if (colon == std::string::npos) return {{place, 0}};
  return {{place.substr(0, colon), std::atoi(place.c_str() + colon + 1)}};
}

Origins origins_of(const Loaded& loaded) {
  Origins origins;
  for (const auto& [name, place] : loaded.places) {
    if (name.empty()) {
      origins.file = place.file;
    } else {
      origins.settings[name] = {{place.file, place.line}};
    }
  }
  for (const Database& entry : loaded.settings.databases) {
    origins.databases[entry.name] = given_at(entry.place);
  }
  if (const auto& entry = loaded.settings.auto_database) {
    origins.databases[entry->name] = given_at(entry->place);
  }
  for (const User& user : loaded.settings.users) origins.users[user.name] = given_at(user.place);
  return origins;
}

/// False: reported.
bool store_alone(const Row<Settings>* row, std::string_view name, std::string_view value,
                 Settings& into, Report& report) {
  const Origin at{"SET", 0};
  if (row == nullptr || row->field.support != Support::full) {
    report.problem(at, fmt::format("unknown setting {}", in_quotes(name)),
                   "SHOW CONFIG lists them");
    return false;
  }
  if (row->apply == Apply::on_restart) {
    report.problem(at, fmt::format("{} cannot be changed while pgproxy runs", row->name),
                   "change it in the file, and restart");
    return false;
  }
  if (row->field.store(*row, value, into) == Outcome::stored) return true;
  report.problem(
      at,
      fmt::format("{}: {}: want {}", row->name, row->extra.secret ? "(hidden)" : in_quotes(value),
                  row->field.allowed(row->field.range)),
      std::string(row->extra.bad_hint));
  return false;
}

}  // namespace

Loaded with_setting(const Loaded& running, std::string_view name, std::string_view value) {
  Loaded next = running;
  next.problems.clear();
  next.warnings.clear();
  Report report;
  const auto* row = find_setting(name);
  if (store_alone(row, name, value, next.settings, report)) {
    Origins origins = origins_of(running);
    origins.settings[std::string(row->name)] = {{"SET", 0}};
    next.settings.places[std::string(row->name)] = "SET";
    next.places[std::string(row->name)] = {"SET", 0};
    next.set_at_run_time.insert(std::string(row->name));
    read_secrets(next.settings, origins, report);
    std::vector<std::string> files;
    read_hba(next.settings, origins, report, files);
    check(next.settings, origins, report);
  }
  next.problems = report.sorted_problems({"SET"});
  next.warnings = report.warnings();
  return next;
}

Loaded load(const std::string& path) {
  const auto text = read_file(path);
  if (text) return load_text(*text, path);
  return {.problems = {{.file = path, .message = text.error().message}}};
}

}  // namespace pgproxy::config
