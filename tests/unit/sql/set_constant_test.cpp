#include <doctest/doctest.h>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/sql/shapes.hpp"

using pgproxy::sql::set_constant;
using pgproxy::sql::settings_named;

namespace {

/// "name=value", or "none".
std::string look(std::string_view text, bool backslashes_are_plain = true) {
  const auto found = set_constant(text, backslashes_are_plain);
  return found ? found->name + "=" + found->value : "none";
}

std::string names(std::string_view text, bool backslashes_are_plain = true) {
  std::string all;
  for (const std::string& name : settings_named(text, backslashes_are_plain)) {
    all += (all.empty() ? "" : " ") + name;
  }
  return all;
}

struct Case {
  std::string_view text;
  std::string_view expected;
};

}  // namespace

TEST_CASE("SET name = constant") {
  for (const auto& [text, expected] : std::initializer_list<Case>{
           {"SET work_mem = '64MB'", "work_mem=64MB"},
           {"set WORK_MEM to 100", "work_mem=100"},
           {"SET SESSION x = -1.50", "x=-1.50"},
           {"SET x = +7", "x=7"},
           {"SET x = - 007", "x=-7"},
           {"SET x = -0", "x=0"},
           {"SET x = 1e3", "x=1e3"},
           {"SET x = 99999999999", "x=99999999999"},
           {"SET x = on;", "x=on"},
           {"SET x = FALSE ; -- c", "x=false"},
           {"SET x = Abc", "x=abc"},
           {"SET x = \"Abc\"\"d\"", "x=Abc\"d"},
           {"/* a */ SET App.Tenant.Id TO 'it''s' /* b */", "app.tenant.id=it's"},
           {"SET \"App\".\"x\" = ''", "app.x="},
           {R"(SET x = E'a\tb\\\x41\101\'\q')", "x=a\tb\\AA'q"},
           {"SET x = 'a'\n 'b' -- it's\n 'c'", "x=abc"},
           {"SET x = $$a'b$$", "x=a'b"},
           {"SET x = $t$a$$b$t$", "x=a$$b"},
           {"SET x = 'a\\b'", "x=a\\b"},
           {"SET local.x = 1", "local.x=1"},
           {"SET session.x = 1", "session.x=1"},
           {"SET SESSION session.x = 1", "session.x=1"},
           {"SET role = 'a'", "role=a"},
           {"SET DateStyle = 'ISO, DMY'", "datestyle=ISO, DMY"}}) {
    CAPTURE(text);
    CHECK(look(text) == expected);
  }
}

TEST_CASE("other forms are none") {
  for (const std::string_view text :
       {"",
        "SET",
        "SET x",
        "SET x =",
        "SET x = DEFAULT",
        "SET x TO default",
        "SET x = 1, 2",
        "SET LOCAL x = 1",
        "SET x = 1; SELECT 1",
        "SELECT 1",
        "RESET x",
        "SET TIME ZONE 'UTC'",
        "SET NAMES 'UTF8'",
        "SET ROLE a",
        "SET SESSION AUTHORIZATION a",
        "SET TIME ZONE 5",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET TRANSACTION READ ONLY",
        "SET search_path = a",
        "SET \"Search_Path\" = 'a'",
        "SET temp_tablespaces = ''",
        "SET timezone = INTERVAL '1' HOUR",
        "SET x = $1",
        "SET x = (1)",
        "SET x = 'a",
        "SET x = -a",
        "SET x = a.b",
        "SET x = B'1'",
        "SET x = U&'a'",
        R"(SET x = E'\u0041')",
        R"(SET x = E'\xe4')",
        R"(SET x = E'\0')",
        "SET x = 1 2",
        "SET x. = 1",
        "SET x = \xc3\xa4",
        "SET x FROM CURRENT",
        "SET aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = 1"}) {
    CAPTURE(text);
    CHECK(look(text) == "none");
  }
}

