#include "pgproxy/wire/decode.hpp"

namespace pgproxy::wire {

std::optional<Parse> decode_parse(Bytes body) {
  Cursor cursor(body);
  Parse parse;
  parse.statement = cursor.c_string();
  parse.query = cursor.c_string();
  const std::size_t count = cursor.u16();
  parse.parameter_types = cursor.bytes(count * 4);
  if (!cursor.ok_and_empty()) return std::nullopt;
  return parse;
}

std::optional<std::string_view> decode_query(Bytes body) {
  Cursor cursor(body);
  const std::string_view text = cursor.c_string();
  if (!cursor.ok_and_empty()) return std::nullopt;
  return text;
}

std::optional<BindNames> decode_bind_names(Bytes body) {
  Cursor cursor(body);
  BindNames names;
  names.portal = cursor.c_string();
  names.statement = cursor.c_string();
  if (!cursor.ok()) return std::nullopt;
  names.rest = cursor.rest();
  return names;
}

std::optional<std::vector<std::string_view>> decode_values(Bytes rest) {
  constexpr std::uint32_t null = 0xffffffff;
  Cursor cursor(rest);
  const std::size_t format_count = cursor.u16();
  cursor.bytes(format_count * 2);
  std::vector<std::string_view> values;
  for (std::size_t left = cursor.u16(); left > 0 && cursor.ok(); --left) {
    const std::uint32_t length = cursor.u32();
    if (length != null) values.push_back(as_text(cursor.bytes(length)));
  }
  if (!cursor.ok()) return std::nullopt;
  return values;
}

std::optional<Target> decode_target(Bytes body) {
  Cursor cursor(body);
  Target target;
  target.kind = static_cast<char>(cursor.u8());
  target.name = cursor.c_string();
  if (!cursor.ok_and_empty() || (target.kind != 'S' && target.kind != 'P')) return std::nullopt;
  return target;
}

std::optional<TransactionStatus> decode_ready_for_query(Bytes body) {
  if (body.size() != 1) return std::nullopt;
  switch (const char status = static_cast<char>(body[0]); status) {
    case 'I':
    case 'T':
    case 'E': return static_cast<TransactionStatus>(status);
    default: return std::nullopt;
  }
}

std::optional<ParameterStatus> decode_parameter_status(Bytes body) {
  Cursor cursor(body);
  ParameterStatus status;
  status.name = cursor.c_string();
  status.value = cursor.c_string();
  if (!cursor.ok_and_empty() || status.name.empty()) return std::nullopt;
  return status;
}

std::optional<BackendKey> decode_backend_key(Bytes body) {
  Cursor cursor(body);
  BackendKey key;
  key.pid = cursor.u32();
  key.secret = cursor.rest();
  if (!cursor.ok() || key.secret.size() < 4 || key.secret.size() > 256) return std::nullopt;
  return key;
}

std::optional<ErrorFields> decode_error(Bytes body) {
  Cursor cursor(body);
  ErrorFields fields;
  std::string_view localised;
  while (const char kind = static_cast<char>(cursor.u8())) {
    const std::string_view value = cursor.c_string();
    switch (kind) {
      case 'S': localised = value; break;
      case 'V': fields.severity = value; break;
      case 'C': fields.sqlstate = value; break;
      case 'M': fields.message = value; break;
      case 'D': fields.detail = value; break;
      case 'H': fields.hint = value; break;
      case 'R': fields.routine = value; break;
      default: break;  // 55.8: frontends should silently ignore fields of unrecognized type
    }
  }
  if (!cursor.ok_and_empty()) return std::nullopt;
  if (fields.severity.empty()) fields.severity = localised;
  return fields;
}

}  // namespace pgproxy::wire
