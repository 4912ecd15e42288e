#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// PostgreSQL's frontend messages (docs 55.7), written apart from pgproxy's own codec on purpose:
// the judge shares no code with the judged.
namespace stress {

inline void put_i16(std::string& out, std::uint16_t value) {
  out += static_cast<char>(value >> 8);
  out += static_cast<char>(value);
}
inline void put_i32(std::string& out, std::uint32_t value) {
  put_i16(out, static_cast<std::uint16_t>(value >> 16));
  put_i16(out, static_cast<std::uint16_t>(value));
}
inline void put_text(std::string& out, std::string_view text) {
  out += text;
  out += '\0';
}
inline std::uint16_t get_i16(std::string_view in) {
  return static_cast<std::uint16_t>(static_cast<unsigned char>(in[0]) << 8 |
                                    static_cast<unsigned char>(in[1]));
}
inline std::uint32_t get_i32(std::string_view in) {
  return static_cast<std::uint32_t>(get_i16(in)) << 16 | get_i16(in.substr(2));
}

inline std::string frame(char tag, std::string_view body = {}) {
  std::string out(1, tag);
  put_i32(out, static_cast<std::uint32_t>(body.size() + 4));
  out += body;
  return out;
}

inline std::string query(std::string_view sql) {
  return frame('Q', std::string(sql) + '\0');
}

inline std::string parse(std::string_view sql, std::string_view statement = {}) {
  std::string body;
  put_text(body, statement);
  put_text(body, sql);
  put_i16(body, 0);
  return frame('P', body);
}

/// To the unnamed portal.
inline std::string bind(const std::vector<std::string>& parameters,
                        std::string_view statement = {}) {
  std::string body(1, '\0');
  put_text(body, statement);
  put_i16(body, 0);
  put_i16(body, static_cast<std::uint16_t>(parameters.size()));
  for (const std::string& parameter : parameters) {
    put_i32(body, static_cast<std::uint32_t>(parameter.size()));
    body += parameter;
  }
  put_i16(body, 0);
  return frame('B', body);
}

inline std::string describe_portal() {
  return frame('D', std::string("P\0", 2));
}

inline std::string describe_statement(std::string_view statement) {
  return frame('D', "S" + std::string(statement) + '\0');
}
inline std::string close_statement(std::string_view statement) {
  return frame('C', "S" + std::string(statement) + '\0');
}

inline std::string execute(std::uint32_t row_limit = 0) {
  std::string body(1, '\0');
  put_i32(body, row_limit);
  return frame('E', body);
}

inline std::string sync() {
  return frame('S');
}
inline std::string flush() {
  return frame('H');
}
inline std::string terminate() {
  return frame('X');
}
inline std::string copy_data(std::string_view data) {
  return frame('d', data);
}
inline std::string copy_done() {
  return frame('c');
}
inline std::string copy_fail(std::string_view why) {
  return frame('f', std::string(why) + '\0');
}

inline std::string function_call(std::uint32_t oid, const std::vector<std::string>& arguments) {
  std::string body;
  put_i32(body, oid);
  put_i16(body, 0);
  put_i16(body, static_cast<std::uint16_t>(arguments.size()));
  for (const std::string& argument : arguments) {
    put_i32(body, static_cast<std::uint32_t>(argument.size()));
    body += argument;
  }
  put_i16(body, 0);
  return frame('F', body);
}

/// `parameters` are names and values in turn.
inline std::string startup(const std::vector<std::string>& parameters) {
  std::string body;
  put_i32(body, 0x00030000);
  for (const std::string& text : parameters) put_text(body, text);
  body += '\0';
  std::string out;
  put_i32(out, static_cast<std::uint32_t>(body.size() + 4));
  return out + body;
}

inline std::string cancel_request(std::string_view pid_and_secret) {
  std::string out;
  put_i32(out, static_cast<std::uint32_t>(pid_and_secret.size() + 8));
  put_i32(out, 80877102);
  out += pid_and_secret;
  return out;
}

}  // namespace stress
