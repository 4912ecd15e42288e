// The extended query protocol in front of a console that knows texts only.
#include "session/console_session.hpp"

#include <doctest/doctest.h>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "session/console_values.hpp"

#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"
#include "pgproxy/wire/message.hpp"

using namespace pgproxy;
using namespace pgproxy::session;
using namespace std::string_literals;

namespace {

void put_column(std::string& out, std::string_view name, std::uint32_t type) {
  wire::put_c_string(out, name);
  out += std::string(6, '\0');
  wire::put_u32(out, type);
  out += std::string(8, '\0');
}

/// Answers "rows n" with n rows of an int4 and a text, "error" with an ERROR, "" with nothing,
/// anything else with its own text as the tag.
class FakeConsole final : public ConsoleTarget {
 public:
  void execute(std::string_view text, ConsoleAccess, std::string& out) override {
    executed.emplace_back(text);
    if (text.empty()) {
      wire::put_message(out, 'I');
    } else if (text == "error") {
      put_failure(out);
    } else if (text.starts_with("rows ")) {
      put_columns(out);
      for (int row = 1; row <= std::stoi(std::string(text.substr(5))); ++row) put_row(out, row);
      wire::put_command_complete(out, "SHOW");
    } else {
      wire::put_command_complete(out, text);
    }
    wire::put_ready_for_query(out, wire::TransactionStatus::idle);
  }
  void describe(std::string_view text, ConsoleAccess, std::string& out) override {
    described.emplace_back(text);
    if (text == "error") return put_failure(out);
    if (text.starts_with("rows ")) return put_columns(out);
    wire::put_message(out, 'n');
  }
  bool command(std::string_view, ConsoleAccess, std::string_view, CommandListener&) override {
    return false;
  }
  void cancel_command(CommandListener&) override {}
  std::vector<std::pair<std::string, std::string>> parameters() const override { return {}; }

  std::uint32_t type = 23;  ///< of the first column
  std::string value = "7";  ///< in front of its row's number
  std::vector<std::string> executed;
  std::vector<std::string> described;

 private:
  static void put_failure(std::string& out) {
    wire::put_error(out, wire::Severity::error, {.sqlstate = "42601", .message = "no"});
  }
  void put_columns(std::string& out) const {
    std::string body;
    wire::put_u16(body, 2);
    put_column(body, "n", type);
    put_column(body, "t", 25);
    wire::put_message(out, 'T', body);
  }
  void put_row(std::string& out, int row) const {
    const std::string number = value + std::to_string(row);
    std::string body;
    wire::put_u16(body, 2);
    wire::put_u32(body, static_cast<std::uint32_t>(number.size()));
    body += number;
    wire::put_u32(body, 0xffffffff);
    wire::put_message(out, 'D', body);
  }
};

struct Client {
  FakeConsole console;
  ConsoleSession session{console, ConsoleAccess::stats};
  wire::ErrorFields error;
  std::string error_bytes;
  std::vector<std::string> bodies;  ///< of the messages of the last answer

  /// The types of the messages that answer; "!" for a message that is none.
  std::string send(char type, const std::string& body) {
    std::string out;
    bodies.clear();
    if (!session.on_message(type, as_bytes(body), out)) return "!";
    std::string tags;
    wire::Header header;
    while (wire::parse_header(as_bytes(out), header) == wire::HeaderStatus::complete) {
      tags += header.type;
      bodies.push_back(out.substr(wire::header_bytes, header.body_bytes));
      if (header.type == 'E') {
        error_bytes = bodies.back();
        error = *wire::decode_error(as_bytes(error_bytes));
      }
      out.erase(0, header.total_bytes());
    }
    CHECK(out.empty());
    return tags;
  }
  std::string parse(const std::string& text, const std::string& name = "",
                    const std::vector<std::uint32_t>& types = {}) {
    std::string body = name + '\0' + text + '\0';
    wire::put_u16(body, static_cast<std::uint16_t>(types.size()));
    for (const std::uint32_t type : types) wire::put_u32(body, type);
    return send('P', body);
  }
  std::string bind(const std::vector<std::optional<std::string>>& values = {},
                   const std::vector<std::uint16_t>& result_formats = {},
                   const std::string& name = "", const std::string& portal = "",
                   const std::vector<std::uint16_t>& formats = {}) {
    std::string body = portal + '\0' + name + '\0';
    const auto put_formats = [&body](const auto& all) {
      wire::put_u16(body, static_cast<std::uint16_t>(all.size()));
      for (const std::uint16_t format : all) wire::put_u16(body, format);
    };
    put_formats(formats);
    wire::put_u16(body, static_cast<std::uint16_t>(values.size()));
    for (const auto& value : values) {
      wire::put_u32(body, value ? static_cast<std::uint32_t>(value->size()) : 0xffffffff);
      if (value) body += *value;
    }
    put_formats(result_formats);
    return send('B', body);
  }
  std::string execute(std::uint32_t limit = 0, const std::string& portal = "") {
    std::string body = portal + '\0';
    wire::put_u32(body, limit);
    return send('E', body);
  }
  std::string describe(char kind, const std::string& name = "") {
    return send('D', kind + name + '\0');
  }
  std::string close(char kind, const std::string& name = "") {
    return send('C', kind + name + '\0');
  }
  std::string sync() { return send('S', ""); }
};

}  // namespace

