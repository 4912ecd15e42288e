#pragma once

#include <string_view>
#include <vector>

#include "config/report.hpp"

namespace pgproxy::config {

/// What is wrong with one line of a configuration, whatever the others say.
std::vector<Problem> problems_of_entry(std::string_view section, std::string_view name,
                                       std::string_view value, const Origin& at);

}  // namespace pgproxy::config
