#pragma once

#include <doctest/doctest.h>
#include <initializer_list>
#include <string_view>

#include "pgproxy/sql/facts.hpp"
#include "pgproxy/sql/shapes.hpp"

namespace pgproxy::sql {

using Texts = std::initializer_list<std::string_view>;

/// By the whole way, through the shape: what is seen is what is left of a text there.
inline Facts look(std::string_view text, bool backslashes_are_plain = true) {
  return Shapes().find(text, backslashes_are_plain)->facts;
}

inline void check_flag(bool Facts::* flag, bool expected, Texts texts) {
  for (const std::string_view text : texts) {
    CAPTURE(text);
    const Facts facts = look(text);
    CHECK(facts.*flag == expected);
    CHECK(facts.kind != StatementKind::unknown);
  }
}

}  // namespace pgproxy::sql
