#include "pgproxy/pool/session_question.hpp"

#include <algorithm>
#include <charconv>
#include <ranges>

#include "pgproxy/pool/server_connection.hpp"
#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::pool {
namespace {

/// Settings of a session and sources of functions are small; more is no answer to this question.
constexpr std::size_t max_answer_bytes = std::size_t{1} << 20;

/// Objects in the temporary schema by what depends on it (functions and domains, too); the schema
/// itself stays when they are gone. 2615 is pg_namespace.
constexpr std::string_view objects_sql =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE pg_catalog.pg_my_temp_schema() "
    "OPERATOR(pg_catalog.<>) 0::pg_catalog.oid AND refclassid OPERATOR(pg_catalog.=) "
    "2615::pg_catalog.oid AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()), "
    "EXISTS (SELECT FROM pg_catalog.pg_lock_status() WHERE locktype OPERATOR(pg_catalog.=) "
    "'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()), "
    "EXISTS (SELECT FROM pg_catalog.pg_listening_channels()), "
    "EXISTS (SELECT FROM pg_catalog.pg_cursor()), "
    "EXISTS (SELECT FROM pg_catalog.pg_prepared_statement() WHERE from_sql), "
    "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_statement() WHERE NOT from_sql), "
    "pg_catalog.current_setting('role'); ";
constexpr std::size_t objects_columns = 7;

constexpr std::string_view timeout_sql = "SELECT pg_catalog.current_setting('statement_timeout'); ";

/// Without those of modules that are loaded, custom settings are not in it.
constexpr std::string_view list_sql =
    "SELECT name, CASE WHEN source OPERATOR(pg_catalog.=) 'session' THEN "
    "pg_catalog.current_setting(name) END FROM pg_catalog.pg_show_all_settings() WHERE source "
    "OPERATOR(pg_catalog.=) 'session'";

/// Built-in objects have oids below 16384.
constexpr std::string_view functions_sql =
    "SELECT proname, pg_catalog.left(pg_catalog.string_agg(prosrc, ' '), 65536) "
    "FROM pg_catalog.pg_proc WHERE oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND "
    "(provolatile OPERATOR(pg_catalog.=) 'v' OR prosrc OPERATOR(pg_catalog.~~*) '%set_config%') "
    "AND proname OPERATOR(pg_catalog.=) ANY (ARRAY[";

using Row = std::vector<std::optional<std::string>>;

std::optional<Row> read_row(Bytes body) {
  if (body.size() < 2) return std::nullopt;
  Row row(static_cast<std::size_t>(body[0] << 8 | body[1]));
  std::size_t pos = 2;
  for (auto& value : row) {
    if (body.size() - pos < 4) return std::nullopt;
    const std::uint32_t length = wire::load_u32(body.data() + pos);
    pos += 4;
    if (length == 0xffffffff) continue;
    if (length > body.size() - pos) return std::nullopt;
    value = as_text(body.subspan(pos, length));
    pos += length;
  }
  return row;
}

/// The rows of each SELECT in `replies`; nullopt: not whole, or malformed.
std::optional<std::vector<std::vector<Row>>> read_results(Bytes replies) {
  std::vector<std::vector<Row>> results;
  while (!replies.empty()) {
    wire::Header header;
    if (wire::parse_header(replies, header) != wire::HeaderStatus::complete ||
        replies.size() < header.total_bytes()) {
      return std::nullopt;
    }
    if (header.type == 'T') results.emplace_back();
    if (header.type == 'D') {
      auto row = read_row(replies.subspan(wire::header_bytes, header.body_bytes));
      if (!row || results.empty()) return std::nullopt;
      results.back().push_back(std::move(*row));
    }
    replies = replies.subspan(header.total_bytes());
  }
  return results;
}

bool read_objects(const std::vector<Row>& rows, SessionTruth& truth) {
  if (rows.size() != 1 || rows[0].size() != objects_columns) return false;
  const Row& row = rows[0];
  for (const auto& value : row) {
    if (!value) return false;
  }
  truth.has_temporary_objects = row[0] != "f";
  truth.has_advisory_locks = row[1] != "f";
  truth.listens = row[2] != "f";
  truth.has_cursors = row[3] != "f";
  truth.has_sql_statements = row[4] != "f";
  const std::string& count = *row[5];
  const auto read =
      std::from_chars(count.data(), count.data() + count.size(), truth.parsed_statement_count);
  truth.role = *row[6];
  return read.ec == std::errc();
}

bool is_custom(std::string_view name) {
  return name.contains('.');
}

/// Of the settings asked for by name, those in the list count as the list has them: by name, one
/// that the session has not set has its default.
bool read_session_settings(const std::vector<Row>& rows, SessionTruth& truth) {
  std::erase_if(truth.values, [](const auto& setting) { return !is_custom(setting.first); });
  for (const Row& row : rows) {
    if (row.size() != 2 || !row[0]) return false;
    const auto is_this = [&](const auto& setting) { return setting.first == *row[0]; };
    std::ranges::for_each(truth.values | std::views::filter(is_this),
                          [](auto& setting) { setting.second.reset(); });
    if (row[1] && *row[0] != "statement_timeout") {
      truth.session_settings.emplace_back(*row[0], *row[1]);
    }
  }
  return true;
}

bool read_pairs(const std::vector<Row>& rows,
                std::vector<std::pair<std::string, std::string>>& into) {
  for (const Row& row : rows) {
    if (row.size() != 2 || !row[0]) return false;
    into.emplace_back(*row[0], row[1].value_or(""));
  }
  return true;
}

}  // namespace