TEST_CASE("without standard_conforming_strings backslashes escape in plain strings") {
  CHECK(look(R"(SET x = 'a\'b\\')", false) == "x=a'b\\");
  CHECK(look(R"(SET x = 'a\'b\\')", true) == "none");
  CHECK(look(R"(SET x = $$a\$$)", false) == "x=a\\");
}

TEST_CASE("names of settings are found") {
  for (const auto& [text, expected] : std::initializer_list<Case>{
           {"SELECT 1", ""},
           {"SET Work_Mem = 1", "work_mem"},
           {"SET LOCAL a = 1; SET SESSION b = 2; RESET c; RESET ALL", "a b c"},
           {"SET \"App\".\"X\" TO 1; SET local.a = 1; set a = 2", "app.x local.a a"},
           {"SET TIME ZONE 'UTC'; SET NAMES 'a'; SET ROLE b; SET SESSION AUTHORIZATION c",
            "timezone client_encoding role session_authorization"},
           {"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "default_transaction_isolation default_transaction_read_only "
            "default_transaction_deferrable"},
           {"SET SCHEMA 'a'", "search_path"},
           {"SELECT set_config('Work_Mem', 'a', false), pg_catalog.set_config ( 'b.c', '', true)",
            "work_mem b.c"},
           {"SELECT \"set_config\"(E'a\\x62', 'a', false)", "ab"},
           {"SELECT current_setting('app.tenant')", "app.tenant"},
           {"SELECT 'not.a name', 'a.', '.b', 'a b.c', 'x'", ""},
           {"DO $$ BEGIN SET x = 1; PERFORM set_config('y', 'z.z', true); END $$", "x y z.z"},
           {"DO $$ BEGIN EXECUTE 'SET a = ''1''; SELECT set_config(''b'', ''c'', false)'; END $$",
            "a b"},
           {"DO $a$ BEGIN EXECUTE $b$ SET don't.x = 1; SET y = 2 $b$; SET z = 1; END $a$",
            "don y z"},
           {"DO $$ BEGIN PERFORM setseed(0.5); END $$", "seed"},
           {"DO $$ BEGIN IF a THEN SET seed = 1; END IF; EXECUTE 'set seed = 2'; END $$", "seed"},
           {"DO $$ BEGIN EXECUTE 'load ''a'''; END $$", "seed"},
           {"UPDATE t SET seed = 1 WHERE load = 'a'", ""},
           {"DO $$ BEGIN UPDATE \"t\" SET seed = 1; UPDATE t AS u SET seed = 1; END $$", ""},
           {"UPDATE t SET a = 1, b = 2", "a"}}) {
    CAPTURE(text);
    CHECK(names(text) == expected);
  }
  CHECK(names(R"(SELECT 'a\'; SET x = 1; --')", true) == "x");
  CHECK(names(R"(SELECT '\'; SET x = 1; --')", false) == "x");  // within the string
}

TEST_CASE("no more than 32 names, each once") {
  std::string text = "SET a = 1; SET A = 2;";
  for (int index = 0; index < 50; ++index) text += "SET x" + std::to_string(index) + " = 1;";
  const std::vector<std::string> found = settings_named(text, true);
  CHECK(found.size() == 32);
  CHECK(found[0] == "a");
  CHECK(found[1] == "x0");
}

TEST_CASE("functions that a body may call, and whether it sets by names that are not there") {
  CHECK(pgproxy::sql::functions_called(
            "begin perform Set_Tenant (x); return f(g(1)) + a.h(2); end") ==
        std::vector<std::string>{"f", "g", "h", "set_tenant"});
  CHECK(pgproxy::sql::functions_called("no calls here").empty());
  CHECK(pgproxy::sql::sets_by_computed_names("perform SET_CONFIG(n, v, false)"));
  CHECK(pgproxy::sql::sets_by_computed_names("execute format('…')"));
  CHECK_FALSE(pgproxy::sql::sets_by_computed_names("update t set a = 1"));
}
