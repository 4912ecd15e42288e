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

/// Sets `primary` and `reason`: the server that takes writes, on the latest timeline. One that is
/// on an earlier timeline than was `seen` is none: it has missed a promotion. Of two that both
/// would be, it is the one that was before, or none.
void choose_primary(route::ClusterView& view, std::optional<std::size_t> before,
                    std::uint32_t seen);
/// How far the standbys are behind it.
void measure_lag(route::ClusterView& view);

}  // namespace pgproxy::control
