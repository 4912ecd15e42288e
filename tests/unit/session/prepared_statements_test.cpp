#include "session/prepared_statements.hpp"

#include <doctest/doctest.h>
#include <string>

#include "pgproxy/pool/reply_owner.hpp"

namespace pgproxy::session {
namespace {

using enum pool::ReplyKind;

struct Owner final : pool::ReplyOwner {
  void on_reply(pool::ServerConnection&, Bytes, Bytes) override {}
  void on_reply_error(pool::ServerConnection&, const wire::ErrorFields&) override {}
  void on_replies_done(pool::ServerConnection&) override {}
  void on_server_drained(pool::ServerConnection&) override {}
  void on_server_lost(pool::ServerConnection&, const Error&, bool) override {}
};

struct Client {
  pool::ExpectedReplies expected;
  Owner owner;
  pool::Statements pool;
  PreparedStatements names;

  pool::StatementRef statement(const std::string& text) {
    return pool.find_or_add(text + std::string(3, '\0'), nullptr, nullptr);
  }
  void parse(const char* name, const std::string& text) {
    names.add(name, statement(text), expected.next_number());
    sent(pool::ReplyKind::parse);
  }
  void close(const char* name) {
    names.remove(name, expected.next_number());
    sent(local_close);
  }
  void sent(pool::ReplyKind kind) { expected.sent(owner, kind); }
  void received(std::string_view types) {
    for (const char type : types) {
      while (expected.has_local()) expected.take_local();
      CHECK(expected.received(type) != pool::ReplyVerdict::unexpected);
      if (type == 'E') names.take_back(expected.last_skipped());
    }
    names.settle(expected);
  }
  bool has(const char* name, const std::string& text) {
    const pool::StatementRef* found = names.find(name);
    return found != nullptr && *found == statement(text);
  }
};

}  // namespace

TEST_CASE("a name means what was prepared under it until it is closed") {
  Client client;
  client.parse("s", "one");
  client.close("s");
  client.parse("s", "two");
  CHECK(client.has("s", "two"));
  CHECK(client.names.size() == 1);
  client.close("nothing");
  client.sent(sync);
  client.received("11Z");
  CHECK(client.has("s", "two"));
}

TEST_CASE("what an error made the server skip did not happen, step by step backwards") {
  Client client;
  client.parse("s", "one");
  client.sent(sync);
  client.received("1Z");
  client.sent(bind);
  client.close("s");
  client.parse("s", "two");
  client.close("s");
  client.parse("t", "three");
  client.received("E");
  CHECK(client.has("s", "one"));
  CHECK(client.names.find("t") == nullptr);
}

TEST_CASE("only what earlier cycles may not have done is uncertain") {
  Client client;
  client.parse("s", "one");
  CHECK(client.names.is_certain("s", client.expected));
  client.sent(sync);
  CHECK_FALSE(client.names.is_certain("s", client.expected));
  CHECK(client.names.is_certain("t", client.expected));
  client.received("EZ");
  CHECK(client.names.is_certain("s", client.expected));
  CHECK(client.names.find("s") == nullptr);
}

TEST_CASE("a statement that goes over to the client's own name comes back after an error") {
  Client client;
  client.parse("s", "one");
  client.sent(sync);
  client.received("1Z");
  client.names.make_own("s", client.expected.next_number());
  client.sent(injected_parse);
  REQUIRE(client.names.find("s") != nullptr);
  CHECK(*client.names.find("s") == nullptr);
  client.received("E");
  CHECK(client.has("s", "one"));
}

TEST_CASE("DEALLOCATE ALL takes all names but those sent behind it") {
  Client client;
  client.parse("s", "one");
  client.sent(sync);
  client.received("1Z");
  client.sent(execute);
  client.close("s");
  client.parse("t", "two");
  client.names.clear(client.expected);
  CHECK(client.names.find("s") == nullptr);
  CHECK(client.has("t", "two"));
  client.received("CE");  // at the Parse
  CHECK(client.names.size() == 0);
}

TEST_CASE("a statement that is gone is still called what it was while answers are to come") {
  Client client;
  const std::uint64_t number = client.statement("one")->number();
  client.parse("s", "one");
  client.sent(sync);
  client.received("1Z");
  CHECK(client.names.name_of(number) == "s");
  client.names.clear(client.expected);
  CHECK(client.names.name_of(number) == "s");
  client.names.settle(client.expected);
  CHECK(client.names.name_of(number) == "");
}

TEST_CASE("what was closed is known when it is prepared again, for a while") {
  Client client;
  const std::uint64_t one = client.statement("one")->number();
  client.parse("s", "one");
  CHECK_FALSE(client.names.was_closed(one));
  client.close("s");
  CHECK(client.names.was_closed(one));
  CHECK(client.names.take_closed(one));
  CHECK_FALSE(client.names.take_closed(one));
  client.parse("s", "one");
  client.names.forget("s");
  CHECK(client.names.was_closed(one));
  for (int number = 0; number < 100; ++number) {
    client.parse("t", "other " + std::to_string(number));
    client.close("t");
  }
  CHECK_FALSE(client.names.was_closed(one));
}

TEST_CASE("what the client was told of a statement goes with the statement") {
  Client client;
  client.parse("s", "one");
  client.parse("t", "one");
  client.parse("u", "two");
  client.received("111");
  CHECK(client.names.find_entry("s")->description == 0);
  client.names.described(client.statement("one")->number(), 7);
  CHECK(client.names.find_entry("s")->description == 7);
  CHECK(client.names.find_entry("t")->description == 7);
  CHECK(client.names.find_entry("u")->description == 0);
  CHECK(client.names.find_entry("v") == nullptr);
  CHECK(client.names.note_outdated("s"));
  CHECK_FALSE(client.names.note_outdated("s"));
  CHECK(client.names.note_outdated("t"));

  // A Close that was skipped leaves it as it was.
  client.sent(bind);
  client.close("s");
  client.sent(sync);
  client.received("EZ");
  CHECK(client.names.find_entry("s")->description == 7);
  CHECK_FALSE(client.names.note_outdated("s"));

  client.close("s");
  client.parse("s", "one");
  CHECK(client.names.find_entry("s")->description == 0);
  CHECK(client.names.note_outdated("s"));
  client.names.described(client.statement("one")->number(), 8);
  CHECK(client.names.note_outdated("s"));
}

}  // namespace pgproxy::session
