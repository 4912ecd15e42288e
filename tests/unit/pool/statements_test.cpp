#include "pgproxy/pool/statements.hpp"

#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <vector>

#include "silent_owner.hpp"

#include "pgproxy/wire/encode.hpp"

namespace pgproxy::pool {
namespace {

using enum ReplyKind;
using Need = ServerStatements::Need;

std::string definition_of(std::string_view text) {
  return std::string(text) + std::string(3, '\0');
}

/// A server, and what is sent to it.
struct Server {
  ExpectedReplies expected;
  SilentOwner owner;
  ServerStatements there;
  Statements pool;

  StatementRef statement(std::string_view text) {
    return pool.find_or_add(definition_of(text), nullptr, nullptr);
  }
  Need use(const StatementRef& s) { return there.use(*s, expected); }
  void parse(const StatementRef& s) {
    there.parsed(s, expected.next_number());
    expected.sent(owner, injected_parse);
  }
  void close(const StatementRef& s) {
    there.closed(s->number(), expected.next_number());
    expected.sent(owner, injected_close);
  }
  void parse_own(std::string_view name) {
    there.own_parsed(name, expected.next_number());
    expected.sent(owner, injected_parse);
  }
  void close_own(std::string_view name) {
    there.own_closed(name, expected.next_number());
    expected.sent(owner, injected_close);
  }
  void sent(ReplyKind kind) { expected.sent(owner, kind); }
  void received(std::string_view types) {
    for (const char type : types) {
      CHECK(expected.received(type) != ReplyVerdict::unexpected);
      if (type == 'E') there.take_back(expected.last_skipped());
    }
    there.settle(expected);
  }
};

}  // namespace

TEST_CASE("equal statements are one object, with a name of its own") {
  Statements pool;
  StateInterner states;
  const ParseStateRef plain = states.empty()->parse_state();
  const ParseStateRef tokyo =
      states.with(states.empty(), "TimeZone", "Asia/Tokyo", true)->parse_state();
  const StatementRef one = pool.find_or_add(definition_of("select 1"), plain, nullptr);
  CHECK(pool.find_or_add(definition_of("select 1"), plain, nullptr) == one);
  CHECK(pool.find_or_add(definition_of("select 2"), plain, nullptr) != one);
  CHECK(pool.find_or_add(definition_of("select 1"), tokyo, nullptr) != one);
  CHECK(pool.find_or_add(std::string("select 1\0\0\1\0\0\0\x17", 15), plain, nullptr) != one);
  CHECK(pool.add_unshared(definition_of("select 1"), nullptr) != one);
  CHECK(one->query() == "select 1");
  CHECK(statement_number(one->name()) == one->number());
  std::string parse;
  one->put_parse(parse, "mine");
  CHECK(parse == std::string("P\0\0\0\x14mine\0select 1\0\0\0", 21));
}

TEST_CASE("only names of ours are taken for ours") {
  CHECK(statement_number("pgproxy_7") == 7);
  for (const char* name : {"", "x", "pgproxy_", "pgproxy_x", "pgproxy_7x", "pgproxy_07",
                           "pgproxy_-7", "pgproxy_99999999999999999999"}) {
    CAPTURE(name);
    CHECK(statement_number(name) == 0);
  }
}

TEST_CASE("settings that change no parse tree make no other statement") {
  StateInterner states;
  const StateRef base = states.with(states.empty(), "DateStyle", "ISO, MDY", true);
  const auto parse_state = [&](const char* name, const char* value) {
    return states.with(base, name, value, false)->parse_state();
  };
  CHECK(parse_state("application_name", "a") == base->parse_state());
  CHECK(parse_state("Statement_Timeout", "5") == base->parse_state());
  CHECK(parse_state("search_path", "a") != base->parse_state());
  CHECK(parse_state("DateStyle", "ISO, DMY") != base->parse_state());
  CHECK(parse_state("search_path", "a") == parse_state("search_path", "a"));
}

TEST_CASE("statements that nobody has are forgotten") {
  Statements pool;
  const StatementRef kept = pool.find_or_add(definition_of("kept"), nullptr, nullptr);
  for (int n = 0; n < 3000; ++n)
    pool.find_or_add(definition_of(std::to_string(n)), nullptr, nullptr);
  CHECK(pool.size() < 600);
  CHECK(pool.find_or_add(definition_of("kept"), nullptr, nullptr) == kept);
}

TEST_CASE("a statement is there once its Parse was sent, and stays") {
  Server server;
  const StatementRef s = server.statement("s");
  CHECK(server.use(s) == Need::parse);
  server.parse(s);
  CHECK(server.use(s) == Need::nothing);
  server.sent(bind);
  server.sent(sync);
  server.received("12Z");
  CHECK(server.use(s) == Need::nothing);
  CHECK(server.there.size() == 1);
}

TEST_CASE("a Parse that failed or was skipped did not happen") {
  Server server;
  const StatementRef a = server.statement("a");
  const StatementRef b = server.statement("b");
  const StatementRef c = server.statement("c");
  server.parse(a);
  server.sent(bind);
  server.parse(b);
  server.sent(sync);
  server.parse(c);
  server.received("1EZ");  // the Bind
  CHECK(server.use(a) == Need::nothing);
  CHECK(server.use(b) == Need::parse);
  CHECK(server.use(c) == Need::nothing);
  server.received("E");
  CHECK(server.use(c) == Need::parse);
}

TEST_CASE("two errors in a pipeline take back one cycle each") {
  Server server;
  const StatementRef a = server.statement("a");
  const StatementRef b = server.statement("b");
  for (const StatementRef& s : {a, b}) {
    server.parse(s);
    server.sent(sync);
  }
  CHECK(server.there.size() == 2);
  server.received("EZ");
  CHECK(server.there.size() == 1);
  server.received("EZ");
  CHECK(server.there.size() == 0);
}

TEST_CASE("what an earlier cycle may not have done is done again") {
  Server server;
  const StatementRef s = server.statement("s");
  server.parse(s);
  server.sent(sync);
  CHECK(server.use(s) == Need::close_and_parse);
  server.close(s);
  server.parse(s);
  server.sent(bind);
  server.sent(sync);
  server.received("EZ");  // the first Parse
  CHECK(server.there.size() == 1);
  server.received("312Z");
  CHECK(server.use(s) == Need::nothing);
}

TEST_CASE("an eviction that was skipped leaves its statement there") {
  Server server;
  const StatementRef a = server.statement("a");
  const StatementRef b = server.statement("b");
  server.parse(a);
  server.sent(sync);
  server.received("1Z");
  CHECK(server.there.to_evict(*b, 2) == nullptr);
  CHECK(server.there.to_evict(*a, 1) == nullptr);
  CHECK(server.there.to_evict(*b, 1) == a);
  server.sent(bind);
  server.close(a);
  server.parse(b);
  server.sent(sync);
  CHECK(server.use(a) == Need::close_and_parse);
  server.received("EZ");
  CHECK(server.use(a) == Need::nothing);
  CHECK(server.use(b) == Need::parse);
}

TEST_CASE("a Parse that failed did not happen, also when its Close was skipped") {
  Server server;
  const StatementRef s = server.statement("s");
  server.parse(s);
  server.sent(bind);
  server.close(s);
  server.sent(sync);
  server.received("EZ");
  CHECK(server.there.size() == 0);
}

TEST_CASE("the least recently used one goes") {
  Server server;
  const StatementRef a = server.statement("a");
  const StatementRef b = server.statement("b");
  const StatementRef c = server.statement("c");
  server.parse(a);
  server.parse(b);
  CHECK(server.there.to_evict(*c, 2) == a);
  server.use(a);
  CHECK(server.there.to_evict(*c, 2) == b);
}

TEST_CASE("an outdated statement is parsed anew by each server") {
  Server server;
  const StatementRef s = server.statement("s");
  server.parse(s);
  server.sent(sync);
  server.received("1Z");
  s->outdate();
  CHECK(server.use(s) == Need::close_and_parse);
  server.close(s);
  server.parse(s);
  CHECK(server.use(s) == Need::nothing);
}

TEST_CASE("DEALLOCATE ALL takes what was there, not what is sent behind it") {
  Server server;
  const StatementRef a = server.statement("a");
  const StatementRef b = server.statement("b");
  server.parse(a);
  server.parse_own("own");
  server.sent(query);
  server.parse(b);
  server.received("11");
  server.there.clear(server.expected);
  CHECK(server.there.own_names(server.expected).empty());
  server.received("CZ1");
  CHECK(server.use(a) == Need::parse);
  CHECK(server.use(b) == Need::nothing);
}

TEST_CASE("the statement that a message used is known until it is answered") {
  Server server;
  const StatementRef s = server.statement("s");
  server.parse(s);
  for (int n = 0; n < 100; ++n) {
    server.there.note_use(server.expected.next_number(), *s, server.expected);
    server.sent(bind);
  }
  CHECK(server.there.used_by(1) == s->number());
  CHECK(server.there.used_by(100) == s->number());
  CHECK(server.there.used_by(0) == 0);
  CHECK(server.there.used_by(101) == 0);
}

TEST_CASE("a statement is proven when a server has parsed its version") {
  Server server;
  const StatementRef s = server.statement("one");
  CHECK_FALSE(s->is_proven());
  server.parse(s);
  CHECK_FALSE(s->is_proven());
  server.received("1");
  CHECK(s->is_proven());
  CHECK(server.pool.find(definition_of("one"), nullptr, nullptr) == s);
  CHECK(server.pool.find(definition_of("two"), nullptr, nullptr) == nullptr);

  server.parse(s);
  s->outdate();
  server.received("1");
  CHECK_FALSE(s->is_proven());
  server.parse(s);
  server.sent(sync);
  server.received("EZ");
  CHECK_FALSE(s->is_proven());
  server.parse(s);
  server.received("1");
  CHECK(s->is_proven());
}

TEST_CASE("what a statement returns is known of one parse of it") {
  Server server;
  const StatementRef s = server.statement("one");
  const auto describe = [&] {
    const std::uint32_t number = server.expected.next_number();
    server.there.note_use(number, *s, server.expected);
    server.sent(describe_statement);
    return number;
  };
  server.parse(s);
  CHECK(server.there.described(describe(), 7) == s->number());
  CHECK(server.there.description(*s) == 7);
  server.received("1tT");
  CHECK(server.there.description(*s) == 7);
  CHECK(server.there.described(server.expected.next_number(), 8) == 0);

  // An error takes back that it was parsed anew.
  server.sent(bind);
  server.close(s);
  server.parse(s);
  CHECK(server.there.description(*s) == 0);
  server.sent(sync);
  server.received("EZ");
  CHECK(server.there.description(*s) == 7);

  // What an earlier parse was described as does not tell of a later one.
  const std::uint32_t earlier = describe();
  server.close(s);
  server.parse(s);
  server.there.described(earlier, 9);
  CHECK(server.there.description(*s) == 0);
  server.received("tT31");
  server.there.described(describe(), 9);
  CHECK(server.there.description(*s) == 9);
  s->outdate();
  CHECK(server.there.description(*s) == 0);
}

TEST_CASE("names and types of columns make a description, their origin and format do not") {
  struct Column {
    std::string name;
    std::uint32_t table = 16384;
    std::uint32_t type = 23;
    std::uint16_t format = 0;
  };
  const auto of = [](const std::vector<Column>& columns) {
    std::string body;
    wire::put_u16(body, static_cast<std::uint16_t>(columns.size()));
    for (const Column& column : columns) {
      wire::put_c_string(body, column.name);
      wire::put_u32(body, column.table);
      wire::put_u16(body, 1);
      wire::put_u32(body, column.type);
      wire::put_u16(body, 4);
      wire::put_u32(body, 0xffffffff);
      wire::put_u16(body, column.format);
    }
    return description_of(as_bytes(body));
  };
  const std::uint64_t one = of({{"a"}, {"b"}});
  CHECK(one == of({{"a", 17}, {.name = "b", .format = 1}}));
  CHECK(one != of({{"a"}, {"c"}}));
  CHECK(one != of({{"b"}, {"a"}}));
  CHECK(one != of({{"a"}, {.name = "b", .type = 25}}));
  CHECK(one != of({{"a"}}));
  CHECK(of({}) != description_of({}));
  CHECK(of({}) != 0);
  CHECK(description_of({}) != 0);
}

TEST_CASE("names of a client's own follow what is skipped") {
  Server server;
  server.parse_own("own");
  server.sent(sync);
  server.received("1Z");
  server.sent(bind);
  server.close_own("own");
  CHECK(server.there.own_names(server.expected).empty());
  server.received("E");
  CHECK(server.there.own_names(server.expected).size() == 1);
}

TEST_CASE("a name of a client's own stays when a later message makes it again") {
  Server server;
  server.sent(bind);
  server.parse_own("own");
  server.sent(sync);
  server.close_own("own");
  server.parse_own("own");
  server.sent(sync);
  server.received("EZ");
  CHECK(server.there.has_own_name("own", server.expected));
  server.received("31Z");
  CHECK(server.there.has_own_name("own", server.expected));
}

TEST_CASE("a name of a client's own may be there as long as its Close may be skipped") {
  Server server;
  server.parse_own("own");
  server.sent(sync);
  server.received("1Z");
  server.sent(bind);
  server.close_own("own");
  CHECK_FALSE(server.there.has_own_name("own", server.expected));  // this cycle goes with it
  server.sent(sync);
  CHECK(server.there.has_own_name("own", server.expected));
  server.received("23Z");
  CHECK_FALSE(server.there.has_own_name("own", server.expected));
}

TEST_CASE("a statement is there when its Close and what followed were skipped, cycle by cycle") {
  Server server;
  const StatementRef s = server.statement("s");
  server.parse(s);
  server.sent(sync);
  server.received("1Z");
  for (int cycle = 0; cycle < 2; ++cycle) {
    server.sent(bind);
    server.close(s);
    server.sent(sync);
  }
  CHECK(server.use(s) == Need::close_and_parse);
  server.close(s);
  server.parse(s);
  server.sent(sync);
  server.received("EZ");
  CHECK(server.use(s) == Need::close_and_parse);
  SUBCASE("skipped again") {
    server.received("EZEZ");
    CHECK(server.use(s) == Need::nothing);
  }
  SUBCASE("closed") {
    server.received("23Z31Z");
    CHECK(server.use(s) == Need::nothing);
    CHECK(server.there.size() == 1);
  }
  SUBCASE("closed, and then not parsed") {
    server.received("23Z3EZ");
    CHECK(server.use(s) == Need::parse);
  }
}

TEST_CASE("what an earlier Close may leave there is closed with the rest") {
  Server server;
  const StatementRef s = server.statement("s");
  server.parse(s);
  server.parse_own("own");
  server.sent(sync);
  server.received("11Z");
  server.sent(bind);
  server.close(s);
  server.close_own("own");
  CHECK(server.there.numbers(server.expected).empty());
  CHECK(server.there.own_names(server.expected).empty());
  server.sent(sync);
  CHECK(server.there.numbers(server.expected) == std::vector{s->number()});
  CHECK(server.there.own_names(server.expected) == std::vector<std::string>{"own"});
}

TEST_CASE("a name of a client's own is gone when SQL has deallocated it") {
  Server server;
  const auto deallocate = [&] {
    const std::uint32_t number = server.expected.next_number();
    server.sent(query);
    return number;
  };
  const auto count = [&] { return server.there.own_names(server.expected).size(); };
  server.parse_own("own");
  std::uint32_t number = deallocate();
  server.received("1CZ");
  server.there.own_deallocated("own", number);
  CHECK(count() == 0);

  number = deallocate();
  server.parse_own("own");
  server.there.own_deallocated("own", number);  // told late: this one is another
  CHECK(count() == 1);
  server.received("CZ1");
  server.there.own_deallocated("own", number);  // and later still
  CHECK(count() == 1);

  number = deallocate();
  server.sent(bind);
  server.close_own("own");
  server.received("CZ");
  server.there.own_deallocated("own", number);
  server.received("E");  // the Close is skipped
  CHECK(count() == 0);
}

}  // namespace pgproxy::pool
