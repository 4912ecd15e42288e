#include "pgproxy/sql/route_hint.hpp"

#include <doctest/doctest.h>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

using pgproxy::sql::route_hint;
using enum pgproxy::sql::RouteHint;

namespace {

using Texts = std::initializer_list<std::string_view>;

}  // namespace

TEST_CASE("a comment in front of the first token says where to run") {
  for (const std::string_view text :
       Texts{"/* pgproxy: replica */ SELECT 1", "/*pgproxy:replica*/SELECT 1",
             " \n\t/*  pgproxy  :\nreplica  */ select 1", "-- pgproxy: replica\nSELECT 1",
             "--pgproxy:replica\r\nSELECT 1", "-- pgproxy: replica", "/* PgProxy: Replica */",
             "/* a */ -- b\n/* pgproxy: replica */ -- c\nSELECT 1",
             "/* a /* nested */ */ /* pgproxy: replica */ BEGIN",
             "/* pgproxy: nowhere */ /* pgproxy: replica */ SELECT 1"}) {
    CAPTURE(text);
    CHECK(route_hint(text) == replica);
  }
  CHECK(route_hint("/* pgproxy: primary */ SELECT 1") == primary);
  CHECK(route_hint("-- pgproxy: primary\nSELECT 1") == primary);
}

TEST_CASE("the first of several hints counts") {
  CHECK(route_hint("/* pgproxy: primary *//* pgproxy: replica */ SELECT 1") == primary);
  CHECK(route_hint("-- pgproxy: replica\n-- pgproxy: primary\nSELECT 1") == replica);
}

TEST_CASE("what is no hint") {
  for (const std::string_view text : Texts{"",
                                           " ",
                                           "SELECT 1",
                                           "SELECT /* pgproxy: replica */ 1",
                                           "SELECT 1 -- pgproxy: replica",
                                           "/* pgproxy: replicas */ SELECT 1",
                                           "/* pgproxy replica */ SELECT 1",
                                           "/* see pgproxy: replica */ SELECT 1",
                                           "/* pgproxy: replica",
                                           "/*/ pgproxy: replica",
                                           "/* /* pgproxy: replica */ */ SELECT 1",
                                           "; /* pgproxy: replica */ SELECT 1",
                                           "'/* pgproxy: replica */'",
                                           "- - pgproxy: replica\n",
                                           "/",
                                           "-",
                                           "/*",
                                           "--",
                                           "/**/",
                                           "/***/ SELECT",
                                           "/*/*/*/",
                                           "# pgproxy: replica\nSELECT 1",
                                           "/* pgproxy: */ SELECT 1"}) {
    CAPTURE(text);
    CHECK_FALSE(route_hint(text));
  }
}
