#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/base/time.hpp"

namespace pgproxy::admin {

/// PostgreSQL's type oids.
enum class ColumnType : std::uint32_t { int4 = 23, text = 25, numeric = 1700 };

/// nullopt is NULL.
using Cell = std::optional<std::string>;

/// What a SHOW answers.
struct ResultSet {
  struct Column {
    std::string name;
    ColumnType type = ColumnType::text;
  };
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  ///< each with as many cells as there are columns
};

/// Appends RowDescription, DataRow … and CommandComplete "SHOW" (PostgreSQL docs 55.7).
void put_result_set(std::string& out, const ResultSet& set);

/// "0x…", as PgBouncer shows pointers; "" for 0.
std::string hex_id(std::uint64_t id);

inline Cell to_cell(std::integral auto number) {
  return std::to_string(number);
}
inline Cell to_cell(const std::string& text) {
  return text;
}
inline Cell to_cell(const std::optional<std::string>& text) {
  return text;
}
/// "YYYY-MM-DD HH:MM:SS UTC"; NULL for the epoch: it did not happen.
Cell to_cell(WallTime time);

/// One column of a table of Rows: what it is called and how its cells come from a row.
template <class Row>
struct Column {
  std::string_view name;
  ColumnType type;
  Cell (*cell)(const Row&);
};

/// The column that shows a member of Row as it is: numbers as int4, everything else as text.
template <auto member, class Row, class Value>
constexpr Column<Row> member_column(std::string_view name, Value Row::* /*member*/) {
  return {name, std::integral<Value> ? ColumnType::int4 : ColumnType::text,
          [](const Row& row) { return to_cell(row.*member); }};
}
template <auto member>
constexpr auto column(std::string_view name) {
  return member_column<member>(name, member);
}

template <class Row>
ResultSet tabulate(std::span<const Column<Row>> columns, const std::vector<Row>& rows) {
  ResultSet set;
  for (const auto& column : columns) set.columns.push_back({std::string(column.name), column.type});
  for (const Row& row : rows) {
    auto& cells = set.rows.emplace_back();
    for (const auto& column : columns) cells.push_back(column.cell(row));
  }
  return set;
}

}  // namespace pgproxy::admin