/// Settings are read before statement_timeout, which may be one of them, is switched off for the
/// rest, and its default after that: the list of settings shows what the question itself has set.
std::string question_sql(const QuestionScope& scope) {
  std::string sql;
  if (scope.all_settings) sql += timeout_sql;
  if (!scope.settings.empty()) {
    std::string_view separator = "SELECT ";
    for (const std::string& name : scope.settings) {
      sql += separator;
      sql += "pg_catalog.current_setting(" + wire::quote_literal(name) + ", true)";
      separator = ", ";
    }
    sql += "; ";
  }
  sql += "SET LOCAL statement_timeout = 0; ";
  sql += objects_sql;
  if (!scope.functions.empty()) {
    std::string_view separator;
    sql += functions_sql;
    for (const std::string& name : scope.functions) {
      sql += separator;
      sql += wire::quote_literal(name);
      separator = ", ";
    }
    sql += "]::pg_catalog.name[]) GROUP BY proname; ";
  }
  if (scope.all_settings) {
    sql += list_sql;
    for (const std::string& name : scope.settings | std::views::filter(is_custom)) {
      sql += " OR name OPERATOR(pg_catalog.=) " + wire::quote_literal(name);
    }
    sql += "; SET LOCAL statement_timeout TO DEFAULT; ";
    sql += timeout_sql;
  }
  return sql;
}

SessionQuestion::SessionQuestion(ServerConnection& server, QuestionScope scope)
    : server_(server), scope_(std::move(scope)) {}

void SessionQuestion::ask() {
  replies_.clear();
  sqlstate_.clear();
  server_.query(*this, question_sql(scope_));
}

void SessionQuestion::on_reply(ServerConnection& /*server*/, Bytes first, Bytes second) {
  if (replies_.size() + first.size() + second.size() > max_answer_bytes) is_too_long_ = true;
  if (is_too_long_) return;
  replies_ += as_text(first);
  replies_ += as_text(second);
}

void SessionQuestion::on_reply_error(ServerConnection& /*server*/,
                                     const wire::ErrorFields& fields) {
  sqlstate_ = fields.sqlstate;
}

std::optional<SessionTruth> SessionQuestion::answer() const {
  if (is_too_long_ || !sqlstate_.empty()) return std::nullopt;
  return read_answer(scope_, as_bytes(replies_));
}

std::optional<SessionTruth> read_answer(const QuestionScope& scope, Bytes replies) {
  const auto results = read_results(replies);
  if (!results) return std::nullopt;
  const std::size_t expected_count = 1 + (scope.settings.empty() ? 0 : 1) +
                                     (scope.functions.empty() ? 0 : 1) +
                                     (scope.all_settings ? 3 : 0);
  if (results->size() != expected_count) return std::nullopt;
  SessionTruth truth;
  std::size_t next = scope.all_settings ? 1 : 0;
  if (!scope.settings.empty()) {
    const auto& rows = (*results)[next++];
    if (rows.size() != 1 || rows[0].size() != scope.settings.size()) return std::nullopt;
    for (std::size_t i = 0; i < scope.settings.size(); ++i) {
      truth.values.emplace_back(scope.settings[i], rows[0][i]);
    }
  }
  if (!read_objects((*results)[next++], truth)) return std::nullopt;
  if (!scope.functions.empty() && !read_pairs((*results)[next++], truth.volatile_functions)) {
    return std::nullopt;
  }
  if (!scope.all_settings) return truth;
  if (!read_session_settings((*results)[next++], truth)) return std::nullopt;
  const auto& before = results->front();
  const auto& standard = results->back();
  if (before.size() != 1 || before[0].size() != 1 || !before[0][0]) return std::nullopt;
  if (before != standard) {
    truth.session_settings.emplace_back("statement_timeout", *before[0][0]);
  }
  return truth;
}

}  // namespace pgproxy::pool
