#include "config/field.hpp"

#include <limits>

namespace pgproxy::config {

bool same_value(std::string_view left, std::string_view right) {
  if (equals_ignoring_case(left, right)) return true;
  if (const auto flag = parse_flag(left); flag && flag == parse_flag(right)) return true;
  constexpr std::int64_t most_seconds = std::numeric_limits<std::int32_t>::max();
  const auto number = parse_seconds(left, most_seconds);
  return number && number == parse_seconds(right, most_seconds);
}

}  // namespace pgproxy::config
