#include "session/console_values.hpp"

#include <algorithm>
#include <charconv>
#include <concepts>

#include "pgproxy/wire/encode.hpp"
#include "pgproxy/wire/message.hpp"

namespace pgproxy::session {
namespace {

// pg_type.oid
constexpr std::uint32_t bool_type = 16;
constexpr std::uint32_t name_type = 19;
constexpr std::uint32_t int8_type = 20;
constexpr std::uint32_t int2_type = 21;
constexpr std::uint32_t int4_type = 23;
constexpr std::uint32_t text_type = 25;
constexpr std::uint32_t unknown_type = 705;
constexpr std::uint32_t bpchar_type = 1042;
constexpr std::uint32_t varchar_type = 1043;
constexpr std::uint32_t numeric_type = 1700;

constexpr std::uint16_t binary = 1;
/// More parameters than this no command has a use for.
constexpr std::size_t max_parameter = 1000;
/// Longest command: a value may stand in it many times.
constexpr std::size_t max_text_bytes = 256 * 1024;

bool is_text(std::uint32_t type) {
  return type == text_type || type == varchar_type || type == name_type || type == unknown_type ||
         type == bpchar_type || type == 0;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Calls `plain` with what is not a parameter and `parameter` with the number of each that is.
template <class Plain, class Parameter>
void scan(std::string_view text, Plain plain, Parameter parameter) {
  char quote = 0;  // of what we are in
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (quote == 0 && c == '$' && at + 1 < text.size() && is_digit(text[at + 1])) {
      std::size_t number = 0;
      const auto end = std::from_chars(text.data() + at + 1, text.data() + text.size(), number);
      if (end.ec != std::errc()) number = max_parameter + 1;
      parameter(number);
      at = static_cast<std::size_t>(end.ptr - text.data());
      continue;
    }
    if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;  // a doubled one opens it again at once
    }
    plain(c);
    ++at;
  }
}

/// As a plain word where that is the same, so that commands which take only words take it too.
std::string literal(const std::optional<std::string>& value) {
  if (!value) return "NULL";
  constexpr std::string_view plain = "0123456789abcdefghijklmnopqrstuvwxyz_";
  const bool is_plain =
      !value->empty() && *value != "null" && value->find_first_not_of(plain) == std::string::npos;
  if (is_plain) return *value;
  std::string quoted = "'";
  for (const char c : *value) {
    if (c == '\'') quoted += c;
    quoted += c;
  }
  return quoted + "'";
}

std::uint64_t load_big_endian(Bytes bytes) {
  std::uint64_t value = 0;
  for (const std::uint8_t byte : bytes) value = value << 8 | byte;
  return value;
}

template <std::integral Number>
Result<std::string> read_binary_integer(Bytes value) {
  if (value.size() != sizeof(Number)) {
    return std::unexpected(
        Error{.sqlstate = "22P03", .message = "incorrect binary data format in bind parameter"});
  }
  return std::to_string(static_cast<Number>(load_big_endian(value)));
}

template <std::integral Number>
Result<void> put_binary_integer(std::string& out, std::string_view text) {
  Number number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size()) {
    return std::unexpected(
        Error{.sqlstate = "22003",
              .message = "value \"" + std::string(text) + "\" is out of range for its type",
              .hint = "Ask for the result in text format."});
  }
  for (int shift = 8 * (static_cast<int>(sizeof(Number)) - 1); shift >= 0; shift -= 8) {
    out += static_cast<char>(static_cast<std::make_unsigned_t<Number>>(number) >> shift & 0xff);
  }
  return {};
}

/// numeric_send's form of a whole number: count of digits to the base 10000, weight of the first,
/// sign, scale, the digits (PostgreSQL: src/backend/utils/adt/numeric.c).
Result<void> put_binary_numeric(std::string& out, std::string_view text) {
  std::uint64_t number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size()) {
    return std::unexpected(Error{.sqlstate = "0A000",
                                 .message = "no binary format for \"" + std::string(text) + "\"",
                                 .hint = "Ask for the result in text format."});
  }
  std::vector<std::uint16_t> digits;  // the lowest first
  for (; number > 0; number /= 10'000)
    digits.push_back(static_cast<std::uint16_t>(number % 10'000));
  wire::put_u16(out, static_cast<std::uint16_t>(digits.size()));
  wire::put_u16(out, static_cast<std::uint16_t>(digits.empty() ? 0 : digits.size() - 1));
  wire::put_u16(out, 0);
  wire::put_u16(out, 0);
  for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit) wire::put_u16(out, *digit);
  return {};
}

Result<void> put_binary(std::string& out, std::uint32_t type, std::string_view text) {
  switch (type) {
    case int4_type: return put_binary_integer<std::int32_t>(out, text);
    case int8_type: return put_binary_integer<std::int64_t>(out, text);
    case numeric_type: return put_binary_numeric(out, text);
    case text_type: out += text; return {};
    default:
      return std::unexpected(
          Error{.sqlstate = "0A000",
                .message = "the console has no binary format for type " + std::to_string(type),
                .hint = "Ask for the result in text format."});
  }
}

}  // namespace

