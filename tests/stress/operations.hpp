#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace stress {

using Random = std::mt19937_64;

/// One backend message that must come next: its tag, and its content where `content` is given (the
/// columns of a DataRow joined by '|', a command tag, a transaction status, an SQLSTATE, CopyData).
struct Expected {
  char tag = 0;
  std::optional<std::string> content;
};

/// Bytes to send, and everything that PostgreSQL answers to exactly these. Steps of one operation
/// follow each other: the next is sent when the replies of the one before are complete.
struct Step {
  std::string bytes;
  std::deque<Expected> replies;
};

enum class Kind {
  simple,
  multi_statement,
  many_rows,
  extended,
  pipeline,
  late_bind,
  flush,
  portal,
  function_call,
  copy_out,
  copy_in,
  copy_in_fails,
  transaction,
  failed_transaction,
  glued_transaction,
  cancel,
  vanish,
  relogin
};
inline constexpr int kind_count = static_cast<int>(Kind::relogin) + 1;
const char* name_of(Kind kind);

/// What one client does next. Every row that it asks for carries `owner` and `sequence`.
struct Operation {
  Kind kind = Kind::simple;
  std::deque<Step> steps;
};

/// A random operation of a random kind. `vanish` is another kind's operation of which only a part
/// is sent and read; `relogin` has no steps.
Operation make_operation(Random& random, std::uint32_t owner, std::uint64_t sequence);

inline std::uint64_t below(Random& random, std::uint64_t limit) {
  return random() % limit;
}

}  // namespace stress
