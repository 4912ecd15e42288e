#include "pgproxy/route/catalog.hpp"

#include <doctest/doctest.h>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/sql/shapes.hpp"

using namespace pgproxy::route;

namespace {

using Functions = std::vector<FunctionRow>;
using Relations = std::vector<RelationRow>;
using Names = std::vector<std::string>;

RelationRow table(std::string schema, std::string name) {
  return {.schema = std::move(schema), .name = std::move(name), .is_table = true};
}
RelationRow view(std::string schema, std::string name, std::string definition) {
  return {
      .schema = std::move(schema), .name = std::move(name), .definition = std::move(definition)};
}
/// A sequence, a foreign or unlogged table.
RelationRow other(std::string schema, std::string name) {
  return {.schema = std::move(schema), .name = std::move(name)};
}

/// "" where there is no doubt.
std::string doubt(const Catalog& catalog, std::string_view text) {
  const pgproxy::sql::Facts facts = pgproxy::sql::analyse(text);
  REQUIRE(facts.is_plain_query);
  const auto reason = catalog.doubt(facts);
  return reason ? std::string(to_string(*reason)) : "";
}

const Functions functions = {{"now", false}, {"Mixed", false}, {"f", true}, {"g", true}};

}  // namespace

TEST_CASE("functions by pg_proc") {
  const Catalog catalog(functions, {}, {});
  CHECK(catalog.function_count() == 4);
  CHECK(doubt(catalog, "SELECT now(), pg_catalog.now(), s.now(), \"Mixed\"()").empty());
  CHECK(doubt(catalog, "SELECT f()") == "function_volatile");
  CHECK(doubt(catalog, "SELECT s.f()") == "function_volatile");
  CHECK(doubt(catalog, "SELECT h()") == "function_unknown");
  CHECK(doubt(Catalog(), "SELECT now()") == "function_unknown");
  CHECK(doubt(Catalog(), "SELECT 1").empty());
}

TEST_CASE("a name that is volatile in either case is volatile") {
  CHECK(doubt(Catalog(Functions{{"a", false}, {"A", true}}, {}, {}), "SELECT a()") ==
        "function_volatile");
  CHECK(doubt(Catalog(Functions{{"A", true}, {"a", false}}, {}, {}), "SELECT a()") ==
        "function_volatile");
}

TEST_CASE("functions that are listed as safe are") {
  const Catalog catalog(functions, {}, Names{"F", "app.g", "unknown"});
  CHECK(doubt(catalog, "SELECT f(), s.f(), unknown()").empty());
  CHECK(doubt(catalog, "SELECT app.g()").empty());
  CHECK(doubt(catalog, "SELECT g()") == "function_volatile");
  CHECK(doubt(catalog, "SELECT s.g()") == "function_volatile");
}

TEST_CASE("tables by pg_class, others are unsafe or not known") {
  const Catalog catalog({}, Relations{table("public", "t"), table("s", "T"), other("s", "q")}, {});
  CHECK(doubt(catalog, "SELECT * FROM t, public.t, \"T\", s.\"T\"").empty());
  CHECK(doubt(catalog, "SELECT * FROM q") == "relation_unsafe");
  CHECK(doubt(catalog, "SELECT * FROM s.q") == "relation_unsafe");
  CHECK(doubt(catalog, "SELECT * FROM s.t") == "relation_unknown");
  CHECK(doubt(catalog, "SELECT * FROM x") == "relation_unknown");
}

TEST_CASE("a name without its schema stands for all that have it") {
  const Catalog catalog(
      {}, Relations{table("a", "t"), other("b", "t"), view("c", "t", "SELECT 1"), table("c", "u")},
      {});
  CHECK(doubt(catalog, "SELECT * FROM t") == "relation_unsafe");
  CHECK(doubt(catalog, "SELECT * FROM a.t, c.t, u").empty());
  CHECK(doubt(catalog, "SELECT * FROM b.t") == "relation_unsafe");
}

TEST_CASE("views are what their queries are, whatever the order of the rows") {
  const Catalog catalog(
      functions,
      Relations{view("p", "deepest", "SELECT * FROM p.deeper;"),
                view("p", "deeper", " SELECT now() FROM p.v JOIN p.t USING (a);"),
                view("p", "v", "SELECT a FROM p.t"), table("p", "t"),
                view("p", "volatile", "SELECT p.f()"),
                view("p", "on_volatile", "SELECT * FROM p.t, p.volatile"),
                view("p", "locks", "SELECT * FROM p.t FOR UPDATE"),
                view("p", "server", "SELECT * FROM pg_locks"), view("p", "unknown", "SELECT p.h()"),
                view("p", "on_unknown", "TABLE p.gone"), view("p", "unread", "SELECT ("),
                view("p", "op", "SELECT 1 OPERATOR(p.+) 2"),
                view("p", "self", "WITH t AS (SELECT 1) SELECT * FROM t")},
      {});
  for (const std::string_view name : {"deepest", "deeper", "v", "self", "p.deepest"}) {
    CAPTURE(name);
    CHECK(doubt(catalog, "SELECT * FROM " + std::string(name)).empty());
  }
  for (const std::string_view name :
       {"volatile", "on_volatile", "locks", "server", "unknown", "on_unknown", "unread", "op"}) {
    CAPTURE(name);
    CHECK(doubt(catalog, "SELECT * FROM p." + std::string(name)) == "relation_unsafe");
  }
}

