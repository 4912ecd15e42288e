#include "pgproxy/wire/startup.hpp"

#include <doctest/doctest.h>
#include <string>

#include "pgproxy/wire/encode.hpp"

using namespace pgproxy;
using namespace pgproxy::wire;
using namespace std::literals;

namespace {

/// A whole packet: length, `code`, `rest`.
std::string packet(std::uint32_t code, std::string_view rest) {
  std::string out;
  put_u32(out, static_cast<std::uint32_t>(8 + rest.size()));
  put_u32(out, code);
  return out.append(rest);
}

Result<StartupMessage> decode(std::string_view rest, std::uint32_t protocol = protocol_3_0) {
  return decode_startup(as_bytes(packet(protocol, rest)));
}

std::string sqlstate_of(std::string_view rest, std::uint32_t protocol = protocol_3_0) {
  const auto message = decode(rest, protocol);
  return message ? "" : message.error().sqlstate;
}

NameValues options(std::string_view text) {
  NameValues settings;
  REQUIRE(parse_options(text, settings));
  return settings;
}

std::string options_error(std::string_view text) {
  NameValues settings;
  const auto done = parse_options(text, settings);
  return done ? "" : done.error().sqlstate;
}

}  // namespace

TEST_CASE("the kind of a startup packet shows in its first eight bytes") {
  const auto kind = [](const std::string& bytes) {
    return (*parse_startup_header(as_bytes(bytes)))->kind;
  };
  CHECK(kind(packet(ssl_request_code, "")) == StartupKind::ssl_request);
  CHECK(kind(packet(gssenc_request_code, "")) == StartupKind::gssenc_request);
  CHECK(kind(packet(cancel_request_code, "12345678")) == StartupKind::cancel_request);
  CHECK(kind(packet(protocol_3_0, "user\0x\0\0"sv)) == StartupKind::startup);
  CHECK(kind(packet(0x00020000, "")) == StartupKind::startup);
}

TEST_CASE("seven bytes are not enough to tell") {
  const std::string bytes = packet(ssl_request_code, "");
  const auto header = parse_startup_header(as_bytes(bytes).first(7));
  REQUIRE(header);
  CHECK_FALSE(header->has_value());
}

TEST_CASE("a startup packet's length is bounded, and an encryption request's is fixed") {
  const auto with_length = [](std::uint32_t length, std::uint32_t code = protocol_3_0) {
    std::string bytes;
    put_u32(bytes, length);
    put_u32(bytes, code);
    return parse_startup_header(as_bytes(bytes)).has_value();
  };
  CHECK_FALSE(with_length(0));
  CHECK_FALSE(with_length(7));
  CHECK(with_length(8));
  CHECK(with_length(max_startup_bytes));
  CHECK_FALSE(with_length(max_startup_bytes + 1));
  CHECK_FALSE(with_length(0xffffffff));
  CHECK(with_length(8, ssl_request_code));
  CHECK_FALSE(with_length(9, ssl_request_code));
  CHECK_FALSE(with_length(12, gssenc_request_code));
}

TEST_CASE("user, database and settings are told apart; names of settings are lower-cased") {
  const auto message = decode("user\0joe\0database\0shop\0DateStyle\0ISO\0replication\0true\0\0"sv);
  REQUIRE(message);
  CHECK(message->user == "joe");
  CHECK(message->database == "shop");
  CHECK(message->replication == "true");
  CHECK(message->settings == NameValues{{"datestyle", "ISO"}});
}

TEST_CASE("the database defaults to the user's name") {
  CHECK(decode("user\0joe\0\0"sv)->database == "joe");
  CHECK(decode("user\0joe\0database\0\0\0"sv)->database == "joe");
}

TEST_CASE("the last value of a setting wins, a direct one over the options") {
  const auto message = decode(
      "options\0-c a=1 -c b=2\0user\0joe\0b\0"
      "3\0B\0"
      "4\0\0"sv);
  REQUIRE(message);
  CHECK(message->settings == NameValues{{"a", "1"}, {"b", "4"}});
}

TEST_CASE("protocol options and minor versions are kept for negotiation") {
  const auto message = decode("user\0joe\0_pq_.x\0on\0\0"sv, 0x00030002);
  REQUIRE(message);
  CHECK(message->protocol == 0x00030002);
  CHECK(message->unknown_options == std::vector<std::string>{"_pq_.x"});
  CHECK(message->settings.empty());
}