std::size_t count_parameters(std::string_view text) {
  std::size_t largest = 0;
  scan(text, [](char) {}, [&](std::size_t number) { largest = std::max(largest, number); });
  return largest;
}

Result<std::string> put_parameters(std::string_view text,
                                   const std::vector<std::optional<std::string>>& values) {
  std::string out;
  scan(
      text, [&](char c) { out += c; },
      [&](std::size_t number) {
        if (out.size() > max_text_bytes) return;
        const bool is_known = number > 0 && number <= values.size();
        out += is_known ? literal(values[number - 1]) : "$" + std::to_string(number);
      });
  if (out.size() > max_text_bytes) {
    return std::unexpected(
        Error{.sqlstate = "54000", .message = "the command is too long with its parameters"});
  }
  return out;
}

Result<std::string> read_parameter(std::uint32_t type, std::uint16_t format, Bytes value) {
  if (as_text(value).contains('\0') && (format != binary || is_text(type))) {
    return std::unexpected(
        Error{.sqlstate = "22021", .message = "invalid byte sequence: 0x00 in a text"});
  }
  if (format != binary || is_text(type)) return std::string(as_text(value));
  switch (type) {
    case int2_type: return read_binary_integer<std::int16_t>(value);
    case int4_type: return read_binary_integer<std::int32_t>(value);
    case int8_type: return read_binary_integer<std::int64_t>(value);
    case bool_type:
      if (value.size() == 1) return value[0] != 0 ? "1" : "0";
      break;
    default: break;
  }
  return std::unexpected(Error{.sqlstate = "0A000",
                               .message = "the console reads no parameter of type " +
                                          std::to_string(type) + " in binary format",
                               .hint = "Send it as text."});
}

Result<ResultColumns> read_columns(Bytes body, const std::vector<std::uint16_t>& formats) {
  wire::Cursor cursor(body);
  const std::size_t count = cursor.u16();
  if (formats.size() > 1 && formats.size() != count) {
    return std::unexpected(Error{.sqlstate = "08P01",
                                 .message = "bind message has " + std::to_string(formats.size()) +
                                            " result formats but query has " +
                                            std::to_string(count) + " columns"});
  }
  ResultColumns columns;
  for (std::size_t at = 0; at < count; ++at) {
    cursor.c_string();
    cursor.bytes(6);  // table and attribute
    const std::uint32_t type = cursor.u32();
    cursor.bytes(8);  // size, modifier, format
    const std::uint16_t format = formats.empty()       ? std::uint16_t{0}
                                 : formats.size() == 1 ? formats[0]
                                                       : formats[at];
    columns.types.push_back(type);
    columns.formats.push_back(format);
  }
  return columns;
}

std::string with_formats(Bytes body, const ResultColumns& columns) {
  wire::Cursor cursor(body);
  cursor.u16();
  std::string changed;
  wire::put_u16(changed, static_cast<std::uint16_t>(columns.formats.size()));
  for (const std::uint16_t format : columns.formats) {
    wire::put_c_string(changed, cursor.c_string());
    changed += as_text(cursor.bytes(16));
    cursor.u16();
    wire::put_u16(changed, format);
  }
  std::string out;
  wire::put_message(out, 'T', changed);
  return out;
}

Result<std::string> make_row(Bytes body, const ResultColumns& columns) {
  constexpr std::uint32_t null_length = 0xffffffff;
  wire::Cursor cursor(body);
  std::string values;
  const std::size_t count = cursor.u16();
  wire::put_u16(values, static_cast<std::uint16_t>(count));
  for (std::size_t at = 0; at < count; ++at) {
    const std::uint32_t length = cursor.u32();
    if (length == null_length) {
      wire::put_u32(values, null_length);
      continue;
    }
    const std::string_view text = as_text(cursor.bytes(length));
    std::string value;
    if (columns.formats.at(at) == binary) {
      if (auto put = put_binary(value, columns.types.at(at), text); !put) {
        return std::unexpected(put.error());
      }
    } else {
      value = text;
    }
    wire::put_u32(values, static_cast<std::uint32_t>(value.size()));
    values += value;
  }
  std::string out;
  wire::put_message(out, 'D', values);
  return out;
}

}  // namespace pgproxy::session
