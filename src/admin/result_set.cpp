#include "admin/result_set.hpp"

#include <array>
#include <charconv>
#include <ctime>

#include "pgproxy/wire/encode.hpp"

namespace pgproxy::admin {
namespace {

/// pg_type.typlen.
std::uint16_t type_bytes(ColumnType type) {
  constexpr std::uint16_t variable = 0xffff;
  return type == ColumnType::int4 ? 4 : type == ColumnType::int8 ? 8 : variable;
}

void put_data_row(std::string& out, const std::vector<Cell>& cells) {
  constexpr std::uint32_t null_length = 0xffffffff;
  const wire::MessageWriter writer(out, 'D');
  wire::put_u16(out, static_cast<std::uint16_t>(cells.size()));
  for (const Cell& cell : cells) {
    wire::put_u32(out, cell ? static_cast<std::uint32_t>(cell->size()) : null_length);
    if (cell) out += *cell;
  }
}

}  // namespace

void put_columns(std::string& out, const ResultSet& set) {
  constexpr std::uint32_t no_modifier = 0xffffffff;
  const wire::MessageWriter writer(out, 'T');
  wire::put_u16(out, static_cast<std::uint16_t>(set.columns.size()));
  for (const auto& column : set.columns) {
    wire::put_c_string(out, column.name);
    wire::put_u32(out, 0);  // of no table
    wire::put_u16(out, 0);
    wire::put_u32(out, static_cast<std::uint32_t>(column.type));
    wire::put_u16(out, type_bytes(column.type));
    wire::put_u32(out, no_modifier);
    wire::put_u16(out, 0);  // text format
  }
}

void put_result_set(std::string& out, const ResultSet& set) {
  put_columns(out, set);
  for (const auto& row : set.rows) put_data_row(out, row);
  wire::put_command_complete(out, "SHOW");
}

Cell whole_seconds(Duration duration) {
  return to_cell(std::chrono::floor<std::chrono::seconds>(duration).count());
}

Cell rest_us(Duration duration) {
  return to_cell((duration - std::chrono::floor<std::chrono::seconds>(duration)).count());
}

std::string hex_id(std::uint64_t id) {
  if (id == 0) return {};
  std::array<char, 16> digits{};
  const auto written = std::to_chars(digits.begin(), digits.end(), id, 16);
  return "0x" + std::string(digits.begin(), written.ptr);
}

Cell to_cell(WallTime time) {
  if (time == WallTime{}) return std::nullopt;
  const std::time_t seconds =
      std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(time));
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 64> text{};
  return std::string(text.data(),
                     std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &utc));
}

}  // namespace pgproxy::admin
