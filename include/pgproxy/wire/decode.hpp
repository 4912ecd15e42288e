#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "pgproxy/wire/message.hpp"

// Decoders of message bodies (PostgreSQL docs 55.7). All return views into the body, valid only
// while it is, and nullopt for malformed input.
namespace pgproxy::wire {

/// Statement and query text of a Parse.
struct Parse {
  std::string_view statement;
  std::string_view query;
  Bytes parameter_types;  ///< Int32 each
};
std::optional<Parse> decode_parse(Bytes body);

/// The text of a Query.
std::optional<std::string_view> decode_query(Bytes body);

/// The names at the front of a Bind; the parameters behind them are the server's to check.
struct BindNames {
  std::string_view portal;
  std::string_view statement;
  Bytes rest;
};
std::optional<BindNames> decode_bind_names(Bytes body);

/// The values that stand behind the names in a Bind, or behind the function's number in a
/// FunctionCall; NULLs are left out.
std::optional<std::vector<std::string_view>> decode_values(Bytes rest);

/// Describe or Close: target 'S' (statement) or 'P' (portal).
struct Target {
  char kind = 0;
  std::string_view name;
};
std::optional<Target> decode_target(Bytes body);

std::optional<TransactionStatus> decode_ready_for_query(Bytes body);

struct ParameterStatus {
  std::string_view name;
  std::string_view value;
};
std::optional<ParameterStatus> decode_parameter_status(Bytes body);

struct BackendKey {
  std::uint32_t pid = 0;
  Bytes secret;  ///< 4 bytes in protocol 3.0, up to 256 in 3.2
};
std::optional<BackendKey> decode_backend_key(Bytes body);

/// The fields of an ErrorResponse or NoticeResponse that we look at (55.8).
struct ErrorFields {
  std::string_view severity;  ///< not localised ('V'), else 'S'
  std::string_view sqlstate;
  std::string_view message;
  std::string_view detail;
  std::string_view hint;
  std::string_view routine;
  bool is_fatal() const { return severity == "FATAL" || severity == "PANIC"; }
};
std::optional<ErrorFields> decode_error(Bytes body);

}  // namespace pgproxy::wire
