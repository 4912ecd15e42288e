#include <fmt/format.h>

#include "admin/shows.hpp"

namespace pgproxy::admin {
namespace {

Cell seconds_cell(const std::optional<Duration>& duration) {
  if (!duration) return std::nullopt;
  return fmt::format("{:.3f}", std::chrono::duration<double>(*duration).count());
}

template <class Number>
Cell number_cell(const std::optional<Number>& number) {
  return number ? Cell(std::to_string(*number)) : std::nullopt;
}

constexpr Column<HostRow> host_columns[] = {
    column<&HostRow::name>("host"),
    column<&HostRow::role>("role"),
    {"may_connect", ColumnType::text,
     [](const HostRow& row) -> Cell { return row.may_connect ? "yes" : "no"; }},
    column<&HostRow::connections>("connections"),
    {"timeline", ColumnType::int4, [](const HostRow& row) { return number_cell(row.timeline); }},
    column<&HostRow::lsn>("lsn"),
    {"lag_bytes", ColumnType::int8, [](const HostRow& row) { return number_cell(row.lag_bytes); }},
    {"lag_seconds", ColumnType::numeric, [](const HostRow& row) { return seconds_cell(row.lag); }},
    column<&HostRow::evidence>("evidence"),
    {"evidence_age", ColumnType::numeric,
     [](const HostRow& row) { return seconds_cell(row.evidence_age); }},
    {"check_seconds", ColumnType::numeric,
     [](const HostRow& row) { return seconds_cell(row.check_latency); }},
    column<&HostRow::failures>("failures"),
    column<&HostRow::attempts>("recovery_attempts"),
};

constexpr Column<RouteRow> route_columns[] = {
    column<&RouteRow::database>("database"),
    column<&RouteRow::user>("user"),
    column<&RouteRow::target>("target"),
    column<&RouteRow::reason>("reason"),
    column<&RouteRow::count>("count"),
    {"last_fingerprint", ColumnType::text,
     [](const RouteRow& row) { return fingerprint_cell(row.last_fingerprint); }},
    {"last_seconds_ago", ColumnType::numeric,
     [](const RouteRow& row) { return seconds_cell(row.last_ago); }},
};

constexpr Column<RouteExplanation> explanation_columns[] = {
    column<&RouteExplanation::database>("database"),
    column<&RouteExplanation::target>("target"),
    column<&RouteExplanation::reason>("reason"),
    column<&RouteExplanation::explanation>("explanation"),
    column<&RouteExplanation::server>("server"),
};

}  // namespace

ResultSet show_hosts(const StatusSource& source, const config::Loaded&) {
  return table(host_columns, source.hosts());
}

ResultSet show_routing(const StatusSource& source, const config::Loaded&) {
  return table(route_columns, source.routes());
}

ResultSet explain_route(const StatusSource& source, std::string_view sql) {
  return table(explanation_columns, source.explain_route(sql));
}

}  // namespace pgproxy::admin
