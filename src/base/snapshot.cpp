#include "pgproxy/base/snapshot.hpp"

namespace pgproxy {

PoolCounters& PoolCounters::operator+=(const PoolCounters& other) {
  server_assignment_count += other.server_assignment_count;
  xact_count += other.xact_count;
  query_count += other.query_count;
  bytes_received += other.bytes_received;
  bytes_sent += other.bytes_sent;
  xact_time += other.xact_time;
  query_time += other.query_time;
  wait_time += other.wait_time;
  client_parse_count += other.client_parse_count;
  server_parse_count += other.server_parse_count;
  bind_count += other.bind_count;
  client_login_count += other.client_login_count;
  pin_count += other.pin_count;
  protocol_doubt_count += other.protocol_doubt_count;
  wait_timeout_count += other.wait_timeout_count;
  rerun_count += other.rerun_count;
  return *this;
}

}  // namespace pgproxy
