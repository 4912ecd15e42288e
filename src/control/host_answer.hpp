#pragma once

#include <optional>
#include <string>

#include "pgproxy/control/connection.hpp"
#include "pgproxy/route/cluster_view.hpp"

namespace pgproxy::control {

/// Role, position and lag of a server, in one statement that any of them answers.
extern const std::string host_question;
/// Where a primary writes, and a standby has replayed: what is asked again and again.
extern const std::string primary_position_question;
extern const std::string standby_position_question;

/// Fills in what a server's answer to host_question says; false: it cannot be read.
bool read_host_answer(const Answer& answer, route::HostView& host);
/// A standby does not tell its timeline: it has `timeline`.
std::optional<route::WalPosition> read_position(const Answer& answer, std::uint32_t timeline);

/// The primary that was chosen last, also while there is none.
struct Chosen {
  std::size_t host = 0;
  std::uint32_t timeline = 0;
};
/// The latest timeline that the servers tell, standbys as well: these have it from a primary.
std::uint32_t latest_timeline(const route::ClusterView& view);
/// Sets `primary` and `reason`: the server that takes writes, on the latest timeline. One that is
/// on an earlier timeline than another server, or than was `seen`, is none: it has missed a
/// promotion. A promotion begins a timeline, so a second server on one timeline is a promotion too
/// many: the one that was chosen `before` stays while its role is known, and none takes its place
/// until it stands by. False: there is such a second one.
bool choose_primary(route::ClusterView& view, std::optional<Chosen> before, std::uint32_t seen);
/// As what a server is asked for its position; unknown: not at all. One that takes writes and is
/// not the primary has none that says anything about what clients wrote.
route::Role role_to_sample(const route::ClusterView& view, std::size_t host);
/// How far the standbys are behind it.
void measure_lag(route::ClusterView& view);

}  // namespace pgproxy::control