TEST_CASE("what may run anything") {
  const Catalog catalog(
      functions,
      Relations{table("p", "t"), other("p", "q"), view("p", "v", "SELECT p.f()"),
                view("p", "w", "TABLE p.t"), table("a", "n"), view("b", "n", "TABLE p.v")},
      {});
  const auto may_run_code = [&](std::string_view text) {
    return catalog.may_run_code(pgproxy::sql::analyse(text));
  };
  CHECK(!may_run_code("SELECT f() FROM t, p.q, w, a.n"));
  CHECK(may_run_code("SELECT 1 FROM t, v"));
  CHECK(may_run_code("SELECT 1 FROM n"));
  CHECK(may_run_code("SELECT 1 FROM b.n"));
  CHECK(may_run_code("SELECT 1 FROM unknown"));
}

TEST_CASE("a table with row security is what its policies are") {
  RelationRow harmless = table("p", "a");
  harmless.definition = "SELECT ((b = now()) AND (EXISTS ( SELECT FROM p.t WHERE (t.a = a.a))))";
  RelationRow doubtful = table("p", "b");
  doubtful.definition = "SELECT (now() < c), (p.f())";
  const Catalog catalog(functions, Relations{harmless, doubtful, table("p", "t")}, {});
  CHECK(doubt(catalog, "TABLE a").empty());
  CHECK(doubt(catalog, "TABLE b") == "relation_unsafe");
}

TEST_CASE("views that go round in a circle are unsafe") {
  const Catalog catalog({},
                        Relations{view("p", "a", "TABLE p.b"), view("p", "b", "TABLE p.a"),
                                  view("p", "c", "TABLE p.c"), view("p", "d", "SELECT 1")},
                        {});
  CHECK(doubt(catalog, "TABLE a") == "relation_unsafe");
  CHECK(doubt(catalog, "TABLE b") == "relation_unsafe");
  CHECK(doubt(catalog, "TABLE c") == "relation_unsafe");
  CHECK(doubt(catalog, "TABLE d").empty());
}

TEST_CASE("views on views are followed so far, and no further") {
  const auto name = [](std::size_t depth) { return "v" + std::to_string(depth); };
  Relations chain = {table("p", name(0))};
  for (std::size_t depth = 1; depth <= Catalog::max_view_depth + 1; ++depth) {
    chain.push_back(view("p", name(depth), "TABLE p." + name(depth - 1)));
  }
  const Catalog catalog({}, chain, {});
  CHECK(doubt(catalog, "TABLE " + name(Catalog::max_view_depth)).empty());
  CHECK(doubt(catalog, "TABLE " + name(Catalog::max_view_depth + 1)) == "relation_unsafe");
}

TEST_CASE("more views than are looked at are unsafe") {
  Relations many;
  for (std::size_t index = 0; index <= Catalog::max_view_count; ++index) {
    many.push_back(view("p", "v" + std::to_string(index), "SELECT 1"));
  }
  many.push_back(table("p", "t"));
  const Catalog catalog({}, many, {});
  CHECK(doubt(catalog, "TABLE v" + std::to_string(Catalog::max_view_count - 1)).empty());
  CHECK(doubt(catalog, "TABLE v" + std::to_string(Catalog::max_view_count)) == "relation_unsafe");
  CHECK(doubt(catalog, "TABLE t").empty());
}

TEST_CASE("the questions are queries of catalogs, every operator qualified") {
  // set_config, for the rest of its own transaction, is all that is not a plain one.
  const auto functions_facts = pgproxy::sql::analyse(functions_question());
  CHECK(functions_facts.is_plain_query);
  CHECK(functions_facts.relations == Names{"pg_catalog.pg_aggregate", "pg_catalog.pg_proc"});
  const auto relations_facts = pgproxy::sql::analyse(relations_question());
  CHECK(relations_facts.is_plain_query);
  CHECK(relations_facts.sets_locally);
  CHECK(relations_facts.leaves.empty());
  for (const auto* const facts : {&functions_facts, &relations_facts}) {
    for (const std::string& name : facts->all_functions) CHECK(name.starts_with("pg_catalog."));
    for (const std::string& name : facts->relations) CHECK(name.starts_with("pg_catalog."));
  }
}
