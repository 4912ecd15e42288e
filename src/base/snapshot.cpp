#include "pgproxy/base/snapshot.hpp"

#include <algorithm>

namespace pgproxy {

void PoolCounters::note_transaction(Duration duration) {
  xact_time += static_cast<std::uint64_t>(duration.count());
  xact_times.add(duration);
}

void PoolCounters::note_query(Duration duration) {
  query_time += static_cast<std::uint64_t>(duration.count());
  query_times.add(duration);
}

void PoolCounters::note_wait(Duration duration) {
  wait_time += static_cast<std::uint64_t>(duration.count());
  wait_times.add(duration);
}

void PoolCounters::note_error(std::string_view sqlstate) {
  constexpr std::string_view allowed = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const bool is_regular =
      sqlstate.size() == 5 && sqlstate.find_first_not_of(allowed) == std::string_view::npos;
  const std::string_view name = is_regular ? sqlstate.substr(0, 2) : "??";
  const auto found = errors.find(name);
  if (found != errors.end()) {
    ++found->second;
  } else {
    errors.emplace(name, 1);
  }
}

void PoolCounters::note_connect_failure(std::string_view reason) {
  ++connect_failures[std::string(reason)];
}

std::uint64_t PoolCounters::connect_failure_count() const {
  std::uint64_t sum = 0;
  for (const auto& [reason, count] : connect_failures) sum += count;
  return sum;
}

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
  exhausted_count += other.exhausted_count;
  refused_count += other.refused_count;
  host_switch_count += other.host_switch_count;
  leak_count += other.leak_count;
  inconsistency_count += other.inconsistency_count;
  slow_query_count += other.slow_query_count;
  statement_hit_count += other.statement_hit_count;
  statement_miss_count += other.statement_miss_count;
  logins += other.logins;
  xact_times += other.xact_times;
  query_times += other.query_times;
  wait_times += other.wait_times;
  for (const auto& [name, count] : other.errors) errors[name] += count;
  for (const auto& [reason, count] : other.connect_failures) connect_failures[reason] += count;
  return *this;
}

PoolRow& PoolRow::operator+=(const PoolRow& other) {
  cl_active += other.cl_active;
  cl_waiting += other.cl_waiting;
  cl_idle += other.cl_idle;
  cl_active_cancel_req += other.cl_active_cancel_req;
  cl_waiting_cancel_req += other.cl_waiting_cancel_req;
  sv_active += other.sv_active;
  sv_active_cancel += other.sv_active_cancel;
  sv_being_canceled += other.sv_being_canceled;
  sv_idle += other.sv_idle;
  sv_used += other.sv_used;
  sv_tested += other.sv_tested;
  sv_login += other.sv_login;
  sv_pinned += other.sv_pinned;
  pool_size += other.pool_size;
  sv_unencrypted += other.sv_unencrypted;
  exhaustions += other.exhaustions;
  refusals += other.refusals;
  host_switches += other.host_switches;
  leak_warnings += other.leak_warnings;
  maxwait = std::max(maxwait, other.maxwait);
  return *this;
}

}  // namespace pgproxy
