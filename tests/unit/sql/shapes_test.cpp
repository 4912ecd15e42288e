#include "pgproxy/sql/shapes.hpp"

#include <doctest/doctest.h>
#include <string>
#include <string_view>

using pgproxy::sql::ShapeRef;
using pgproxy::sql::Shapes;
using pgproxy::sql::StatementKind;

TEST_CASE("texts that differ in constants share a shape") {
  Shapes shapes;
  const ShapeRef one = shapes.find("SELECT a FROM t WHERE id = 1", true);
  CHECK(one->facts.kind == StatementKind::select);
  CHECK(shapes.find("select a from t where id = 22", true) == one);
  CHECK(shapes.find("SELECT b FROM t WHERE id = 1", true) != one);
  CHECK(shapes.find("SELECT a FROM t WHERE id = 1", false) != one);
  CHECK(shapes.size() == 3);
}

TEST_CASE("the shape does not depend on which text came first") {
  Shapes shapes;
  // 20 KiB, but without its constants it is short.
  const std::string long_text = "SELECT '" + std::string(20'000, 'x') + "'";
  const ShapeRef first = shapes.find(long_text, true);
  CHECK(first->facts.kind == StatementKind::select);
  CHECK(shapes.find("SELECT ''", true) == first);

  std::string rows = "INSERT INTO t VALUES (1, 'a')";
  const ShapeRef row = shapes.find(rows, true);
  while (rows.size() < 60'000) rows += ", (1, 'a')";
  CHECK(shapes.find(rows, true) == row);
  CHECK(row->facts.kind == StatementKind::insert);

  CHECK(shapes.find(R"(SELECT 1, E'\u00')", true)->facts.kind == StatementKind::select);
  CHECK(shapes.find(R"(SELECT '\'')", false)->facts.kind == StatementKind::select);
}

TEST_CASE("what cannot be parsed has a shape of its own if it ends properly") {
  Shapes shapes;
  const ShapeRef newer = shapes.find("SELEKT 1", true);
  CHECK(newer != shapes.unknown());
  CHECK(newer->facts.kind == StatementKind::unknown);
  CHECK(shapes.find("selekt 2", true) == newer);

  std::string too_long = "SELECT a";
  while (too_long.size() <= 16 << 10) too_long += ", a";
  const ShapeRef long_shape = shapes.find(too_long, true);
  CHECK(long_shape != shapes.unknown());
  CHECK(long_shape->facts.kind == StatementKind::unknown);

  CHECK(shapes.find("SELECT '", true) == shapes.unknown());
  CHECK(shapes.find("SELECT 1" + std::string((64U << 10) - 8, ' '), true) != shapes.unknown());
  CHECK(shapes.find("SELECT 1" + std::string((64U << 10) - 7, ' '), true) == shapes.unknown());
  CHECK(shapes.unknown()->facts.kind == StatementKind::unknown);
}

TEST_CASE(
    "a text without constants has the shape of any text like it, when shapes are forgotten too") {
  Shapes shapes(4);
  for (int round = 0; round < 20; ++round) {
    const ShapeRef shape = shapes.find("select a from t", true);
    CHECK(shapes.find("SELECT a FROM t", true) == shape);
    CHECK(shapes.find("select a from t", true) == shape);
    CHECK(shapes.find("select a from t", false) != shape);
    shapes.find("select b" + std::to_string(round), true);
  }
  CHECK(shapes.size() <= 4);
}

TEST_CASE("shapes not used for long are forgotten") {
  constexpr int max_count = 10;
  Shapes shapes(max_count);
  const std::string kept = "SELECT kept";
  const ShapeRef often = shapes.find(kept, true);
  const ShapeRef once = shapes.find("SELECT once", true);
  for (int index = 0; index < 100; ++index) {
    shapes.find("SELECT a" + std::to_string(index), true);
    CHECK(shapes.find(kept, true) == often);
    CHECK(shapes.size() <= max_count);
  }
  CHECK(shapes.find("SELECT once", true) != once);

  Shapes smallest(0);
  CHECK(smallest.find(kept, true)->facts.kind == StatementKind::select);
  CHECK(smallest.find("SELECT 1, 2", true)->facts.kind == StatementKind::select);
}

TEST_CASE("what was learned can be forgotten") {
  Shapes shapes(4);
  const ShapeRef one = shapes.find("SELECT f()", true);
  for (const std::string_view text : {"SELECT a", "SELECT b", "SELECT c"}) shapes.find(text, true);
  const ShapeRef two = shapes.find("SELECT f(1)", true);
  one->clean_count = two->clean_count = 3;
  one->run_count = two->run_count = shapes.unknown()->run_count = 7;
  shapes.forget_learned();
  for (const ShapeRef& shape : {two, shapes.unknown()}) {
    shapes.refresh(*shape);
    CHECK(shape->clean_count == 0);
    CHECK(shape->run_count == 0);
    shape->run_count = 5;
    shapes.refresh(*shape);
    CHECK(shape->run_count == 5);
  }
}

TEST_CASE("the text of a DO is not shown") {
  Shapes shapes;
  CHECK(shapes.find("do $$ begin perform 'hush'; end $$", true)->text == "do ?");
  CHECK(shapes.find("select 'hush'", true)->text == "select ?");
}
