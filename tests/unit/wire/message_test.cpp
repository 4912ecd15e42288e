#include "pgproxy/wire/message.hpp"

#include <doctest/doctest.h>
#include <string>

using namespace pgproxy;
using namespace pgproxy::wire;
using namespace std::literals;

TEST_CASE("a header needs five bytes, and only them") {
  Header header;
  const auto text = "Q\0\0\0\x05"sv;
  for (std::size_t i = 0; i < text.size(); ++i) {
    CHECK(parse_header(as_bytes(text.substr(0, i)), header) == HeaderStatus::incomplete);
  }
  CHECK(parse_header(as_bytes(text), header) == HeaderStatus::complete);
  CHECK(header.type == 'Q');
  CHECK(header.body_bytes == 1);
  CHECK(header.total_bytes() == 6);
}

TEST_CASE("a length that does not count itself, or above a gigabyte, is malformed") {
  Header header;
  CHECK(parse_header(as_bytes("Q\0\0\0\x03"sv), header) == HeaderStatus::malformed);
  CHECK(parse_header(as_bytes("Q\0\0\0\0"sv), header) == HeaderStatus::malformed);
  CHECK(parse_header(as_bytes("S\0\0\0\x04"sv), header) == HeaderStatus::complete);
  CHECK(header.body_bytes == 0);
  CHECK(parse_header(as_bytes("D\x40\0\0\x03"sv), header) == HeaderStatus::complete);
  CHECK(header.body_bytes == 0x3fffffff);
  CHECK(parse_header(as_bytes("D\x40\0\0\x04"sv), header) == HeaderStatus::malformed);
  CHECK(parse_header(as_bytes("D\xff\xff\xff\xff"sv), header) == HeaderStatus::malformed);
}

TEST_CASE("a cursor reads big-endian numbers, bytes and strings in turn") {
  Cursor cursor(
      as_bytes("\x01\x02\x03\xff\xfe\xfd\xfc"
               "ab\0"
               "xyz"sv));
  CHECK(cursor.u8() == 1);
  CHECK(cursor.u16() == 0x0203);
  CHECK(cursor.u32() == 0xfffefdfc);
  CHECK(cursor.c_string() == "ab");
  CHECK_FALSE(cursor.ok_and_empty());
  CHECK(as_text(cursor.rest()) == "xyz");
  CHECK(as_text(cursor.bytes(3)) == "xyz");
  CHECK(cursor.ok_and_empty());
}

TEST_CASE("a cursor that has read past the end stays failed and yields nothing more") {
  Cursor cursor(as_bytes("\x01\x02"sv));
  CHECK(cursor.u32() == 0);
  CHECK_FALSE(cursor.ok());
  CHECK(cursor.u8() == 0);
  CHECK(cursor.bytes(1).empty());
  CHECK(cursor.c_string().empty());
  CHECK_FALSE(cursor.ok_and_empty());
}

TEST_CASE("an unterminated string and a string at the end of a body fail the cursor") {
  Cursor unterminated(as_bytes("abc"sv));
  CHECK(unterminated.c_string().empty());
  CHECK_FALSE(unterminated.ok());
  Cursor empty(Bytes{});
  CHECK(empty.ok_and_empty());
  CHECK(empty.bytes(0).empty());
  CHECK(empty.ok());
  CHECK(empty.c_string().empty());
  CHECK_FALSE(empty.ok());
}
