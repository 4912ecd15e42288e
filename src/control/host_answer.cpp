#include "control/host_answer.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <vector>

namespace pgproxy::control {
namespace {

template <class Number>
std::optional<Number> number_in(const std::optional<std::string>& cell, int base = 10) {
  if (!cell) return std::nullopt;
  Number number{};
  const char* const end = cell->data() + cell->size();
  const auto [stop, error] = std::from_chars(cell->data(), end, number, base);
  return error == std::errc() && stop == end ? std::optional(number) : std::nullopt;
}

std::optional<Duration> seconds_in(const std::optional<std::string>& cell) {
  if (!cell) return std::nullopt;
  double seconds = 0;
  const auto [stop, error] = std::from_chars(cell->data(), cell->data() + cell->size(), seconds);
  if (error != std::errc()) return std::nullopt;
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(std::max(0.0, seconds)));
}

const Row* row_of(const Answer& answer, std::size_t columns) {
  const bool is_one = answer && answer->size() == 1 && answer->front().size() == columns;
  return is_one ? &answer->front() : nullptr;
}

}  // namespace

/// A primary's timeline is that of the file it writes; pg_control_checkpoint() tells it later. A
/// standby that is not streaming may be behind by what it has not received, and its control file
/// by what it replayed since its last restartpoint.
const std::string host_question =
    "SELECT r.on, CASE WHEN r.on THEN pg_catalog.pg_wal_lsn_diff(p.replayed, '0/0') ELSE "
    "pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0') END, CASE WHEN r.on "
    "THEN NULL ELSE pg_catalog.substr(pg_catalog.pg_walfile_name("
    "pg_catalog.pg_current_wal_insert_lsn()), 1, 8) END, CASE WHEN r.on THEN "
    "coalesce((SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver), (SELECT "
    "greatest(c.timeline_id, m.min_recovery_end_timeline) FROM pg_catalog.pg_control_checkpoint() "
    "c, pg_catalog.pg_control_recovery() m)) END, CASE WHEN NOT r.on THEN NULL WHEN s.streams AND "
    "pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_receive_lsn(), p.replayed) "
    "OPERATOR(pg_catalog.<=) 0 THEN 0 ELSE EXTRACT(epoch FROM pg_catalog.clock_timestamp() "
    "OPERATOR(pg_catalog.-) pg_catalog.pg_last_xact_replay_timestamp()) END "
    "FROM (SELECT pg_catalog.pg_is_in_recovery() AS on) r, (SELECT "
    "pg_catalog.pg_last_wal_replay_lsn() AS replayed) p, (SELECT EXISTS (SELECT FROM "
    "pg_catalog.pg_stat_wal_receiver WHERE status OPERATOR(pg_catalog.=) 'streaming') AS streams) "
    "s";
const std::string primary_position_question =
    "SELECT pg_catalog.pg_wal_lsn_diff(l.lsn, '0/0'), "
    "pg_catalog.substr(pg_catalog.pg_walfile_name(l.lsn), 1, 8) FROM (SELECT "
    "pg_catalog.pg_current_wal_insert_lsn() AS lsn) l";
const std::string standby_position_question =
    "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_replay_lsn(), '0/0'), NULL";

bool read_host_answer(const Answer& answer, route::HostView& host) {
  const Row* const row = row_of(answer, 5);
  if (row == nullptr) return false;
  const auto& [is_standby, lsn_cell, file, received, lag] =
      std::tie((*row)[0], (*row)[1], (*row)[2], (*row)[3], (*row)[4]);
  const auto lsn = number_in<std::uint64_t>(lsn_cell);
  const bool stands_by = is_standby == "t";
  const auto timeline =
      stands_by ? number_in<std::uint32_t>(received) : number_in<std::uint32_t>(file, 16);
  if (!is_standby || !lsn || !timeline) return false;
  host.role = stands_by ? route::Role::standby : route::Role::primary;
  host.position = {.timeline = *timeline, .lsn = *lsn};
  host.lag = seconds_in(lag);
  host.evidence = stands_by ? "it is in recovery" : "it takes writes";
  return true;
}

std::optional<route::WalPosition> read_position(const Answer& answer, std::uint32_t timeline) {
  const Row* const row = row_of(answer, 2);
  if (row == nullptr) return std::nullopt;
  const auto lsn = number_in<std::uint64_t>((*row)[0]);
  const auto own = (*row)[1] ? number_in<std::uint32_t>((*row)[1], 16) : timeline;
  if (!lsn || !own) return std::nullopt;
  return route::WalPosition{.timeline = *own, .lsn = *lsn};
}

std::uint32_t latest_timeline(const route::ClusterView& view) {
  std::uint32_t latest = 0;
  for (const route::HostView& host : view.hosts) {
    if (host.role != route::Role::unknown) latest = std::max(latest, host.position.timeline);
  }
  return latest;
}

namespace {

/// Those that take writes and have missed no promotion; of the others the view's reason tells.
std::vector<std::size_t> candidates(route::ClusterView& view, std::uint32_t latest) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < view.hosts.size(); ++i) {
    route::HostView& host = view.hosts[i];
    if (host.role != route::Role::primary) continue;
    if (host.position.timeline == latest) {
      found.push_back(i);
      continue;
    }
    host.evidence = fmt::format("it takes writes on timeline {}, but there is timeline {} by now",
                                host.position.timeline, latest);
    host.role = route::Role::replaced;
    view.reason = host.name + ": " + host.evidence;
  }
  return found;
}

}  // namespace

bool choose_primary(route::ClusterView& view, std::optional<Chosen> before, std::uint32_t seen) {
  const std::uint32_t latest = std::max(seen, latest_timeline(view));
  const std::vector<std::size_t> found = candidates(view, latest);
  view.primary.reset();
  if (found.empty()) {
    if (view.reason.empty()) view.reason = "none of the servers takes writes";
    return true;
  }
  const bool wrote_here = before && before->timeline == latest;
  if (found.size() > 1) {
    const bool stays = wrote_here && std::ranges::find(found, before->host) != found.end();
    if (stays) view.primary = before->host;
    view.reason =
        fmt::format("{} and {} both take writes on timeline {}{}", view.hosts[found[0]].name,
                    view.hosts[found[1]].name, latest, stays ? "; the one before stays" : "");
    return false;
  }
  const std::size_t only = found.front();
  if (wrote_here && before->host != only && view.hosts[before->host].role != route::Role::standby) {
    view.reason = fmt::format(
        "{} takes writes on timeline {}, on which {} was the primary: it is used once that one "
        "stands by",
        view.hosts[only].name, latest, view.hosts[before->host].name);
    return false;
  }
  view.primary = only;
  view.reason = fmt::format("it takes writes, on timeline {}", latest);
  return true;
}

route::Role role_to_sample(const route::ClusterView& view, std::size_t host) {
  const route::Role role = view.hosts[host].role;
  const bool is_another = view.primary != host && role != route::Role::standby;
  return is_another ? route::Role::unknown : role;
}

void measure_lag(route::ClusterView& view) {
  if (!view.primary) return;
  const route::WalPosition at = view.hosts[*view.primary].position;
  for (route::HostView& host : view.hosts) {
    if (host.role != route::Role::standby) continue;
    host.lag_bytes = at.lsn > host.position.lsn ? at.lsn - host.position.lsn : 0;
  }
}

}  // namespace pgproxy::control
