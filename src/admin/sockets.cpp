#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "admin/shows.hpp"

namespace pgproxy::admin {
namespace {

using ConnectionColumn = Column<ConnectionRow>;

// PgBouncer 1.25.2's, in its order.
template <char side>
constexpr ConnectionColumn connection_columns[] = {
    {"type", ColumnType::text, [](const ConnectionRow&) { return Cell(std::string(1, side)); }},
    column<&ConnectionRow::user>("user"),
    column<&ConnectionRow::database>("database"),
    column<&ConnectionRow::replication>("replication"),
    column<&ConnectionRow::state>("state"),
    column<&ConnectionRow::addr>("addr"),
    column<&ConnectionRow::port>("port"),
    column<&ConnectionRow::local_addr>("local_addr"),
    column<&ConnectionRow::local_port>("local_port"),
    column<&ConnectionRow::connect_time>("connect_time"),
    column<&ConnectionRow::request_time>("request_time"),
    {"wait", ColumnType::int4, [](const ConnectionRow& row) { return whole_seconds(row.wait); }},
    {"wait_us", ColumnType::int4, [](const ConnectionRow& row) { return rest_us(row.wait); }},
    column<&ConnectionRow::close_needed>("close_needed"),
    {"ptr", ColumnType::text, [](const ConnectionRow& row) { return Cell(hex_id(row.id)); }},
    {"link", ColumnType::text, [](const ConnectionRow& row) { return Cell(hex_id(row.link)); }},
    column<&ConnectionRow::remote_pid>("remote_pid"),
    column<&ConnectionRow::tls>("tls"),
    column<&ConnectionRow::application_name>("application_name"),
    column<&ConnectionRow::prepared_statements>("prepared_statements"),
    column<&ConnectionRow::id>("id", ColumnType::int4),
};

constexpr ConnectionColumn own_columns[] = {
    column<&ConnectionRow::pin_reason>("pinned"),
    column<&ConnectionRow::pinned_since>("pinned_since"),
};

constexpr ConnectionColumn buffer_column(std::string_view name,
                                         Cell (*cell)(const ConnectionRow&)) {
  return {name, ColumnType::int4, cell};
}
Cell nothing(const ConnectionRow& /*row*/) {
  return to_cell(0);
}
Cell unread(const ConnectionRow& row) {
  return to_cell(row.socket.unread_bytes);
}
Cell unsent(const ConnectionRow& row) {
  return to_cell(row.socket.unsent_bytes);
}

/// Buffers begin with what is not dealt with yet: positions in them are 0.
constexpr ConnectionColumn buffer_columns[] = {
    buffer_column("recv_pos", unread),
    buffer_column("pkt_pos", nothing),
    buffer_column("pkt_remain",
                  [](const ConnectionRow& row) { return to_cell(row.socket.message_bytes); }),
    buffer_column("send_pos", nothing),
    buffer_column("send_remain", nothing),
    buffer_column("pkt_avail", unread),
    buffer_column("send_avail", unsent),
};

template <class... Parts>
std::vector<ConnectionColumn> joined(const Parts&... parts) {
  std::vector<ConnectionColumn> columns;
  (columns.insert(columns.end(), std::begin(parts), std::end(parts)), ...);
  return columns;
}

/// PgBouncer names them after the list that the connection is on.
std::string socket_state(char side, const std::string& state) {
  if (side == 'C') return state == "idle" ? "cl_active" : "cl_" + state;
  return state == "new" ? "sv_login" : "sv_" + state;
}

/// All connections that `is_meant` takes.
ResultSet sockets(const StatusSource& source, bool (*is_meant)(const ConnectionRow&)) {
  const auto rows_of = [&](char side, std::vector<ConnectionRow> rows) {
    std::erase_if(rows, [&](const ConnectionRow& row) { return !is_meant(row); });
    for (ConnectionRow& row : rows) row.state = socket_state(side, row.state);
    return rows;
  };
  const auto client_columns = joined(connection_columns<'C'>, buffer_columns);
  const auto server_columns = joined(connection_columns<'S'>, buffer_columns);
  ResultSet set =
      tabulate(std::span<const ConnectionColumn>(client_columns), rows_of('C', source.clients()));
  ResultSet servers =
      tabulate(std::span<const ConnectionColumn>(server_columns), rows_of('S', source.servers()));
  std::ranges::move(servers.rows, std::back_inserter(set.rows));
  return set;
}

/// Who reads it could cancel what others run, or be them.
Cell withheld(const ConnectionRow& /*row*/) {
  return std::nullopt;
}

template <std::string SocketFacts::* member>
Cell fact(const ConnectionRow& row) {
  return to_cell(row.socket.*member);
}

template <bool is_client>
constexpr ConnectionColumn descriptor_columns[] = {
    {"fd", ColumnType::int4, [](const ConnectionRow& row) { return to_cell(row.socket.fd); }},
    {"task", ColumnType::text,
     [](const ConnectionRow&) { return Cell(is_client ? "client" : "server"); }},
    column<&ConnectionRow::user>("user"),
    column<&ConnectionRow::database>("database"),
    column<&ConnectionRow::addr>("addr"),
    column<&ConnectionRow::port>("port"),
    {"cancel", ColumnType::int8, withheld},
    {"link", ColumnType::int4, [](const ConnectionRow& row) { return to_cell(row.link); }},
    {"client_encoding", ColumnType::text, fact<&SocketFacts::client_encoding>},
    {"std_strings", ColumnType::text, fact<&SocketFacts::standard_conforming_strings>},
    {"datestyle", ColumnType::text, fact<&SocketFacts::datestyle>},
    {"timezone", ColumnType::text, fact<&SocketFacts::timezone>},
    {"password", ColumnType::text, withheld},
    {"scram_client_key", ColumnType::bytea, withheld},
    {"scram_server_key", ColumnType::bytea, withheld},
};

}  // namespace

ResultSet show_clients(const StatusSource& source, const config::Loaded&) {
  const auto columns = joined(connection_columns<'C'>, own_columns);
  return tabulate(std::span<const ConnectionColumn>(columns), source.clients());
}

ResultSet show_servers(const StatusSource& source, const config::Loaded&) {
  const auto columns = joined(connection_columns<'S'>, own_columns);
  return tabulate(std::span<const ConnectionColumn>(columns), source.servers());
}

ResultSet show_sockets(const StatusSource& source, const config::Loaded&) {
  return sockets(source, [](const ConnectionRow&) { return true; });
}

ResultSet show_active_sockets(const StatusSource& source, const config::Loaded&) {
  return sockets(source, [](const ConnectionRow& row) {
    return row.state != "idle" || row.socket.unread_bytes > 0 || row.socket.unsent_bytes > 0;
  });
}

/// PgBouncer passes the descriptors themselves beside the rows, for its old online restart; here
/// are the rows only.
ResultSet show_fds(const StatusSource& source, const config::Loaded&) {
  std::vector<ConnectionRow> clients = source.clients();
  std::vector<ConnectionRow> servers = source.servers();
  // "link" is the descriptor of the other side here, not its id.
  std::unordered_map<std::uint64_t, int> descriptors;
  for (const auto* rows : {&clients, &servers}) {
    for (const ConnectionRow& row : *rows) descriptors[row.id] = row.socket.fd;
  }
  for (auto* rows : {&clients, &servers}) {
    std::erase_if(*rows, [](const ConnectionRow& row) { return row.socket.fd < 0; });
    for (ConnectionRow& row : *rows) {
      const auto other = descriptors.find(row.link);
      row.link = other == descriptors.end() ? 0 : static_cast<std::uint64_t>(other->second);
    }
  }
  ResultSet set = table(descriptor_columns<true>, clients);
  ResultSet of_servers = table(descriptor_columns<false>, servers);
  std::ranges::move(of_servers.rows, std::back_inserter(set.rows));
  return set;
}

}  // namespace pgproxy::admin
