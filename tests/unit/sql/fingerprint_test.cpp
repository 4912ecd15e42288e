#include "sql/fingerprint.hpp"

#include <cstdint>
#include <doctest/doctest.h>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using pgproxy::sql::display;
using pgproxy::sql::normalise;
using pgproxy::sql::render;
using pgproxy::sql::scratch_bytes;
using namespace std::string_literals;

namespace {

std::optional<std::uint64_t> fingerprint(std::string_view text, bool backslashes_are_plain = true) {
  std::vector<char> scratch(scratch_bytes(text.size()));
  const auto normalised = normalise(text, backslashes_are_plain, scratch);
  if (!normalised) return std::nullopt;
  return normalised->fingerprint;
}

std::string rendered(std::string_view text, bool backslashes_are_plain = true) {
  std::vector<char> scratch(scratch_bytes(text.size()));
  const auto normalised = normalise(text, backslashes_are_plain, scratch);
  return normalised ? render(normalised->tokens) : "none";
}

using Pairs = std::initializer_list<std::pair<std::string_view, std::string_view>>;

void check_equal(Pairs pairs) {
  for (const auto& [one, other] : pairs) {
    CAPTURE(one);
    CAPTURE(other);
    REQUIRE(fingerprint(one));
    CHECK(fingerprint(one) == fingerprint(other));
  }
}
void check_different(Pairs pairs) {
  for (const auto& [one, other] : pairs) {
    CAPTURE(one);
    CAPTURE(other);
    REQUIRE(fingerprint(one));
    REQUIRE(fingerprint(other));
    CHECK(fingerprint(one) != fingerprint(other));
  }
}

}  // namespace

TEST_CASE("constants, case, blanks and comments make no difference") {
  check_equal({{"SELECT 1", "select  2"},
               {"SELECT 1", "/* a /* b */ c */SELECT-- x\n1 -- y"},
               {"SELECT 1", "SELECT 1;"},
               {"SELECT 1", " SELECT\t\r\n\f1 ; ;"},
               {"SELECT 'a'", "SELECT 'it''s; SET x = 1'"},
               {"SELECT 'a'", R"(SELECT E'\'' )"},
               {"SELECT 'a'", "SELECT $$a$$"},
               {"SELECT 'a'", "SELECT $a$ $b$ ;SET x=1; $$ $a$"},
               {"SELECT 'a'", "SELECT 'a'\n'b'"},
               {"SELECT 'a'", "SELECT 'a' --c\n 'b'"},
               {"SELECT E'a'", "SELECT E'a'\n'\\';SET x=1'"},
               {"SELECT B'0'", "SELECT X'1F'"},
               {"SELECT 1.5", "SELECT .5"},
               {"SELECT 1e10", "SELECT 1.5E-3"},
               {"SELECT 1e10", "SELECT 99999999999"},
               {"SELECT 2147483647", "SELECT 0000000000000001"},
               {"SELECT $1", "SELECT $22"},
               {"SELECT a=-1", "SELECT a = - 1"},
               {"SELECT * FROM t WHERE id=1", "select*from T where ID = 2"},
               {"SET app.x = 'a'", "SET app.x = 'b'"},
               {"SELECT set_config('a', 'b', true)", "SELECT set_config('a', 'c', true)"},
               {"EXECUTE p(1)", "EXECUTE p(2)"}});
}

TEST_CASE("tokens make a difference") {
  check_different({{"SELECT 1", "SELECT '1'"},
                   {"SELECT 1", "SELECT 1.5"},
                   {"SELECT 1", "SELECT $1"},
                   {"SELECT 1", "SELECT a"},
                   {"SELECT 'a'", "SELECT \"a\""},
                   {"SELECT \"a\"", "SELECT \"A\""},
                   {"SELECT a", "SELECT \"a\""},
                   {"SELECT ab", "SELECT a b"},
                   {"SELECT a + b", "SELECT a - b"},
                   {"SELECT a <> b", "SELECT a < > b"},
                   {"SELECT a.b", "SELECT a, b"},
                   {"SELECT a..b", "SELECT a. .b"},
                   {"SELECT a. ..b", "SELECT a.. .b"},
                   {"SELECT a::b", "SELECT a: :b"},
                   {"SELECT true", "SELECT false"},
                   {"SELECT null", "SELECT 1"},
                   {"SELECT 1", "SELECT 1; SELECT 1"},
                   {"SELECT (1)", "SELECT 1"},
                   {"SELECT f(1)", "SELECT f(1, 2)"},
                   {"SELECT set_config('a', 'b', true)", "SELECT set_config('a', 'b', false)"},
                   {"SELECT U&\"a\"", "SELECT \"a\""},
                   {"SELECT \"a\"\"b\"", "SELECT \"a\" \"b\""},
                   {"SELECT '\\' || 'a'", "SELECT ''"},
                   {"SELECT 'a' 'b'", "SELECT 'a'"},
                   {"BEGIN", "COMMIT"}});
}

