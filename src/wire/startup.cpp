#include "pgproxy/wire/startup.hpp"

#include <algorithm>
#include <cctype>

#include "pgproxy/base/text.hpp"
#include "pgproxy/wire/message.hpp"

namespace pgproxy::wire {
namespace {

std::unexpected<Error> violation(std::string message) {
  return std::unexpected(Error{.sqlstate = "08P01", .message = std::move(message)});
}

/// What says who connects where: as the name of a setting it would be taken for that when the
/// setting is sent on in a startup packet.
bool is_reserved(std::string_view name) {
  return name == "user" || name == "database" || name == "replication" || name == "options" ||
         name.starts_with("_pq_.");
}

/// The last value of a name wins, as in PostgreSQL. `name` is in lower case.
Result<void> set(NameValues& settings, std::string name, std::string value) {
  if (is_reserved(name)) {
    return std::unexpected(Error{
        .sqlstate = "42704", .message = "unrecognized configuration parameter \"" + name + "\""});
  }
  const auto at = std::ranges::find(settings, name, &NameValues::value_type::first);
  if (at != settings.end()) settings.erase(at);
  settings.emplace_back(std::move(name), std::move(value));
  return {};
}

/// Words separated by white space; a backslash takes the next character as it is.
std::vector<std::string> split_options(std::string_view options) {
  std::vector<std::string> words;
  for (std::size_t i = 0; i < options.size();) {
    if (std::isspace(static_cast<unsigned char>(options[i])) != 0) {
      ++i;
      continue;
    }
    std::string word;
    for (; i < options.size() && std::isspace(static_cast<unsigned char>(options[i])) == 0; ++i) {
      if (options[i] == '\\') {
        ++i;
        if (i == options.size()) break;  // nothing to take: the backslash is dropped
      }
      word += options[i];
    }
    words.push_back(std::move(word));
  }
  return words;
}

Result<void> set_from_option(std::string_view word, NameValues& settings) {
  const std::size_t equals = word.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    return std::unexpected(Error{.sqlstate = "42601",
                                 .message = "startup option -c " + std::string(word) +
                                            " requires a value: want name=value"});
  }
  // PostgreSQL's ParseLongOption: a dash in the name stands for an underscore.
  std::string name = lower_case(word.substr(0, equals));
  std::ranges::replace(name, '-', '_');
  return set(settings, std::move(name), std::string(word.substr(equals + 1)));
}

}  // namespace

Result<std::optional<StartupHeader>> parse_startup_header(Bytes bytes) {
  if (bytes.size() < 8) return std::nullopt;
  StartupHeader header{.length = load_u32(bytes.data()), .code = load_u32(bytes.data() + 4)};
  if (header.length < 8 || header.length > max_startup_bytes) {
    return violation("invalid length of startup packet");
  }
  switch (header.code) {
    case cancel_request_code: header.kind = StartupKind::cancel_request; break;
    case ssl_request_code: header.kind = StartupKind::ssl_request; break;
    case gssenc_request_code: header.kind = StartupKind::gssenc_request; break;
    default: header.kind = StartupKind::startup; break;
  }
  const bool is_request =
      header.kind == StartupKind::ssl_request || header.kind == StartupKind::gssenc_request;
  if (is_request && header.length != 8) return violation("invalid length of startup packet");
  return header;
}

Result<void> parse_options(std::string_view options, NameValues& settings) {
  const std::vector<std::string> words = split_options(options);
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string_view word = words[i];
    if (word == "-c" && i + 1 < words.size()) {
      word = words[++i];
    } else if (word.starts_with("-c") && word.size() > 2) {
      word.remove_prefix(2);
    } else if (word.starts_with("--") && word.size() > 2) {
      word.remove_prefix(2);
    } else {
      return std::unexpected(
          Error{.sqlstate = "0A000",
                .message = "unsupported startup option \"" + std::string(word) + "\"",
                .detail = "The options parameter may hold -c name=value and --name=value.",
                .hint = "Give the setting as -c name=value."});
    }
    if (auto done = set_from_option(word, settings); !done) return done;
  }
  return {};
}

Result<StartupMessage> decode_startup(Bytes packet) {
  if (packet.size() < 9 || packet.back() != 0) {
    return violation("invalid startup packet layout: expected terminator as last byte");
  }
  StartupMessage message{.protocol = load_u32(packet.data() + 4)};
  if (message.protocol >> 16 != 3) {
    return std::unexpected(Error{
        .sqlstate = "0A000",
        .message = "unsupported frontend protocol " + std::to_string(message.protocol >> 16) + "." +
                   std::to_string(message.protocol & 0xffff) + ": server supports 3.0 to 3.0"});
  }
  Cursor cursor(packet.subspan(8));
  std::string options;
  NameValues direct;
  while (true) {
    const std::string_view name = cursor.c_string();
    if (name.empty()) break;
    std::string value(cursor.c_string());
    if (!cursor.ok()) break;
    if (name == "user") {
      message.user = std::move(value);
    } else if (name == "database") {
      message.database = std::move(value);
    } else if (name == "replication") {
      message.replication = std::move(value);
    } else if (name == "options") {
      options = std::move(value);
    } else if (name.starts_with("_pq_.")) {
      message.unknown_options.emplace_back(name);
    } else {
      direct.emplace_back(lower_case(name), std::move(value));
    }
  }
  if (!cursor.ok_and_empty()) {
    return violation("invalid startup packet layout: expected terminator as last byte");
  }
  if (message.user.empty()) {
    return std::unexpected(Error{.sqlstate = "28000",
                                 .message = "no PostgreSQL user name specified in startup packet"});
  }
  if (message.database.empty()) message.database = message.user;
  // As in PostgreSQL's process_startup_options: the command line first, then the other settings.
  if (auto parsed = parse_options(options, message.settings); !parsed) {
    return std::unexpected(parsed.error());
  }
  for (auto& [name, value] : direct) {
    if (auto done = set(message.settings, name, std::move(value)); !done) {
      return std::unexpected(done.error());
    }
  }
  return message;
}

std::optional<CancelKey> decode_cancel(Bytes packet) {
  // Length, code and pid; then 4 bytes of secret in protocol 3.0, up to 256 in 3.2.
  if (packet.size() < 16 || packet.size() > 12 + 256) return std::nullopt;
  return CancelKey{.pid = load_u32(packet.data() + 8), .secret = packet.subspan(12)};
}

}  // namespace pgproxy::wire