TEST_CASE("Parse, Bind, Describe, Execute and Sync answer as a server does") {
  Client client;
  CHECK(client.parse("rows 2") == "1");
  CHECK(client.bind() == "2");
  CHECK(client.describe('P') == "T");
  CHECK(client.console.executed.empty());  // Describe runs nothing
  CHECK(client.execute() == "DDC");
  CHECK(client.bodies.back() == "SHOW\0"s);
  CHECK(client.send('H', "").empty());
  CHECK(client.sync() == "Z");
}

TEST_CASE("commands without rows, and an empty one") {
  Client client;
  client.parse("RELOAD");
  client.bind();
  CHECK(client.describe('P') == "n");
  CHECK(client.execute() == "C");
  CHECK(client.bodies.back() == "RELOAD\0"s);
  CHECK(client.execute() == "C");
  CHECK(client.console.executed.size() == 1);  // a portal runs once
  client.parse("");
  client.bind();
  CHECK(client.execute() == "I");
}

TEST_CASE("a command that is run elsewhere ends the Execute that it was given by") {
  Client client;
  const std::string execute("\0\0\0\0\0", 5);
  CHECK(client.session.begin_command(as_bytes(execute)) == nullptr);  // no portal
  client.parse("PAUSE $1");
  client.bind({"a b"});
  for (const std::size_t cut : {execute.size() - 1, std::size_t{0}}) {  // no Execute
    CHECK(client.session.begin_command(as_bytes(execute.substr(0, cut))) == nullptr);
  }
  CHECK(client.session.begin_command(as_bytes(execute + "x")) == nullptr);
  const std::string* text = client.session.begin_command(as_bytes(execute));
  REQUIRE(text != nullptr);
  CHECK(*text == "PAUSE 'a b'");
  std::string out;
  client.session.end_command("PAUSE", out);
  CHECK(out == "C\0\0\0\x0aPAUSE\0"s);
  CHECK(client.session.begin_command(as_bytes(execute)) == nullptr);  // it has run
  CHECK(client.execute() == "C");
  client.bind({"b"});
  REQUIRE(client.session.begin_command(as_bytes(execute)) != nullptr);
  out.clear();
  client.session.end_command(std::unexpected(Error{.sqlstate = "08P01", .message = "no"}), out);
  CHECK(out.starts_with('E'));
  CHECK(client.session.is_skipping());
  CHECK(client.session.begin_command(as_bytes(execute)) == nullptr);
  CHECK(client.console.executed.empty());
}

TEST_CASE("parameters stand in the text as words or literals, but not in quotes") {
  Client client;
  CHECK(client.parse("x $1 '$1' \"$2\" $2 $3 $1", "s") == "1");
  CHECK(client.describe('S', "s") == "tn");
  CHECK(client.bodies.front() == "\0\3\0\0\0\x19\0\0\0\x19\0\0\0\x19"s);
  CHECK(client.console.described.back() == "x NULL '$1' \"$2\" NULL NULL NULL");
  CHECK(client.bind({"abc_1", "it's", std::nullopt}, {}, "s") == "2");
  client.execute();
  CHECK(client.console.executed.back() == "x abc_1 '$1' \"$2\" 'it''s' NULL abc_1");
  for (const auto* value : {"", "null", "A", "a b", "a-b", "; x"}) {
    client.sync();
    CHECK(client.bind({value, "", ""}, {}, "s") == "2");
    client.execute();
    CHECK(client.console.executed.back().starts_with("x '" + std::string(value) + "' "));
  }
}

