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
enum class ColumnType : std::uint32_t {
  bytea = 17,
  int8 = 20,
  int4 = 23,
  text = 25,
  numeric = 1700
};

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

/// Appends RowDescription.
void put_columns(std::string& out, const ResultSet& set);
/// Appends RowDescription, DataRow … and CommandComplete "SHOW" (PostgreSQL docs 55.7).
void put_result_set(std::string& out, const ResultSet& set);

/// "0x…", as PgBouncer shows pointers; "" for 0.
std::string hex_id(std::uint64_t id);
/// Of a statement's shape, as all lists name it.
inline Cell fingerprint_cell(std::uint64_t fingerprint) {
  return fingerprint == 0 ? std::nullopt : Cell(hex_id(fingerprint));
}

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

/// Numbers as int4, or int8 where they may need it; everything else as text.
template <class Value>
constexpr ColumnType column_type() {
  if (!std::integral<Value>) return ColumnType::text;
  return sizeof(Value) > sizeof(std::uint32_t) ? ColumnType::int8 : ColumnType::int4;
}

/// The column that shows a member of Row as it is.
template <auto member, class Row, class Value>
constexpr Column<Row> member_column(std::string_view name, Value Row::* /*member*/,
                                    ColumnType type = column_type<Value>()) {
  return {name, type, [](const Row& row) { return to_cell(row.*member); }};
}
template <auto member>
constexpr auto column(std::string_view name) {
  return member_column<member>(name, member);
}
/// With the type that PgBouncer gives it.
template <auto member>
constexpr auto column(std::string_view name, ColumnType type) {
  return member_column<member>(name, member, type);
}

/// Whole seconds of a duration, and the microseconds beside them.
Cell whole_seconds(Duration duration);
Cell rest_us(Duration duration);

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

template <class Row, std::size_t count>
ResultSet table(const Column<Row> (&columns)[count], const std::vector<Row>& rows) {
  return tabulate(std::span<const Column<Row>>(columns), rows);
}

}  // namespace pgproxy::admin
