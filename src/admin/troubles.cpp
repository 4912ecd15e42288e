#include "admin/shows.hpp"

namespace pgproxy::admin {
namespace {

constexpr Column<WaitRow> wait_columns[] = {
    column<&WaitRow::database>("database"),
    column<&WaitRow::user>("user"),
    column<&WaitRow::addr>("addr"),
    column<&WaitRow::application_name>("application_name"),
    column<&WaitRow::client_id>("client_id"),
    column<&WaitRow::waits_for>("waits_for"),
    column<&WaitRow::detail>("detail"),
    column<&WaitRow::since>("since"),
    {"wait", ColumnType::int4, [](const WaitRow& row) { return whole_seconds(row.wait); }},
    {"wait_us", ColumnType::int4, [](const WaitRow& row) { return rest_us(row.wait); }},
};

constexpr Column<ErrorRow> error_columns[] = {
    column<&ErrorRow::time>("time"),         column<&ErrorRow::database>("database"),
    column<&ErrorRow::user>("user"),         column<&ErrorRow::addr>("addr"),
    column<&ErrorRow::sqlstate>("sqlstate"), column<&ErrorRow::message>("message"),
    column<&ErrorRow::hint>("hint"),
};

}  // namespace

ResultSet show_waits(const StatusSource& source, const config::Loaded&) {
  return table(wait_columns, source.waits());
}

ResultSet show_errors(const StatusSource& source, const config::Loaded&) {
  return table(error_columns, source.errors());
}

}  // namespace pgproxy::admin