TEST_CASE("binary parameters are read by their types") {
  Client client;
  client.parse("x $1 $2 $3 $4 $5", "", {23, 20, 21, 25, 16});
  CHECK(client.bind({"\xff\xff\xff\xfe"s, "\0\0\0\1\0\0\0\0"s, "\0\7"s, "t"s, "\1"s}, {}, "", "",
                    {1}) == "2");
  client.execute();
  CHECK(client.console.executed.back() == "x '-2' 4294967296 7 t 1");
  client.parse("x $1", "f", {701});
  CHECK(client.bind({"\0\0\0\0\0\0\0\0"s}, {}, "f", "p", {1}) == "E");
  CHECK(client.error.sqlstate == "0A000");
  CHECK(client.error.hint == "Send it as text.");
  client.sync();
  client.parse("x $1", "i", {23});
  CHECK(client.bind({"\0"s}, {}, "i", "p", {1}) == "E");
  CHECK(client.error.sqlstate == "22P03");
  client.sync();
  CHECK(client.bind({"a\0b"s}, {}, "i") == "E");
  CHECK(client.error.sqlstate == "22021");
}

TEST_CASE("results in binary format: int4, int8, numeric, text") {
  const auto first_value = [](std::uint32_t type, std::string value) {
    Client client;
    client.console.type = type;
    client.console.value = std::move(value);
    client.parse("rows 1");
    client.bind({}, {1});
    CHECK(client.describe('P') == "T");
    CHECK(client.bodies.front().substr(2 + 2 + 16, 2) == "\0\1"s);  // its format
    CHECK(client.execute() == "DC");
    const std::string& row = client.bodies.front();
    CHECK(row.ends_with("\xff\xff\xff\xff"));  // NULL
    return row.substr(2 + 4, row.size() - 2 - 4 - 4);
  };
  CHECK(first_value(23, "-") == "\xff\xff\xff\xff"s);
  CHECK(first_value(23, "7") == "\0\0\0\x47"s);
  CHECK(first_value(20, "42949672960") == "\0\0\0\x64\0\0\0\1"s);
  CHECK(first_value(25, "a") == "a1");
  CHECK(first_value(1700, "") == "\0\1\0\0\0\0\0\0\0\1"s);
  CHECK(first_value(1700, "1000") == "\0\2\0\1\0\0\0\0\0\1\0\1"s);         // 10001
  CHECK(first_value(1700, "1000000") == "\0\2\0\1\0\0\0\0\x03\xe8\0\1"s);  // 10000001
}

TEST_CASE("a binary format that there is not is an error, before any row") {
  Client client;
  client.console.type = 17;
  client.parse("rows 2");
  client.bind({}, {1, 0});
  CHECK(client.execute() == "E");
  CHECK(client.error.sqlstate == "0A000");
  CHECK(client.error.message == "the console has no binary format for type 17");
  client.sync();
  client.bind({}, {0, 1});
  CHECK(client.execute() == "DDC");
  client.console.type = 23;
  client.console.value = "99999999999";
  client.sync();
  client.bind({}, {1});
  CHECK(client.execute() == "E");
  CHECK(client.error.sqlstate == "22003");
}

TEST_CASE("Execute with a row limit suspends the portal, until Sync ends it") {
  Client client;
  client.parse("rows 5");
  client.bind({}, {}, "", "p");
  CHECK(client.execute(2, "p") == "DDs");
  CHECK(client.bodies.front() == "\0\2\0\0\0\2"s + "71" + "\xff\xff\xff\xff");
  CHECK(client.execute(2, "p") == "DDs");
  CHECK(client.execute(2, "p") == "DC");
  CHECK(client.bodies.front() == "\0\2\0\0\0\2"s + "75" + "\xff\xff\xff\xff");
  CHECK(client.console.executed.size() == 1);
  CHECK(client.sync() == "Z");
  CHECK(client.execute(0, "p") == "E");
  CHECK(client.error.sqlstate == "34000");
}

