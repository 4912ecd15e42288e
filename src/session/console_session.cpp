#include "session/console_session.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <utility>

#include "session/console_values.hpp"

#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::session {
namespace {

// What one client may keep here; drivers' caches have a hundred statements.
constexpr std::size_t max_statements = 1000;
constexpr std::size_t max_statement_bytes = 1024 * 1024;  // of their texts together
constexpr std::size_t max_portals = 20;
constexpr std::size_t max_parameters = 1000;

constexpr std::uint32_t text_type = 25;  // pg_type.oid

Error too_many(std::string_view what, std::size_t limit) {
  return {.sqlstate = "54000",
          .message = fmt::format("more than {} {} on the console", limit, what),
          .hint = "Close those that are not needed any more."};
}

Error no_statement(std::string_view name) {
  return {.sqlstate = "26000",
          .message = name.empty() ? "unnamed prepared statement does not exist"
                                  : fmt::format("prepared statement \"{}\" does not exist", name)};
}

Error no_portal(std::string_view name) {
  return {.sqlstate = "34000", .message = fmt::format("portal \"{}\" does not exist", name)};
}

/// Calls `visit` with type, body and bytes of each message, until it says false.
template <class Visit>
bool for_each_message(std::string_view messages, Visit visit) {
  wire::Header header;
  while (wire::parse_header(as_bytes(messages), header) == wire::HeaderStatus::complete) {
    const std::string_view message = messages.substr(0, header.total_bytes());
    if (!visit(header.type, as_bytes(message.substr(wire::header_bytes)), message)) return false;
    messages.remove_prefix(message.size());
  }
  return true;
}

std::vector<std::uint16_t> take_formats(wire::Cursor& cursor) {
  std::vector<std::uint16_t> formats;
  for (std::size_t left = cursor.u16(); left > 0 && cursor.ok(); --left) {
    formats.push_back(cursor.u16());
  }
  return formats;
}

/// What stands behind the names in a Bind.
struct BindValues {
  std::vector<std::uint16_t> formats;
  std::vector<std::optional<Bytes>> values;
  std::vector<std::uint16_t> result_formats;
};
std::optional<BindValues> decode_bind_values(Bytes rest) {
  constexpr std::uint32_t null_length = 0xffffffff;
  wire::Cursor cursor(rest);
  BindValues bind{.formats = take_formats(cursor), .values = {}, .result_formats = {}};
  for (std::size_t left = cursor.u16(); left > 0 && cursor.ok(); --left) {
    const std::uint32_t length = cursor.u32();
    if (length == null_length) {
      bind.values.emplace_back(std::nullopt);
    } else {
      bind.values.emplace_back(cursor.bytes(length));
    }
  }
  bind.result_formats = take_formats(cursor);
  if (!cursor.ok_and_empty()) return std::nullopt;
  return bind;
}

/// nullopt: nothing is wrong with the numbers in the Bind.
std::optional<Error> objection(const BindValues& bind, std::size_t parameters) {
  const auto is_unknown = [](std::uint16_t format) { return format > 1; };
  for (const auto* formats : {&bind.formats, &bind.result_formats}) {
    if (const auto at = std::ranges::find_if(*formats, is_unknown); at != formats->end()) {
      return Error{.sqlstate = "22023", .message = fmt::format("unsupported format code: {}", *at)};
    }
  }
  if (bind.formats.size() > 1 && bind.formats.size() != bind.values.size()) {
    return Error{.sqlstate = "08P01",
                 .message = fmt::format("bind message has {} parameter formats but {} parameters",
                                        bind.formats.size(), bind.values.size())};
  }
  if (bind.values.size() != parameters) {
    return Error{.sqlstate = "08P01",
                 .message = fmt::format(
                     "bind message supplies {} parameters, but the prepared statement requires {}",
                     bind.values.size(), parameters)};
  }
  return std::nullopt;
}

Result<std::vector<std::optional<std::string>>> read_values(
    const BindValues& bind, const std::vector<std::uint32_t>& types) {
  std::vector<std::optional<std::string>> values;
  for (std::size_t at = 0; at < types.size(); ++at) {
    if (!bind.values[at]) {
      values.emplace_back(std::nullopt);
      continue;
    }
    const std::uint16_t format = bind.formats.empty()       ? std::uint16_t{0}
                                 : bind.formats.size() == 1 ? bind.formats[0]
                                                            : bind.formats[at];
    auto value = read_parameter(types[at], format, *bind.values[at]);
    if (!value) return std::unexpected(value.error());
    values.emplace_back(std::move(*value));
  }
  return values;
}

}  // namespace

