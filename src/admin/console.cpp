#include "pgproxy/admin/console.hpp"

#include <algorithm>
#include <cctype>

#include "admin/clauses.hpp"
#include "admin/fake_settings.hpp"
#include "admin/no_rows.hpp"
#include "admin/shows.hpp"
#include "admin/words.hpp"

#include "pgproxy/wire/encode.hpp"

namespace pgproxy::admin {
namespace {

Error invalid(std::string_view text) {
  return {.sqlstate = "08P01",
          .message = "invalid command '" + std::string(text) + "', use SHOW HELP;"};
}

/// In PgBouncer's words.
Error not_allowed(std::string_view command) {
  return {.sqlstate = "42501",
          .message = "admin access needed",
          .hint = folded(command, std::toupper) + " is for users in admin_users."};
}

Result<ResultSet> explain(const StatusSource& source, std::string_view rest) {
  const auto sql = take_word(rest);
  if (sql && trimmed(rest).empty()) return explain_route(source, *sql);
  return std::unexpected(Error{.sqlstate = "42601",
                               .message = "EXPLAIN ROUTE wants one statement in quotes",
                               .hint = "As EXPLAIN ROUTE 'SELECT * FROM t WHERE name = ''x''';"});
}

/// As PgBouncer answers SHOW HELP; the rows behind it are ours.
void put_usage(std::string& out) {
  wire::put_error(out, wire::Severity::notice,
                  {.sqlstate = "00000", .message = "Console usage", .detail = help_text()});
}

}  // namespace

/// A command, taken apart as far as all of them are alike.
struct Console::Command {
  std::string word;
  std::string name;
  std::string_view rest;
  bool is_one = true;  ///< nothing but its end has a semicolon
  bool is_empty = false;

  bool is_explain_route() const { return word == "explain" && name == "route"; }
  bool is_show() const {
    return (word == "show" || word == "select") && (rest.empty() || begins_with_clause(rest));
  }
};

Console::Command Console::read_command(std::string_view text) {
  std::string_view rest = without_end(text);
  Command command{
      .word = {}, .name = {}, .rest = {}, .is_one = !rest.contains(';'), .is_empty = rest.empty()};
  command.word = folded(take_word(rest).value_or(""), std::tolower);
  command.name = folded(take_word(rest).value_or(""), std::tolower);
  command.rest = rest;
  return command;
}

void Console::execute(std::string_view text, bool is_admin, std::string& out) const {
  const Command command = read_command(text);
  if (command.is_empty) {
    wire::put_message(out, 'I');  // EmptyQueryResponse
  } else if (command.is_show() || command.is_explain_route()) {
    show(command, text, is_admin, out);
  } else if (command.is_one && command.word == "set" && find_fake_setting(command.name)) {
    wire::put_error(out, wire::Severity::notice, {.sqlstate = "00000", .message = "SET ignored"});
    wire::put_command_complete(out, "SET");
  } else {
    wire::put_error(out, wire::Severity::error, invalid(text));
  }
  wire::put_ready_for_query(out, wire::TransactionStatus::idle);
}

void Console::describe(std::string_view text, bool is_admin, std::string& out) const {
  const Command command = read_command(text);
  const bool has_rows = command.is_show() || command.is_explain_route();
  if (command.is_empty || !has_rows) return wire::put_message(out, 'n');  // NoData
  const auto set = look(NoRows(), command, text, is_admin);
  if (!set) return wire::put_error(out, wire::Severity::error, set.error());
  put_columns(out, *set);
}

void Console::show(const Command& command, std::string_view text, bool is_admin,
                   std::string& out) const {
  const auto set = look(source_, command, text, is_admin);
  if (!set) return wire::put_error(out, wire::Severity::error, set.error());
  if (command.name == "help") put_usage(out);
  put_result_set(out, *set);
}

/// `text` is the whole command, for the error message.
Result<ResultSet> Console::look(const StatusSource& source, const Command& command,
                                std::string_view text, bool is_admin) const {
  if (command.is_explain_route()) return explain(source, command.rest);
  ResultSet set;
  const auto all = shows();
  const auto found = std::ranges::find(all, command.name, &Show::name);
  if (found != all.end()) {
    if (found->access == Access::admin && !is_admin) {
      return std::unexpected(not_allowed("SHOW " + command.name));
    }
    set = found->answer(source, loaded_);
  } else if (const auto* const fake = find_fake_setting(command.name)) {
    set = {.columns = {{std::string(fake->first)}}, .rows = {{std::string(fake->second)}}};
  } else {
    return std::unexpected(invalid(text));
  }
  const auto clauses = parse_clauses(command.rest);
  if (!clauses) return std::unexpected(clauses.error());
  if (auto applied = apply(*clauses, set); !applied) return std::unexpected(applied.error());
  return set;
}

std::vector<std::pair<std::string, std::string>> Console::parameters() {
  return {
      {"server_version", "1.25.2/bouncer"},
      {"client_encoding", "UTF8"},
      {"server_encoding", "UTF8"},
      {"DateStyle", "ISO"},
      {"TimeZone", "GMT"},
      {"standard_conforming_strings", "on"},
      {"is_superuser", "on"},
  };
}

}  // namespace pgproxy::admin