TEST_CASE("behind an error everything up to Sync goes unanswered") {
  Client client;
  client.parse("error");
  client.bind();
  CHECK(client.execute() == "E");
  CHECK(client.session.is_skipping());
  CHECK(client.parse("rows 1").empty());
  CHECK(client.bind().empty());
  CHECK(client.execute().empty());
  CHECK(client.sync() == "Z");
  CHECK(client.describe('S') == "E");  // the console's own
  CHECK(client.error.sqlstate == "42601");
  CHECK(client.describe('S').empty());
  CHECK(client.sync() == "Z");
  CHECK(client.describe('S', "unknown") == "E");
  CHECK(client.error.message == "prepared statement \"unknown\" does not exist");
}

TEST_CASE("names: statements stay until they are closed, portals until Sync") {
  Client client;
  CHECK(client.parse("rows 1", "s") == "1");
  CHECK(client.parse("rows 2", "s") == "E");
  CHECK(client.error.sqlstate == "42P05");
  client.sync();
  CHECK(client.bind({}, {}, "s", "p") == "2");
  CHECK(client.bind({}, {}, "s", "p") == "E");
  CHECK(client.error.sqlstate == "42P03");
  client.sync();
  CHECK(client.close('S', "s") == "3");
  CHECK(client.close('S', "s") == "3");
  CHECK(client.bind({}, {}, "s") == "E");
  CHECK(client.error.sqlstate == "26000");
  client.sync();
  client.parse("rows 1");
  client.bind();
  CHECK(client.close('P') == "3");
  CHECK(client.execute() == "E");
  client.sync();
  client.session.forget_unnamed();
  CHECK(client.bind() == "E");
  CHECK(client.error.message == "unnamed prepared statement does not exist");
}

TEST_CASE("what a Bind says must fit") {
  Client client;
  client.parse("rows $1");
  CHECK(client.bind() == "E");
  CHECK(client.error.sqlstate == "08P01");
  client.sync();
  CHECK(client.bind({"1"}, {0, 0, 0}) == "2");
  CHECK(client.execute() == "E");
  CHECK(client.error.message == "bind message has 3 result formats but query has 2 columns");
  client.sync();
  CHECK(client.bind({"1"}, {2}) == "E");
  CHECK(client.error.message == "unsupported format code: 2");
  client.sync();
  CHECK(client.bind({"1"}, {}, "", "", {0, 0}) == "E");
  CHECK(client.error.sqlstate == "08P01");
}

TEST_CASE("what a client may keep is bounded") {
  Client client;
  std::string answer = "1";
  int statements = 0;
  while (answer == "1" && statements < 2000) {
    answer = client.parse("x", "s" + std::to_string(statements));
    ++statements;
  }
  CHECK(statements == 1001);
  CHECK(client.error.sqlstate == "54000");
  Client large;
  const std::string text(100 * 1024, 'x');
  int count = 0;
  while (large.parse(text, "s" + std::to_string(count)) == "1") ++count;
  CHECK(count == 10);
  Client portals;
  portals.parse("x");
  count = 0;
  while (portals.bind({}, {}, "", "p" + std::to_string(count)) == "2") ++count;
  CHECK(count == 20);
  CHECK(portals.error.sqlstate == "54000");
  portals.sync();
  std::string often;
  for (int i = 0; i < 1000; ++i) often += "$1";
  portals.parse(often);
  CHECK(portals.bind({std::string(1000, 'A')}) == "E");
  CHECK(portals.error.sqlstate == "54000");
  portals.sync();
  CHECK(portals.parse("x $70000") == "E");
  CHECK(portals.error.sqlstate == "54000");
}

TEST_CASE("broken messages, and those that are no requests, are told apart from errors") {
  Client client;
  for (const char type : {'P', 'B', 'D', 'E', 'C'}) {
    CAPTURE(type);
    CHECK(client.send(type, "") == "!");
    CHECK(client.send(type, "x") == "!");
  }
  CHECK(client.send('B', "\0\0\0\0\xff\xff"s) == "!");
  CHECK(client.send('B', "\0\0\0\0\0\1\0\0\0\x09x\0\0"s) == "!");
  CHECK(client.send('F', "") == "!");
  CHECK(client.send('?', "") == "!");
  CHECK(client.send('c', "").empty());
}
