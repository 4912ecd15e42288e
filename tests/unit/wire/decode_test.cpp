#include "pgproxy/wire/decode.hpp"

#include <doctest/doctest.h>
#include <string>

using namespace pgproxy;
using namespace pgproxy::wire;
using namespace std::literals;

TEST_CASE("Parse: names, text and parameter types; anything short or left over is malformed") {
  const auto body = "s1\0select $1\0\0\x01\0\0\0\x17"sv;
  const auto parse = decode_parse(as_bytes(body));
  REQUIRE(parse);
  CHECK(parse->statement == "s1");
  CHECK(parse->query == "select $1");
  CHECK(parse->parameter_types.size() == 4);
  for (std::size_t i = 0; i < body.size(); ++i)
    CHECK_FALSE(decode_parse(as_bytes(body.substr(0, i))));
  CHECK_FALSE(decode_parse(as_bytes(std::string(body) + "x")));
  CHECK_FALSE(decode_parse(as_bytes("s1\0select $1\0\xff\xff\0\0\0\x17"sv)));
}

TEST_CASE("Query: one string and nothing else") {
  CHECK(decode_query(as_bytes("select 1\0"sv)) == "select 1");
  CHECK(decode_query(as_bytes("\0"sv)) == "");
  CHECK_FALSE(decode_query(as_bytes("select 1"sv)));
  CHECK_FALSE(decode_query(as_bytes("select 1\0;"sv)));
  CHECK_FALSE(decode_query(Bytes{}));
}

TEST_CASE("Bind: the names in front, whatever follows") {
  const auto names = decode_bind_names(as_bytes("p\0s\0\0\0\0\0\0\0"sv));
  REQUIRE(names);
  CHECK(names->portal == "p");
  CHECK(names->statement == "s");
  CHECK_FALSE(decode_bind_names(as_bytes("p\0s"sv)));
  CHECK_FALSE(decode_bind_names(as_bytes("p\0"sv)));
}

TEST_CASE("Bind: the values behind the names, without NULLs") {
  const auto values = [](std::string_view rest) { return decode_values(as_bytes(rest)); };
  using Values = std::vector<std::string_view>;
  const auto body = "p\0s\0\0\1\0\0\0\3\0\0\0\2ab\xff\xff\xff\xff\0\0\0\0\0\0"sv;
  CHECK(decode_values(decode_bind_names(as_bytes(body))->rest) == Values{"ab", ""});
  CHECK(values("\0\0\0\0"sv) == Values{});
  CHECK_FALSE(values(""sv));
  CHECK_FALSE(values("\0\2\0\0"sv));
  CHECK_FALSE(values("\0\0\0\1\0\0\0\2a"sv));
  CHECK_FALSE(values("\0\0\0\2\0\0\0\1a"sv));
}

TEST_CASE("Describe and Close: a target, a terminated name, and no more") {
  CHECK(decode_target(as_bytes("Sfoo\0"sv))->name == "foo");
  CHECK(decode_target(as_bytes("P\0"sv))->kind == 'P');
  CHECK_FALSE(decode_target(as_bytes("Sfoo"sv)));
  CHECK_FALSE(decode_target(as_bytes("Sfoo\0x"sv)));
  CHECK_FALSE(decode_target(as_bytes("Xfoo\0"sv)));
  CHECK_FALSE(decode_target(Bytes{}));
}

TEST_CASE("ReadyForQuery: exactly one of the three statuses") {
  CHECK(decode_ready_for_query(as_bytes("I"sv)) == TransactionStatus::idle);
  CHECK(decode_ready_for_query(as_bytes("T"sv)) == TransactionStatus::in_transaction);
  CHECK(decode_ready_for_query(as_bytes("E"sv)) == TransactionStatus::failed);
  CHECK_FALSE(decode_ready_for_query(as_bytes("X"sv)));
  CHECK_FALSE(decode_ready_for_query(as_bytes("II"sv)));
  CHECK_FALSE(decode_ready_for_query(Bytes{}));
}

TEST_CASE("ParameterStatus: a name and a value, which may be empty") {
  const auto status = decode_parameter_status(as_bytes("TimeZone\0UTC\0"sv));
  REQUIRE(status);
  CHECK(status->name == "TimeZone");
  CHECK(status->value == "UTC");
  CHECK(decode_parameter_status(as_bytes("application_name\0\0"sv))->value.empty());
  CHECK_FALSE(decode_parameter_status(as_bytes("TimeZone\0UTC"sv)));
  CHECK_FALSE(decode_parameter_status(as_bytes("TimeZone\0"sv)));
  CHECK_FALSE(decode_parameter_status(as_bytes("\0UTC\0"sv)));
  CHECK_FALSE(decode_parameter_status(as_bytes("TimeZone\0UTC\0x"sv)));
}

TEST_CASE("BackendKeyData: a secret of 4 to 256 bytes") {
  const auto key = decode_backend_key(as_bytes("\0\0\x01\x02wxyz"sv));
  REQUIRE(key);
  CHECK(key->pid == 258);
  CHECK(as_text(key->secret) == "wxyz");
  CHECK(decode_backend_key(as_bytes("\0\0\x01\x02"s + std::string(256, 'k'))));
  CHECK_FALSE(decode_backend_key(as_bytes("\0\0\x01\x02"s + std::string(257, 'k'))));
  CHECK_FALSE(decode_backend_key(as_bytes("\0\0\x01\x02xyz"sv)));
  CHECK_FALSE(decode_backend_key(as_bytes("\0\0\x01"sv)));
}

TEST_CASE("ErrorResponse: known fields are found, unknown ones skipped") {
  const auto error = decode_error(
      as_bytes("SFEHLER\0VERROR\0C0A000\0Mcached plan\0Zwhat\0Ddetail\0Hhint\0RRevalidate\0\0"sv));
  REQUIRE(error);
  CHECK(error->severity == "ERROR");
  CHECK(error->sqlstate == "0A000");
  CHECK(error->message == "cached plan");
  CHECK(error->detail == "detail");
  CHECK(error->hint == "hint");
  CHECK(error->routine == "Revalidate");
  CHECK_FALSE(error->is_fatal());
}

TEST_CASE("ErrorResponse: severity falls back to the localised one; PANIC is fatal too") {
  CHECK(decode_error(as_bytes("SFATAL\0\0"sv))->is_fatal());
  CHECK(decode_error(as_bytes("SPANIK\0VPANIC\0\0"sv))->is_fatal());
}

TEST_CASE("ErrorResponse without fields is odd but legal; without its end it is malformed") {
  const auto error = decode_error(as_bytes("\0"sv));
  REQUIRE(error);
  CHECK(error->message.empty());
  CHECK_FALSE(error->is_fatal());
  CHECK_FALSE(decode_error(Bytes{}));
  CHECK_FALSE(decode_error(as_bytes("SERROR\0"sv)));
  CHECK_FALSE(decode_error(as_bytes("SERROR"sv)));
  CHECK_FALSE(decode_error(as_bytes("SERROR\0\0x"sv)));
}
