#include <fmt/format.h>
#include <optional>
#include <utility>

#include "config/hba.hpp"
#include "config/text.hpp"

namespace pgproxy::config {

namespace {

constexpr std::string_view kFields = "want: map-name system-user database-user";

std::optional<IdentLine> parse_line(const AuthTextLine& text, Report& report) {
  const auto fail = [&](std::string message, std::string hint = {}) {
    report.problem(text.at, std::move(message), std::move(hint));
    return std::nullopt;
  };
  for (const AuthField& field : text.fields) {
    if (field.size() > 1) return fail("multiple values in ident field", std::string(kFields));
  }
  if (text.fields.size() < 3) return fail("missing entry at end of line", std::string(kFields));
  if (text.fields.size() > 3) {
    report.warning(text.at,
                   "what stands behind the database user does not count, as in PostgreSQL");
  }
  IdentLine line{.file = text.at.file, .line = text.at.line, .map = text.fields[0][0].text};
  // A system user has no keyword: only the slash means something.
  auto system_user = parse_hba_name({text.fields[1][0].text, true});
  if (!system_user) return fail(system_user.error().message);
  const AuthToken& database_user = text.fields[2][0];
  if (!database_user.is_quoted && database_user.text.starts_with('+')) {
    return fail(
        fmt::format("{}: members of a role cannot be known here", in_quotes(database_user.text)),
        "roles and their members are known to the server only: give a line for each user");
  }
  auto database = parse_hba_name(database_user);
  if (!database) return fail(database.error().message);
  const bool wants_group = database->kind == HbaName::Kind::name &&
                           database->name.contains("\\1") &&
                           system_user->kind == HbaName::Kind::pattern;
  if (wants_group && !system_user->pattern.has_group()) {
    return fail(
        fmt::format("{}: the regular expression has no subexpressions as requested by "
                    "backreference in {}",
                    in_quotes(text.fields[1][0].text), in_quotes(database_user.text)));
  }
  if (wants_group && system_user->pattern.is_group_repeated()) {
    return fail(fmt::format("{}: the part that \\1 stands for is repeated, or within one that is",
                            in_quotes(text.fields[1][0].text)),
                "put the quantifier into the parentheses, as in /^([a-z]+)@");
  }
  line.system_user = *std::move(system_user);
  line.database_user = *std::move(database);
  return line;
}

}  // namespace

std::vector<IdentLine> parse_ident(const std::vector<AuthTextLine>& lines, Report& report) {
  std::vector<IdentLine> rules;
  for (const AuthTextLine& line : lines) {
    if (auto rule = parse_line(line, report)) rules.push_back(*std::move(rule));
  }
  return rules;
}

}  // namespace pgproxy::config
