#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pgproxy/base/bytes.hpp"
#include "pgproxy/base/result.hpp"
#include "pgproxy/wire/message.hpp"
#include "pgproxy/wire/startup.hpp"

// Writers of messages; all append to `out`. Names as in PostgreSQL docs 55.7.
namespace pgproxy::wire {

void put_u16(std::string& out, std::uint16_t value);
void put_u32(std::string& out, std::uint32_t value);
void put_c_string(std::string& out, std::string_view value);

/// Opens a typed message; its length is filled in when the object is destroyed.
class MessageWriter {
 public:
  MessageWriter(std::string& out, char type);
  ~MessageWriter();
  MessageWriter(const MessageWriter&) = delete;
  MessageWriter& operator=(const MessageWriter&) = delete;

 private:
  std::string& out_;
  std::size_t length_at_;
};

/// A message whose body is `body`.
void put_message(std::string& out, char type, std::string_view body = {});

// Server to client.
enum class Severity { error, fatal, notice };
/// ErrorResponse, or NoticeResponse for Severity::notice; fields S, V, C, M and, where set, D and
/// H.
void put_error(std::string& out, Severity severity, const Error& error);
void put_ready_for_query(std::string& out, TransactionStatus status);
void put_parameter_status(std::string& out, std::string_view name, std::string_view value);
void put_backend_key(std::string& out, std::uint32_t pid, std::uint32_t secret);
void put_negotiate_protocol(std::string& out, const std::vector<std::string>& unknown_options);
/// Authentication* with `code` (0 Ok, 3 cleartext, 5 md5, 10 SASL, 11 continue, 12 final).
void put_authentication(std::string& out, std::uint32_t code, std::string_view payload = {});
void put_command_complete(std::string& out, std::string_view tag);

// Client to server.
void put_startup(std::string& out, std::string_view user, std::string_view database,
                 const NameValues& settings);
void put_ssl_request(std::string& out);
void put_cancel_request(std::string& out, std::uint32_t pid, Bytes secret);
void put_query(std::string& out, std::string_view text);
/// Describe or Close (`type` 'D' or 'C') of a statement or portal (`kind` 'S' or 'P').
void put_target(std::string& out, char type, char kind, std::string_view name);

/// A literal that is safe whatever standard_conforming_strings says: E'…' with quotes and
/// backslashes doubled.
std::string quote_literal(std::string_view value);
/// A "quoted" identifier.
std::string quote_identifier(std::string_view name);

}  // namespace pgproxy::wire
