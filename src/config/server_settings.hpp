#pragma once

#include <string_view>

namespace pgproxy::config {

/// A setting of PostgreSQL's that no session can set: it takes a restart or a reload of the server.
bool belongs_to_the_server(std::string_view name);

}  // namespace pgproxy::config