TEST_CASE("lists of constants and rows of any length are one") {
  check_equal(
      {{"SELECT 1 FROM t WHERE a IN (1)", "SELECT 1 FROM t WHERE a IN (1, -2, $3, NULL, 'x')"},
       {"SELECT a = ANY(ARRAY[1])", "SELECT a = ANY(ARRAY[1, 2.5, +3])"},
       {"SELECT ARRAY[[1, 2]]", "SELECT ARRAY[[1, 2], [3, 4], [5, 6]]"},
       {"SELECT (a, b) IN ((1, 2))", "SELECT (a, b) IN ((1, 2), ('x', true))"},
       {"INSERT INTO t VALUES (1, 2)", "INSERT INTO t VALUES (1, 2), (3, DEFAULT)"},
       {"INSERT INTO t VALUES (1, 2) RETURNING a",
        "INSERT INTO t VALUES ($1, $2), ($3, $4), ($5, $6) RETURNING a"},
       {"INSERT INTO t VALUES (1, now(), 'a'::text)",
        "INSERT INTO t VALUES (1, now(), 'b'::text), (NULL, now(), 'a'::text)"},
       {"VALUES (1)", "VALUES (1), (2)"}});
  check_different({{"SELECT 1 FROM t WHERE a IN (1)", "SELECT 1 FROM t WHERE a IN (b)"},
                   {"SELECT 1 FROM t WHERE a IN (1)", "SELECT 1 FROM t WHERE a IN (1, f(1))"},
                   {"SELECT 1 FROM t WHERE a IN (1)", "SELECT 1 FROM t WHERE a IN (SELECT 1)"},
                   {"SELECT a IN (f(1, 2))", "SELECT a IN (f(1))"},
                   {"SELECT a IN (1 + 1)", "SELECT a IN (1)"},
                   {"VALUES (f(1))", "VALUES (f(1)), (g(1))"},
                   {"VALUES (set_config('a', 'b', true))",
                    "VALUES (set_config('a', 'b', true)), (set_config('c', 'b', true))"}});
}

TEST_CASE("constants that decide are kept") {
  check_different(
      {{"DO 'a'", "DO 'b'"},
       {"DO $$a$$", "DO $$b$$"},
       {"do language plpgsql 'a'", "do language plpgsql 'b'"},
       {"SET search_path = 'a'", "SET search_path = 'b'"},
       {"SET LOCAL search_path TO a, 'b'", "SET LOCAL search_path TO a, 'c'"},
       {"SET SCHEMA 'a'", "SET SCHEMA 'b'"},
       {"SET \"search_path\" = 'a'", "SET \"search_path\" = 'b'"},
       {"SET U&\"search!005fpath\" UESCAPE '!' = 'a'",
        "SET U&\"search!005fpath\" UESCAPE '!' = 'b'"},
       {"SELECT U&\"a!0061\" UESCAPE '!'", "SELECT U&\"a!0061\" UESCAPE '?'"},
       {"SELECT set_config('a', 'b', true)", "SELECT set_config('c', 'b', true)"},
       {"SELECT \"set_config\"('a', 'b', true)", "SELECT \"set_config\"('c', 'b', true)"},
       {"SELECT set_config(('a'), 'b', true)", "SELECT set_config(('c'), 'b', true)"},
       {"SELECT set_config('search_path', 'a', true)",
        "SELECT set_config('search_path', 'b', true)"},
       {"SELECT set_config(E'search\\x5fpath', 'a', true)",
        "SELECT set_config(E'search\\x5fpath', 'b', true)"}});
  check_equal({{"INSERT INTO t VALUES ('a') ON CONFLICT DO NOTHING",
                "INSERT INTO t VALUES ('b') ON CONFLICT DO NOTHING"},
               {"DO 'a'; SELECT 1", "DO 'a'; SELECT 2"},
               {"UPDATE t SET search_path = 'a'", "UPDATE t SET search_path = 'b'"},
               {"SELECT set_config('a', $1, false)", "SELECT set_config('a', $2, false)"}});
}