bool ConsoleSession::on_message(char type, Bytes body, std::string& out) {
  if (is_skipping_ && type != 'S') return true;
  switch (type) {
    case 'P': return parse(body, out);
    case 'B': return bind(body, out);
    case 'D': return describe(body, out);
    case 'E': return execute(body, out);
    case 'C': return close(body, out);
    case 'H': return true;  // answers are never held back
    case 'S':
      is_skipping_ = false;
      portals_.clear();
      wire::put_ready_for_query(out, wire::TransactionStatus::idle);
      return true;
    case 'd':
    case 'c':
    case 'f': return true;  // of a COPY that never was: PostgreSQL ignores them, too
    default: return false;
  }
}

void ConsoleSession::fail(std::string& out, const Error& error) {
  is_skipping_ = true;
  wire::put_error(out, wire::Severity::error, error);
}

bool ConsoleSession::parse(Bytes body, std::string& out) {
  const auto message = wire::decode_parse(body);
  if (!message) return false;
  const std::string name(message->statement);
  if (!name.empty() && statements_.contains(name)) {
    fail(out, {.sqlstate = "42P05",
               .message = fmt::format("prepared statement \"{}\" already exists", name)});
    return true;
  }
  statements_.erase(name);
  std::size_t bytes = message->query.size();
  for (const auto& [other, statement] : statements_) bytes += statement.text.size();
  Statement statement{.text = std::string(message->query), .types = {}};
  wire::Cursor types(message->parameter_types);
  while (!types.rest().empty()) statement.types.push_back(types.u32());
  const std::size_t count = std::max(count_parameters(statement.text), statement.types.size());
  if (count > max_parameters) {
    fail(out, too_many("parameters of a statement", max_parameters));
  } else if (statements_.size() >= max_statements) {
    fail(out, too_many("prepared statements", max_statements));
  } else if (bytes > max_statement_bytes) {
    fail(out, too_many("bytes of prepared statements", max_statement_bytes));
  } else {
    statement.types.resize(count);
    std::ranges::replace(statement.types, std::uint32_t{0}, text_type);
    statements_.emplace(name, std::move(statement));
    wire::put_message(out, '1');  // ParseComplete
  }
  return true;
}

bool ConsoleSession::bind(Bytes body, std::string& out) {
  const auto names = wire::decode_bind_names(body);
  if (!names) return false;
  const auto bind = decode_bind_values(names->rest);
  if (!bind) return false;
  const auto statement = statements_.find(names->statement);
  if (statement == statements_.end()) {
    fail(out, no_statement(names->statement));
    return true;
  }
  const std::string portal(names->portal);
  if (!portal.empty() && portals_.contains(portal)) {
    fail(out,
         {.sqlstate = "42P03", .message = fmt::format("portal \"{}\" already exists", portal)});
    return true;
  }
  if (portals_.size() >= max_portals) {
    fail(out, too_many("portals", max_portals));
    return true;
  }
  if (const auto error = objection(*bind, statement->second.types.size())) {
    fail(out, *error);
    return true;
  }
  const auto values = read_values(*bind, statement->second.types);
  if (!values) {
    fail(out, values.error());
    return true;
  }
  auto text = put_parameters(statement->second.text, *values);
  if (!text) {
    fail(out, text.error());
    return true;
  }
  portals_.insert_or_assign(portal,
                            Portal{.text = std::move(*text), .formats = bind->result_formats});
  wire::put_message(out, '2');  // BindComplete
  return true;
}

bool ConsoleSession::describe(Bytes body, std::string& out) {
  const auto target = wire::decode_target(body);
  if (!target) return false;
  if (target->kind == 'S') {
    const auto statement = statements_.find(target->name);
    if (statement != statements_.end()) {
      describe_statement(statement->second, out);
    } else {
      fail(out, no_statement(target->name));
    }
  } else {
    const auto portal = portals_.find(target->name);
    if (portal != portals_.end()) {
      describe_portal(portal->second, out);
    } else {
      fail(out, no_portal(target->name));
    }
  }
  return true;
}

