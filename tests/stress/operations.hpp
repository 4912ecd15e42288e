#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "session.hpp"

namespace stress {

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
  std::optional<Session> after = {};  ///< what the client has then, where it changes
  /// 53400 may be the answer instead, where no more servers may be pinned: a ReadyForQuery with
  /// this status follows, and then other steps than those that were to come. 0: not so.
  char refused_status = 0;
  std::vector<Step> if_refused = {};
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
  // What these leave is for later operations; Session knows it.
  prepare,
  execute,
  prepared_pipeline,
  sql_execute,
  deallocate,
  set,
  reset,
  role,
  settings_transaction,
  code,
  check_session,
  temporary_table,
  advisory_lock,
  listen,
  hold_cursor,
  sql_prepare,
  undone_residue,
  discard_all,
  give_up,
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

/// Operations after which a client gives up what keeps a server connection for it.
inline constexpr std::uint32_t max_residue_age = 6;

/// A random operation of a random kind. `vanish` is another kind's operation of which only a part
/// is sent and read; `relogin` has no steps.
Operation make_operation(Random& random, const Session& session, std::uint64_t sequence);
Operation make_give_up(Random& random, const Session& session, std::uint64_t sequence);
/// Kinds from `prepare` to `give_up`.
std::deque<Step> make_session_steps(Random& random, const Session& session, std::uint64_t sequence,
                                    Kind kind);

}  // namespace stress
