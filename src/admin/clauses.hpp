#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "admin/result_set.hpp"

#include "pgproxy/base/result.hpp"

namespace pgproxy::admin {

/// What may follow a SHOW: WHERE column = value [AND …] [ORDER BY column [DESC], …] [LIMIT n].
struct Clauses {
  struct Condition {
    std::string column;
    std::optional<std::string> value;  ///< nullopt is NULL, which equals nothing
  };
  struct Order {
    std::string column;
    bool is_descending = false;
  };
  std::vector<Condition> where;  ///< all of them hold
  std::vector<Order> order_by;
  std::optional<std::uint64_t> limit;
};

/// Whether `text` begins with the word of a clause.
bool begins_with_clause(std::string_view text);
/// Column names are plain or "quoted", values plain words or 'quoted'. 42601 for anything else.
Result<Clauses> parse_clauses(std::string_view text);
/// Leaves the rows that are asked for, in the order asked for. 42703, with the columns that there
/// are, for one that there is not.
Result<void> apply(const Clauses& clauses, ResultSet& set);

}  // namespace pgproxy::admin
