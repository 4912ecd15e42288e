#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pgproxy/base/bytes.hpp"
#include "pgproxy/base/result.hpp"

// The untyped packets that open a connection (PostgreSQL docs 55.2.1 "Start-up", 55.7).
namespace pgproxy::wire {

inline constexpr std::uint32_t protocol_3_0 = 0x00030000;
inline constexpr std::uint32_t cancel_request_code = 80877102;
inline constexpr std::uint32_t ssl_request_code = 80877103;
inline constexpr std::uint32_t gssenc_request_code = 80877104;
/// PostgreSQL's MAX_STARTUP_PACKET_LENGTH, which does not count the length word, and that.
inline constexpr std::uint32_t max_startup_bytes = 10004;

enum class StartupKind { ssl_request, gssenc_request, cancel_request, startup };

/// The front of a startup packet; nullopt while fewer than 8 bytes are there.
/// `length` includes itself. A length out of range comes back as an Error (08P01).
struct StartupHeader {
  StartupKind kind = StartupKind::startup;
  std::uint32_t length = 0;
  std::uint32_t code = 0;
};
Result<std::optional<StartupHeader>> parse_startup_header(Bytes bytes);

using NameValues = std::vector<std::pair<std::string, std::string>>;

/// A decoded StartupMessage.
struct StartupMessage {
  std::uint32_t protocol = protocol_3_0;
  std::string user;
  std::string database;  ///< the user's name when the client gave none
  std::string replication;
  /// Everything else the client set, `options` taken apart; names in lower case, order kept, the
  /// last value of a name only.
  NameValues settings;
  std::vector<std::string> unknown_options;  ///< `_pq_.*` names, for NegotiateProtocolVersion
};
/// Decodes what follows the length word's code: `packet` is the whole packet.
Result<StartupMessage> decode_startup(Bytes packet);

/// Takes apart `-c name=value`, `-cname=value`, `--name=value`, with backslash escapes as in
/// PostgreSQL's pg_split_opts; appends to `settings`.
Result<void> parse_options(std::string_view options, NameValues& settings);

/// pid and secret of a CancelRequest; nullopt when the length is not 3.0's or 3.2's.
struct CancelKey {
  std::uint32_t pid = 0;
  Bytes secret;
};
std::optional<CancelKey> decode_cancel(Bytes packet);

}  // namespace pgproxy::wire