void ConsoleSession::describe_statement(const Statement& statement, std::string& out) {
  std::string answer;
  const auto text = put_parameters(statement.text,
                                   std::vector<std::optional<std::string>>(statement.types.size()));
  if (!text) return fail(out, text.error());
  target_.describe(*text, access_, answer);
  if (answer.starts_with('E')) {
    is_skipping_ = true;
  } else {
    const wire::MessageWriter parameters(out, 't');  // ParameterDescription
    wire::put_u16(out, static_cast<std::uint16_t>(statement.types.size()));
    for (const std::uint32_t type : statement.types) wire::put_u32(out, type);
  }
  out += answer;
}

void ConsoleSession::describe_portal(const Portal& portal, std::string& out) {
  std::string answer;
  target_.describe(portal.text, access_, answer);
  for_each_message(answer, [&](char type, Bytes body, std::string_view message) {
    if (type == 'T') {
      const auto columns = read_columns(body, portal.formats);
      if (columns) {
        out += with_formats(body, *columns);
      } else {
        fail(out, columns.error());
      }
    } else {
      is_skipping_ = type == 'E';
      out += message;
    }
    return true;
  });
}

bool ConsoleSession::execute(Bytes body, std::string& out) {
  wire::Cursor cursor(body);
  const std::string_view name = cursor.c_string();
  const std::uint32_t limit = cursor.u32();
  if (!cursor.ok_and_empty()) return false;
  const auto at = portals_.find(name);
  if (at == portals_.end()) {
    fail(out, no_portal(name));
    return true;
  }
  Portal& portal = at->second;
  if (!std::exchange(portal.has_run, true) && !run(portal, out)) return true;
  // 0, and what is negative, is no limit.
  std::size_t count = portal.rows.size();
  if (limit > 0 && limit < 0x80000000) count = std::min<std::size_t>(count, limit);
  for (; count > 0; --count) {
    out += portal.rows.back();
    portal.rows.pop_back();
  }
  if (portal.rows.empty()) {
    out += portal.end;
  } else {
    wire::put_message(out, 's');  // PortalSuspended
  }
  return true;
}

const std::string* ConsoleSession::begin_command(Bytes execute_body) {
  wire::Cursor cursor(execute_body);
  const std::string_view name = cursor.c_string();
  cursor.u32();
  if (is_skipping_ || !cursor.ok_and_empty()) return nullptr;  // execute() tells
  const auto at = portals_.find(name);
  if (at == portals_.end() || at->second.has_run) return nullptr;
  command_portal_ = name;
  return &at->second.text;
}

void ConsoleSession::end_command(const Result<std::string_view>& tag, std::string& out) {
  Portal& portal = portals_.at(command_portal_);
  portal.has_run = true;
  if (!tag) return fail(out, tag.error());
  wire::put_command_complete(portal.end, *tag);
  out += portal.end;
}

/// Has the console answer, and keeps that; false: by an error, which is in `out`.
bool ConsoleSession::run(Portal& portal, std::string& out) {
  std::string answer;
  target_.execute(portal.text, access_, answer);
  ResultColumns columns;
  const auto take = [&](char type, Bytes body, std::string_view message) {
    switch (type) {
      case 'T': {
        auto read = read_columns(body, portal.formats);
        if (!read) return fail(out, read.error()), false;
        columns = std::move(*read);
        return true;
      }
      case 'D': {
        auto row = make_row(body, columns);
        if (!row) return fail(out, row.error()), false;
        portal.rows.push_back(std::move(*row));
        return true;
      }
      case 'E':
        is_skipping_ = true;
        out += message;
        return false;
      case 'Z': return true;  // comes with Sync
      case 'C':
      case 'I': portal.end = message; return true;
      default: out += message; return true;  // a notice
    }
  };
  if (!for_each_message(answer, take)) return false;
  std::ranges::reverse(portal.rows);
  return true;
}

bool ConsoleSession::close(Bytes body, std::string& out) {
  const auto target = wire::decode_target(body);
  if (!target) return false;
  if (target->kind == 'S') {
    if (const auto at = statements_.find(target->name); at != statements_.end())
      statements_.erase(at);
  } else if (const auto at = portals_.find(target->name); at != portals_.end()) {
    portals_.erase(at);
  }
  wire::put_message(out, '3');  // CloseComplete, whether there was one or not
  return true;
}

}  // namespace pgproxy::session
