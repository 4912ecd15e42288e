#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "pgproxy/base/bytes.hpp"

namespace pgproxy::wire {

/// Type byte and length word (PostgreSQL docs 55.1.1, "Messaging Overview").
inline constexpr std::size_t header_bytes = 5;

/// Largest message body: PostgreSQL builds its messages in memory of at most MaxAllocSize and puts
/// the length word, which counts itself, in front.
inline constexpr std::uint32_t max_body_bytes = 0x3fffffff;

/// Header of a typed message.
struct Header {
  char type = 0;
  std::uint32_t body_bytes = 0;  ///< without the five bytes of the header
  std::size_t total_bytes() const { return header_bytes + body_bytes; }
};

/// Big-endian, as everything in the protocol; `bytes` holds at least 4 (2).
inline std::uint32_t load_u32(const std::uint8_t* bytes) {
  return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 |
         std::uint32_t{bytes[2]} << 8 | std::uint32_t{bytes[3]};
}
inline std::uint16_t load_u16(const std::uint8_t* bytes) {
  return static_cast<std::uint16_t>(bytes[0] << 8 | bytes[1]);
}

enum class HeaderStatus { complete, incomplete, malformed };

/// Reads the header at the front of `bytes`. incomplete: fewer than five bytes; malformed: a length
/// below 4 or above what PostgreSQL can send.
inline HeaderStatus parse_header(Bytes bytes, Header& header) {
  if (bytes.size() < header_bytes) return HeaderStatus::incomplete;
  const std::uint32_t length = load_u32(bytes.data() + 1);
  if (length < 4 || length - 4 > max_body_bytes) return HeaderStatus::malformed;
  header = {static_cast<char>(bytes[0]), length - 4};
  return HeaderStatus::complete;
}

/// ReadyForQuery's transaction status (55.7).
enum class TransactionStatus : char { idle = 'I', in_transaction = 'T', failed = 'E' };

/// Reads a message body front to back. A read past the end, or an unterminated string, yields zero
/// or empty and makes ok() false for good: read all fields, ask once.
class Cursor {
 public:
  explicit Cursor(Bytes body) : rest_(body) {}

  std::uint8_t u8() { return take(1) ? taken_[0] : std::uint8_t{0}; }
  std::uint16_t u16() { return take(2) ? load_u16(taken_) : std::uint16_t{0}; }
  std::uint32_t u32() { return take(4) ? load_u32(taken_) : 0; }
  Bytes bytes(std::size_t count) { return take(count) ? Bytes{taken_, count} : Bytes{}; }
  /// Up to and without the next NUL.
  std::string_view c_string();

  bool ok() const { return ok_; }
  bool ok_and_empty() const { return ok_ && rest_.empty(); }
  Bytes rest() const { return rest_; }

 private:
  bool take(std::size_t count);

  Bytes rest_;
  const std::uint8_t* taken_ = nullptr;
  bool ok_ = true;
};

}  // namespace pgproxy::wire
