#include "control/capacity_answer.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <utility>

#include "control/control_target.hpp"

namespace pgproxy::control {

// pg_stat_activity tells backend_type, without which background processes would count, to members
// of pg_read_all_stats only.
const std::string_view capacity_sql = R"(
SELECT 'setting', name, pg_catalog.current_setting(name, true)
  FROM pg_catalog.unnest('{max_connections,superuser_reserved_connections,reserved_connections}'
                         ::pg_catalog.text[]) AS name
UNION ALL
SELECT 'is_standby', NULL, pg_catalog.pg_is_in_recovery()::pg_catalog.text
UNION ALL
SELECT 'sees_all', NULL,
       pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')::pg_catalog.text
UNION ALL
SELECT 'others', NULL, pg_catalog.count(*)::pg_catalog.text
  FROM pg_catalog.pg_stat_activity
 WHERE backend_type OPERATOR(pg_catalog.=) 'client backend'
   AND usename::pg_catalog.text OPERATOR(pg_catalog.<>) ALL ($1::pg_catalog.text[])
   AND usename::pg_catalog.text OPERATOR(pg_catalog.<>) $3
UNION ALL
SELECT 'role', rolname::pg_catalog.text, rolconnlimit::pg_catalog.text
  FROM pg_catalog.pg_roles
 WHERE rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.text[])
UNION ALL
SELECT 'database', datname::pg_catalog.text, datconnlimit::pg_catalog.text
  FROM pg_catalog.pg_database
 WHERE datname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.text[]))";

namespace {

using Facts = std::map<std::pair<std::string, std::string>, std::string>;  ///< by what, of whom

std::optional<std::int32_t> number_in(const std::string& text) {
  std::int32_t number = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, number);
  return read.ec == std::errc() && read.ptr == end ? std::optional(number) : std::nullopt;
}

/// Reads what the server told, and remembers what it did not.
class Reader {
 public:
  explicit Reader(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      // A setting that this version does not have is NULL.
      if (row.size() == 3 && row[0] && row[2]) facts_[{*row[0], row[1].value_or("")}] = *row[2];
    }
  }

  bool is_true(const std::string& what) { return text(what, "") == "true"; }
  std::uint32_t count(const std::string& what, const std::string& of = "") {
    const auto number = number_in(text(what, of));
    if (!number || *number < 0) {
      if (missing_.empty()) missing_ = of.empty() ? what : of;
      return 0;
    }
    return static_cast<std::uint32_t>(*number);
  }
  bool has(const std::string& what, const std::string& of) const {
    return facts_.contains({what, of});
  }
  /// Connection limits; of a database that is half dropped (-2) nobody gets a connection: it is
  /// none.
  std::map<std::string, std::int32_t> limits(const std::string& what) const {
    std::map<std::string, std::int32_t> limits;
    for (const auto& [key, value] : facts_) {
      const auto limit = key.first == what ? number_in(value) : std::nullopt;
      if (limit && *limit >= -1) limits[key.second] = *limit;
    }
    return limits;
  }
  /// What should have been told; empty: nothing is missing.
  const std::string& missing() const { return missing_; }

 private:
  std::string text(const std::string& what, const std::string& of) {
    const auto found = facts_.find({what, of});
    if (found != facts_.end()) return found->second;
    if (missing_.empty()) missing_ = of.empty() ? what : of;
    return "";
  }

  Facts facts_;
  std::string missing_;
};

constexpr std::string_view way_out = " check = off is for servers that cannot be asked.";

Error error_met(const config::Settings& settings, const std::string& server, const Error& error) {
  Error explained = explain_control_error(settings, server, error);
  explained.hint += way_out;
  return explained;
}

/// A role that sees too little would count too few.
Error blind_error(const config::Settings& settings, const std::string& server) {
  return error_met(settings, server,
                   {.sqlstate = "42501",
                    .message = "permission denied to see the connections of others (a member of "
                               "pg_read_all_stats may)"});
}

}  // namespace

std::vector<std::string> CapacityQuestion::parameters(const std::string& control_user) const {
  return {text_array(roles), text_array(databases), control_user};
}

config::ServerFacts read_capacity_answer(const config::Settings& settings,
                                         const CapacityQuestion& question, const Answer& answer) {
  const std::string server = server_name(question.host, question.port);
  config::ServerFacts facts{.host = question.host, .port = question.port};
  if (!answer) {
    facts.error = error_met(settings, server, answer.error());
    return facts;
  }
  Reader reader(*answer);
  const bool sees_all = reader.is_true("sees_all");
  facts.is_standby = reader.is_true("is_standby");
  facts.max_connections = reader.count("setting", "max_connections");
  facts.superuser_reserved_connections = reader.count("setting", "superuser_reserved_connections");
  if (reader.has("setting", "reserved_connections")) {
    facts.reserved_connections = reader.count("setting", "reserved_connections");
  }
  facts.others = reader.count("others");
  facts.role_limits = reader.limits("role");
  facts.database_limits = reader.limits("database");
  if (!reader.missing().empty()) {
    facts = {.host = question.host, .port = question.port};
    facts.error = error_met(
        settings, server,
        {.sqlstate = "08P01",
         .message = fmt::format("the answer about connections lacks {}", reader.missing()),
         .hint = "Is that PostgreSQL 10 or later, and not another pooler?"});
  } else if (!sees_all) {
    facts.others = 0;
    facts.error = blind_error(settings, server);
  }
  return facts;
}

}  // namespace pgproxy::control
