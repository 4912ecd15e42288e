#include <fmt/format.h>
#include <string>

#include "config/field.hpp"
#include "config/table.hpp"
#include "config/text.hpp"

#include "pgproxy/config/load.hpp"

namespace pgproxy::config {

namespace {

std::string allowed(const Row<Settings>& row) {
  return row.field.allowed(row.field.range);
}

std::string example_entry(const Row<Settings>& row, std::string_view value) {
  const std::string when = row.apply == Apply::on_restart ? " Needs a restart." : "";
  std::string text = as_comment(fmt::format("{} Allowed: {}.{}", row.doc, allowed(row), when));
  if (row.standard.must_be_given) {
    text +=
        as_comment(fmt::format("Must be given. {}: {}.", row.standard.text, row.standard.reason));
  } else {
    text += as_comment(fmt::format("Default: {}.", row.standard.reason));
  }
  const bool is_comment = !row.standard.must_be_given && value == row.standard.text;
  return text + fmt::format("{}{} = {}", is_comment ? ";" : "", row.name, value);
}

/// The example says more than what must be given where that makes it a whole.
std::string_view example_value(const Row<Settings>& row) {
  if (row.name == "listen_addr") return "127.0.0.1";
  if (row.name == "auth_file") return "/etc/pgproxy/userlist.txt";
  if (row.name == "control_user") return "pgproxy";
  if (row.name == "control_dbname") return "postgres";
  return row.standard.text;
}

constexpr std::string_view kExampleHead =
    R"(# Configuration of pgproxy: all settings, with what they mean.
# What must be given is given; the rest stands behind ";" with its default.
# Names are PgBouncer's. A line is a comment when it starts with # or ;.
# The server must have room for the pools: see [capacity].

[databases]
# What clients connect to = where that is. Keys: docs/settings.md.
app = host=127.0.0.1 port=5432 max_db_connections=20
;reports = host=10.0.0.7 dbname=app user=reporting pool_size=5 connect_query='set work_mem = ''64MB'''
# Any other name, on the server of this line:
;* = host=127.0.0.1

[users]
# Limits of single users. Keys: docs/settings.md.
;batch = pool_mode=session pool_size=2 query_timeout=3600

[pgproxy]
)";

std::string cell(std::string_view text) {
  return text.empty() ? "" : fmt::format("`{}`", text);
}

/// The pipe ends a cell of a Markdown table, and < may begin HTML.
std::string prose(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '|' || c == '<' || c == '*') result += '\\';
    result += c;
  }
  return result;
}

std::string group_section(const Group& group) {
  const bool is_own = group.section != "pgproxy";
  std::string text =
      fmt::format("\n{} {}\n\n| setting | default | allowed | meaning |\n|---|---|---|---|\n",
                  is_own ? "##" : "###",
                  is_own ? fmt::format("[{}]", group.section) : std::string(group.title));
  for (const auto& row : group.rows) {
    const std::string alias =
        row.extra.alias.empty() ? "" : fmt::format(" (or {} in [pgproxy])", cell(row.extra.alias));
    const std::string value = row.standard.must_be_given
                                  ? fmt::format("**must be given**; {}", cell(row.standard.text))
                                  : cell(row.standard.text);
    text += fmt::format("| {}{} | {}{}{} | {} | {}{} |\n", cell(row.name), alias, value,
                        value.empty() ? "" : ": ", prose(row.standard.reason), allowed(row),
                        prose(row.doc), row.apply == Apply::on_restart ? " Needs a restart." : "");
  }
  return text;
}

template <class Owner>
std::string line_section(std::string_view title, std::string_view intro,
                         std::span<const Row<Owner>> rows) {
  std::string text =
      fmt::format("\n## {}\n\n{}\n\n| key | without it | allowed | meaning |\n|---|---|---|---|\n",
                  title, intro);
  std::string not_yet;
  for (const auto& row : rows) {
    if (row.field.support == Support::later) {
      not_yet += fmt::format("{}{}", not_yet.empty() ? "" : ", ", cell(row.name));
      continue;
    }
    const std::string alias =
        row.extra.alias.empty() ? "" : fmt::format(" (or {})", cell(row.extra.alias));
    text +=
        fmt::format("| {}{} | {} | {} | {} |\n", cell(row.name), alias, prose(row.standard.reason),
                    row.field.allowed(row.field.range), prose(row.doc));
  }
  return not_yet.empty() ? text : text + fmt::format("\nNot in this version: {}.\n", not_yet);
}

std::string foreign_section(Support support, std::string_view title, std::string_view intro) {
  std::string text = fmt::format(
      "\n## {}\n\n{}\n\n| setting | PgBouncer's default | here |\n|---|---|---|\n", title, intro);
  for (const auto& row : foreign_settings()) {
    if (row.field.support != support) continue;
    const std::string also =
        row.extra.also.empty() ? "" : fmt::format(" (or {})", cell(row.extra.also));
    text += fmt::format("| {} | {}{} | {} |\n", cell(row.name), cell(row.standard.text), also,
                        prose(row.doc));
  }
  return text;
}

constexpr std::string_view kDocumentHead = R"(# Settings

Made from the settings table in `src/config`; a test keeps it current. `pgproxy --print-example`
prints a configuration with all of it.

The file has sections in brackets and lines `name = value`. Blanks at the start of a line do not
matter; a line that starts with `#` or `;` is a comment, and there are no other comments: a `;` in a
value is part of it. `%include FILE` reads another file, relative to the working directory. Names
other than letters, digits and `_ . * -` are written in single quotes: `'my db' = host=...`.
`[pgbouncer]` is the same section as `[pgproxy]`; when something is given twice, the last one counts.

Numbers are decimal, `0x` hexadecimal or, with a leading `0`, octal. Times are in seconds. Flags are
`0` or `1`. All mistakes in a file are reported together, with file and line.

## [pgproxy]
)";

}  // namespace

std::string example_file() {
  std::string text(kExampleHead);
  std::string_view section = "pgproxy";
  for (const Group& group : setting_groups()) {
    if (section != group.section) {
      text += fmt::format("\n[{}]\n", section = group.section);
    } else {
      text += fmt::format("\n# ---- {} ----\n", group.title);
    }
    for (const auto& row : group.rows) {
      text += fmt::format("\n{}\n", trim(example_entry(row, example_value(row))));
    }
  }
  return text;
}

std::string settings_document() {
  std::string text(kDocumentHead);
  for (const Group& group : setting_groups()) text += group_section(group);
  text += line_section("[databases]",
                       "`name = key=value key='value with blanks'`. `*` stands for every name that "
                       "is not listed. `pgproxy` and `pgbouncer` are the console.",
                       database_rows());
  text += line_section("[users]",
                       "`name = key=value ...`. A user's value comes before the database's, that "
                       "before the one in [pgproxy].",
                       user_rows());
  text += foreign_section(Support::later, "Not in this version",
                          "Settings of PgBouncer's that are known but not in this version: giving "
                          "the default is allowed, anything else is an error.");
  text += foreign_section(Support::no_effect, "Accepted without effect",
                          "Settings of PgBouncer's that would change nothing here: any value is "
                          "taken, with a warning.");
  return text;
}

}  // namespace pgproxy::config
