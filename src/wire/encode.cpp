#include "pgproxy/wire/encode.hpp"

namespace pgproxy::wire {

void put_u16(std::string& out, std::uint16_t value) {
  const char bytes[] = {static_cast<char>(value >> 8), static_cast<char>(value)};
  out.append(bytes, sizeof bytes);
}

void put_u32(std::string& out, std::uint32_t value) {
  const char bytes[] = {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
                        static_cast<char>(value >> 8), static_cast<char>(value)};
  out.append(bytes, sizeof bytes);
}

void put_c_string(std::string& out, std::string_view value) {
  out += value;
  out += '\0';
}

MessageWriter::MessageWriter(std::string& out, char type) : out_(out) {
  out_ += type;
  length_at_ = out_.size();
  put_u32(out_, 0);
}

MessageWriter::~MessageWriter() {
  const auto length = static_cast<std::uint32_t>(out_.size() - length_at_);
  for (int i = 0; i < 4; ++i) {
    out_[length_at_ + static_cast<std::size_t>(i)] = static_cast<char>(length >> (24 - 8 * i));
  }
}

void put_message(std::string& out, char type, std::string_view body) {
  const MessageWriter writer(out, type);
  out += body;
}

void put_error(std::string& out, Severity severity, const Error& error) {
  const MessageWriter writer(out, severity == Severity::notice ? 'N' : 'E');
  const auto field = [&out](char kind, std::string_view value) {
    if (value.empty()) return;
    out += kind;
    put_c_string(out, value);
  };
  const std::string_view word = severity == Severity::notice  ? "NOTICE"
                                : severity == Severity::fatal ? "FATAL"
                                                              : "ERROR";
  field('S', word);
  field('V', word);
  field('C', error.sqlstate.empty() ? "XX000" : error.sqlstate);
  field('M', error.message);
  field('D', error.detail);
  field('H', error.hint);
  field('R', error.routine);
  out += '\0';
}

void put_ready_for_query(std::string& out, TransactionStatus status) {
  const char body = static_cast<char>(status);
  put_message(out, 'Z', {&body, 1});
}

void put_parameter_status(std::string& out, std::string_view name, std::string_view value) {
  const MessageWriter writer(out, 'S');
  put_c_string(out, name);
  put_c_string(out, value);
}

void put_backend_key(std::string& out, std::uint32_t pid, std::uint32_t secret) {
  const MessageWriter writer(out, 'K');
  put_u32(out, pid);
  put_u32(out, secret);
}

void put_negotiate_protocol(std::string& out, const std::vector<std::string>& unknown_options) {
  const MessageWriter writer(out, 'v');
  put_u32(out, protocol_3_0);
  put_u32(out, static_cast<std::uint32_t>(unknown_options.size()));
  for (const std::string& name : unknown_options) put_c_string(out, name);
}

void put_authentication(std::string& out, std::uint32_t code, std::string_view payload) {
  const MessageWriter writer(out, 'R');
  put_u32(out, code);
  out += payload;
}

void put_command_complete(std::string& out, std::string_view tag) {
  const MessageWriter writer(out, 'C');
  put_c_string(out, tag);
}

void put_startup(std::string& out, std::string_view user, std::string_view database,
                 const NameValues& settings) {
  std::string body;
  put_u32(body, protocol_3_0);
  const auto pair = [&body](std::string_view name, std::string_view value) {
    put_c_string(body, name);
    put_c_string(body, value);
  };
  pair("user", user);
  pair("database", database);
  for (const auto& [name, value] : settings) pair(name, value);
  body += '\0';
  put_u32(out, static_cast<std::uint32_t>(body.size() + 4));
  out += body;
}

void put_ssl_request(std::string& out) {
  put_u32(out, 8);
  put_u32(out, ssl_request_code);
}

void put_cancel_request(std::string& out, std::uint32_t pid, Bytes secret) {
  put_u32(out, static_cast<std::uint32_t>(12 + secret.size()));
  put_u32(out, cancel_request_code);
  put_u32(out, pid);
  out += as_text(secret);
}

void put_target(std::string& out, char type, char kind, std::string_view name) {
  const MessageWriter message(out, type);
  out += kind;
  put_c_string(out, name);
}

void put_query(std::string& out, std::string_view text) {
  const MessageWriter writer(out, 'Q');
  put_c_string(out, text);
}

std::string quote_literal(std::string_view value) {
  std::string out = "E'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') out += c;
    out += c;
  }
  return out + "'";
}

std::string quote_identifier(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    if (c == '"') out += c;
    out += c;
  }
  return out + "\"";
}

}  // namespace pgproxy::wire
