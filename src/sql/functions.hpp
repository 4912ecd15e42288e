#pragma once

#include <cstdint>
#include <string_view>

#include "pgproxy/sql/facts.hpp"

namespace pgproxy::sql {

/// What a call of a function of some name tells.
struct FunctionFacts {
  std::string_view name;
  ResidueSet leaves;
  bool may_write = false;
  bool may_draw = false;
  bool may_remove_residue = false;
  bool names_prepared = false;
};
/// nullptr: not known by its name. set_config is not among them, its arguments decide.
const FunctionFacts* find_telling_function(std::string_view name);
/// A common function of PostgreSQL that leaves nothing and changes nothing.
bool is_harmless_function(std::string_view name);

}  // namespace pgproxy::sql
