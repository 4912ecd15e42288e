#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace pgproxy::sql {

/// Where a text asks to run.
enum class RouteHint : std::uint8_t { replica, primary };

/// What a comment in front of a text's first token asks for: /* pgproxy: replica */ or
/// -- pgproxy: primary, blanks and case free. The first such comment counts; others may stand
/// around it. It has to be all of its comment, and a comment within a comment is none. Allocates
/// nothing; a text that begins with something else costs a look at its first byte (and its blanks).
std::optional<RouteHint> route_hint(std::string_view text);

}  // namespace pgproxy::sql