TEST_CASE("other major versions are not spoken") {
  CHECK(sqlstate_of("user\0joe\0\0"sv, 0x00020000) == "0A000");
  CHECK(sqlstate_of("user\0joe\0\0"sv, 0x00040000) == "0A000");
}

TEST_CASE("a startup packet without user, terminator or values is refused") {
  CHECK(sqlstate_of("\0"sv) == "28000");
  CHECK(sqlstate_of("user\0\0\0"sv) == "28000");
  CHECK(sqlstate_of("database\0shop\0\0"sv) == "28000");
  CHECK(sqlstate_of("") == "08P01");
  CHECK(sqlstate_of("user\0joe\0"sv) == "08P01");
  CHECK(sqlstate_of("user\0joe"sv) == "08P01");
  CHECK(sqlstate_of("user\0joe\0x\0"sv) == "08P01");
  CHECK(sqlstate_of("user\0joe\0\0junk\0"sv) == "08P01");
  CHECK(sqlstate_of("user\0joe\0\0\0"sv) == "08P01");
}

TEST_CASE("a user name that nearly fills the packet is kept whole") {
  const std::string name(9900, 'u');
  CHECK(decode("user\0"s + name + "\0\0"s)->user == name);
}

TEST_CASE("options come as -c name=value, -cname=value and --name=value") {
  CHECK(options("-c a=1 -cb=2 --c-d=3") == NameValues{{"a", "1"}, {"b", "2"}, {"c_d", "3"}});
  CHECK(options("  -c\tA.b=\n ") == NameValues{{"a.b", ""}});
  CHECK(options("-c a=b=c") == NameValues{{"a", "b=c"}});
  CHECK(options("").empty());
  CHECK(options(" \t ").empty());
}

TEST_CASE("a backslash in options takes the next character as it is") {
  CHECK(options(R"(-c search_path=a,\ b)") == NameValues{{"search_path", "a, b"}});
  CHECK(options(R"(-c a=\\x)") == NameValues{{"a", R"(\x)"}});
  CHECK(options(R"(-c a=x\)") == NameValues{{"a", "x"}});
}

TEST_CASE("options that are no settings are refused with a clear error") {
  CHECK(options_error("-c") == "0A000");
  CHECK(options_error("--") == "0A000");
  CHECK(options_error("-d 5") == "0A000");
  CHECK(options_error("geqo=off") == "0A000");
  CHECK(options_error("-c geqo") == "42601");
  CHECK(options_error("-c =off") == "42601");
  CHECK(sqlstate_of("user\0joe\0options\0-c geqo\0\0"sv) == "42601");
}

TEST_CASE("no setting may pass for the user or the database") {
  CHECK(options_error("-c user=postgres") == "42704");
  CHECK(options_error("--DATABASE=x") == "42704");
  CHECK(options_error("-c replication=on -c a=b") == "42704");
  CHECK(options_error("-c options=x") == "42704");
  CHECK(sqlstate_of("user\0joe\0USER\0postgres\0\0"sv) == "42704");
  CHECK(sqlstate_of("user\0joe\0_PQ_.x\0y\0\0"sv) == "42704");
  CHECK(sqlstate_of("user\0joe\0options\0-c user=postgres\0\0"sv) == "42704");
}

TEST_CASE("a cancel request has a secret of 4 to 256 bytes") {
  const auto cancel = [](std::size_t secret_bytes) {
    return decode_cancel(
        as_bytes(packet(cancel_request_code, "\0\0\0\x07"s + std::string(secret_bytes, 's'))));
  };
  CHECK_FALSE(cancel(3));
  CHECK(cancel(256));
  CHECK_FALSE(cancel(257));
  CHECK_FALSE(decode_cancel(Bytes{}));
}

TEST_CASE("a cancel request names pid and secret") {
  const std::string bytes = packet(cancel_request_code, "\0\0\x01\x02wxyz"sv);
  const auto key = decode_cancel(as_bytes(bytes));
  REQUIRE(key);
  CHECK(key->pid == 258);
  CHECK(as_text(key->secret) == "wxyz");
}