TEST_CASE("without standard_conforming_strings backslashes escape in plain strings") {
  CHECK(fingerprint(R"(SELECT '\';SET x=1;')", false) == fingerprint("SELECT 'a'", false));
  CHECK(fingerprint(R"(SELECT '\\';SET x=1)", false) == fingerprint("SELECT 'a';SET x=1", false));
  CHECK_FALSE(fingerprint(R"(SELECT '\';SET x=1;')", true));
  CHECK(fingerprint("SELECT 1", false) != fingerprint("SELECT 1", true));
  CHECK_FALSE(fingerprint("SELECT U&'a'", false));
  CHECK(fingerprint("SELECT U&'\\'", true));
}

TEST_CASE("text that does not end properly has none") {
  for (const std::string_view text :
       {"SELECT '", "SELECT 'a''", "SELECT E'\\", "SELECT E'\\'", "SELECT \"a", "SELECT $$a$",
        "SELECT $a$ $A$", "/*", "SELECT 1 /* /* */", "/*/", "SELECT (1", "SELECT 1)", "SELECT (1]",
        "SELECT a[1)", "SELECT $", "SELECT \\", "SELECT {", "SELECT \"a\x01\"", "SET LOCAL /*"}) {
    CAPTURE(text);
    CHECK_FALSE(fingerprint(text));
  }
  CHECK_FALSE(fingerprint("SELECT 1"s + '\0' + " FROM t"));
  CHECK(fingerprint(std::string(250, '(') + std::string(250, ')')));
  CHECK_FALSE(fingerprint(std::string(251, '(') + std::string(251, ')')));
}

TEST_CASE("what is rendered is SQL of the same tokens") {
  CHECK(rendered("SELECT a.B, 'x', $2, 1, 2.5 FROM \"T\" -- c") ==
        "select a .b ,'' ,$1 ,1 ,.1 from \"T\" ");
  CHECK(rendered("VALUES (1, 'a'), (2, 'b')") == "values (1 )");
  CHECK(rendered("SELECT B'1', U&'x' UESCAPE '!'") == "select B'' ,U&'' uescape '!' ");
  CHECK(rendered("SELECT a. 1, b[1:2], c: :d") == "select a . 1 ,b [1 : 1 ],c : : d ");
  CHECK(rendered("DO $$ a $$") == "do $$ a $$ ");
  for (const std::string_view text :
       {"SELECT a+-1, b::int[], c[1:2] FROM t WHERE x IN (1, 2) AND y ~* 'a'",
        "INSERT INTO t VALUES (1, now()), (2, now())", "SELECT U&'x' UESCAPE '!', 1.5e3, $3",
        "SELECT set_config('search_path', E'\\x41', true), \"a\"\"b\"",
        "SET search_path = 'a', b"}) {
    CAPTURE(text);
    CHECK(fingerprint(rendered(text)) == fingerprint(text));
  }
}

TEST_CASE("what people are shown has no constants") {
  const auto shown = [](std::string_view text, std::size_t max_bytes = 100) {
    std::vector<char> scratch(scratch_bytes(text.size()));
    return display(normalise(text, true, scratch)->tokens, max_bytes);
  };
  CHECK(shown("SELECT * FROM t WHERE a = 'hush' AND b > -4.5 /* hush */") ==
        "select * from t where a = ? and b > - ?");
  CHECK(shown("select $1") == "select ?");
  CHECK(shown("select aaaaaaaaaa", 10) == "select aaa...");
  CHECK(shown("select \"\u00e4\u00e4\"", 11) == "select \"...");
}
