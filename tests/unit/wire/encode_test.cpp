#include "pgproxy/wire/encode.hpp"

#include <doctest/doctest.h>
#include <string>

#include "pgproxy/wire/decode.hpp"

using namespace pgproxy;
using namespace pgproxy::wire;
using namespace std::literals;

TEST_CASE("a message's length counts itself and the body, not the type") {
  std::string out = "before";
  put_message(out, 'S');
  put_query(out, "x");
  CHECK(out == "beforeS\0\0\0\x04Q\0\0\0\x06x\0"s);
}

TEST_CASE("a message longer than 255 bytes fills the upper bytes of its length") {
  std::string out;
  put_message(out, 'd', std::string(0x12345, 'x'));
  CHECK(out.substr(0, 5) == "d\0\x01\x23\x49"s);
}

TEST_CASE("an error carries severity twice, and detail and hint only where there are any") {
  std::string out;
  put_error(out, Severity::fatal, {.sqlstate = "53300", .message = "full"});
  CHECK(out.substr(5) == "SFATAL\0VFATAL\0C53300\0Mfull\0\0"s);
  out.clear();
  put_error(out, Severity::notice,
            {.sqlstate = "00000", .message = "m", .detail = "d", .hint = "h"});
  CHECK(out[0] == 'N');
  const auto fields = decode_error(as_bytes(out).subspan(header_bytes));
  REQUIRE(fields);
  CHECK(fields->severity == "NOTICE");
  CHECK(fields->detail == "d");
  CHECK(fields->hint == "h");
}

TEST_CASE("an error without SQLSTATE becomes an internal error") {
  std::string out;
  put_error(out, Severity::error, {.message = "m"});
  CHECK(out.substr(5) == "SERROR\0VERROR\0CXX000\0Mm\0\0"s);
}

TEST_CASE("what the server's messages say can be read back") {
  std::string out;
  put_ready_for_query(out, TransactionStatus::failed);
  CHECK(out ==
        "Z\0\0\0\x05"
        "E"s);
  out.clear();
  put_parameter_status(out, "a", "b");
  CHECK(out ==
        "S\0\0\0\x08"
        "a\0b\0"s);
  out.clear();
  put_backend_key(out, 0x01020304, 0xf0000001);
  CHECK(out == "K\0\0\0\x0c\x01\x02\x03\x04\xf0\0\0\x01"s);
  out.clear();
  put_authentication(out, 5, "salt");
  CHECK(out == "R\0\0\0\x0c\0\0\0\x05salt"s);
  out.clear();
  put_command_complete(out, "SET");
  CHECK(out == "C\0\0\0\x08SET\0"s);
}

TEST_CASE("NegotiateProtocolVersion offers 3.0 and names each unknown option") {
  std::string out;
  put_negotiate_protocol(out, {"_pq_.a", "_pq_.b"});
  CHECK(out == "v\0\0\0\x1a\0\x03\0\0\0\0\0\x02_pq_.a\0_pq_.b\0"s);
}

TEST_CASE("a startup packet that we write is read back as it was meant") {
  std::string out;
  put_startup(out, "joe", "shop", {{"application_name", "x y"}, {"app.tenant", "7"}});
  const auto header = parse_startup_header(as_bytes(out));
  REQUIRE(header);
  REQUIRE(*header);
  CHECK((*header)->kind == StartupKind::startup);
  CHECK((*header)->length == out.size());
  const auto startup = decode_startup(as_bytes(out));
  REQUIRE(startup);
  CHECK(startup->user == "joe");
  CHECK(startup->database == "shop");
  CHECK(startup->settings == NameValues{{"application_name", "x y"}, {"app.tenant", "7"}});
}

TEST_CASE("a cancel request carries the secret whatever its length") {
  std::string out;
  put_cancel_request(out, 7, as_bytes("abcdefgh"sv));
  CHECK(out ==
        "\0\0\0\x14\x04\xd2\x16\x2e\0\0\0\x07"
        "abcdefgh"s);
  const auto key = decode_cancel(as_bytes(out));
  REQUIRE(key);
  CHECK(key->pid == 7);
  CHECK(as_text(key->secret) == "abcdefgh");
}

TEST_CASE("quotes and backslashes in values cannot end a literal or an identifier") {
  CHECK(quote_literal("it's \\ here") == R"(E'it''s \\ here')");
  CHECK(quote_literal("") == "E''");
  CHECK(quote_identifier("we\"ird") == R"("we""ird")");
}
