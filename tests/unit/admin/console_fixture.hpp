#pragma once

#include <chrono>
#include <doctest/doctest.h>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pgproxy/admin/console.hpp"
#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/message.hpp"

// A console over rows of one's own, and what it answers.
namespace pgproxy {

struct FakeSource final : StatusSource {
  std::vector<ConnectionRow> clients() const override { return client_rows; }
  std::vector<ConnectionRow> servers() const override { return server_rows; }
  std::vector<PoolRow> pools() const override { return pool_rows; }
  std::vector<StatsRow> stats() const override { return stats_rows; }
  ListCounts lists() const override { return counts; }
  std::vector<PinRow> pins() const override { return pin_rows; }
  std::vector<PinTotalRow> pin_totals() const override { return pin_total_rows; }
  std::vector<HealthRow> health() const override { return health_rows; }
  std::vector<CapacityRow> capacity() const override { return capacity_rows; }
  std::vector<QueryRow> queries() const override { return query_rows; }
  std::vector<SlowQueryRow> slow_queries() const override { return slow_query_rows; }
  std::vector<DatabaseRow> databases() const override { return database_rows; }
  std::vector<UserRow> users() const override { return user_rows; }
  std::vector<WaitRow> waits() const override { return wait_rows; }
  std::vector<ErrorRow> errors() const override { return error_rows; }
  std::vector<MemoryRow> memory() const override { return memory_rows; }
  std::vector<HostRow> hosts() const override { return host_rows; }
  std::vector<RouteRow> routes() const override { return route_rows; }
  std::vector<RouteExplanation> explain_route(std::string_view sql) const override {
    return {{.database = "shop",
             .target = "replica",
             .reason = "plain_query",
             .explanation = "asked: " + std::string(sql),
             .server = "b:5432"}};
  }
  PoolerState pooler_state() const override { return state; }

  std::vector<ConnectionRow> client_rows;
  std::vector<ConnectionRow> server_rows;
  std::vector<PoolRow> pool_rows;
  std::vector<StatsRow> stats_rows;
  ListCounts counts;
  std::vector<PinRow> pin_rows;
  std::vector<PinTotalRow> pin_total_rows;
  std::vector<HealthRow> health_rows;
  std::vector<CapacityRow> capacity_rows;
  std::vector<QueryRow> query_rows;
  std::vector<SlowQueryRow> slow_query_rows;
  std::vector<DatabaseRow> database_rows;
  std::vector<UserRow> user_rows;
  std::vector<WaitRow> wait_rows;
  std::vector<ErrorRow> error_rows;
  std::vector<MemoryRow> memory_rows;
  std::vector<HostRow> host_rows;
  std::vector<RouteRow> route_rows;
  PoolerState state;
};

/// An answer, taken apart. NULL cells read "NULL".
struct Answer {
  std::string tags;     ///< message types in order
  std::string columns;  ///< "name:oid name:oid …"
  std::vector<std::string> names;
  std::vector<std::vector<std::string>> rows;
  std::string complete;
  wire::ErrorFields error;
  std::string bytes;

  std::string cell(std::size_t row, std::string_view column) const {
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == column) return rows.at(row).at(i);
    }
    return "no such column";
  }
  /// Of a two-column answer.
  std::string value(std::string_view key) const {
    for (const auto& row : rows) {
      if (row.at(0) == key) return row.at(1);
    }
    return "no such row";
  }
};

inline void read_columns(wire::Cursor cursor, Answer& answer) {
  const unsigned count = cursor.u16();
  for (unsigned i = 0; i < count; ++i) {
    answer.names.emplace_back(cursor.c_string());
    CHECK(cursor.u32() == 0);
    CHECK(cursor.u16() == 0);
    const auto oid = cursor.u32();
    CHECK(cursor.u16() == (oid == 23 ? 4 : oid == 20 ? 8 : 0xffff));
    CHECK(cursor.u32() == 0xffffffff);
    CHECK(cursor.u16() == 0);
    if (i > 0) answer.columns += ' ';
    answer.columns += answer.names.back() + ":" + std::to_string(oid);
  }
  CHECK(cursor.ok_and_empty());
}

inline void read_row(wire::Cursor cursor, Answer& answer) {
  auto& row = answer.rows.emplace_back();
  const unsigned count = cursor.u16();
  CHECK(count == answer.names.size());
  for (unsigned i = 0; i < count; ++i) {
    const std::uint32_t length = cursor.u32();
    row.emplace_back(length == 0xffffffff ? "NULL" : as_text(cursor.bytes(length)));
  }
  CHECK(cursor.ok_and_empty());
}

inline Answer take_apart(std::string bytes) {
  Answer answer;
  answer.bytes = std::move(bytes);
  Bytes rest = as_bytes(answer.bytes);
  wire::Header header;
  while (wire::parse_header(rest, header) == wire::HeaderStatus::complete) {
    const Bytes body = rest.subspan(wire::header_bytes, header.body_bytes);
    answer.tags += header.type;
    if (header.type == 'T') read_columns(wire::Cursor(body), answer);
    if (header.type == 'D') read_row(wire::Cursor(body), answer);
    if (header.type == 'C') answer.complete = wire::Cursor(body).c_string();
    if (header.type == 'E' || header.type == 'N') answer.error = *wire::decode_error(body);
    rest = rest.subspan(header.total_bytes());
  }
  CHECK(rest.empty());
  return answer;
}

inline Answer ask(std::string_view text, const FakeSource& source = {},
                  const config::Loaded& loaded = {}, bool is_admin = true) {
  std::string bytes;
  admin::Console(source, loaded).execute(text, is_admin, bytes);
  return take_apart(std::move(bytes));
}

inline constexpr WallTime some_time{std::chrono::seconds{1'795'000'000} +
                                    std::chrono::microseconds{123'456}};  // 2026-11-18 11:06:40 UTC

}  // namespace pgproxy
