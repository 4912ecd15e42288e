#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "pgproxy/sql/facts.hpp"
#include "pgproxy/sql/route_hint.hpp"

namespace pgproxy::route {

class Catalog;

/// What of a database's work may go to replicas (its setting `routing`).
enum class Mode : std::uint8_t { primary_only, read_only_transactions, selects };

enum class Target : std::uint8_t { primary, replica };

/// Why a transaction went where it went. The last four sent it to a replica, the others to the
/// primary (or, pinned and pipeline, to where its client already was).
enum class Reason : std::uint8_t {
  routing_off,
  pinned,
  too_long,
  unknown_text,
  several_statements,
  pipeline,
  not_a_query,
  writes,
  locks_rows,
  speaks_of_server,
  serializable,
  read_write,
  single_statement,
  function_volatile,
  function_unknown,
  relation_unsafe,
  relation_unknown,
  refused_before,
  own_write,
  lag,
  no_replica,
  hint_primary,
  hint_replica,
  read_only_transaction,
  read_only_session,
  plain_query,
};
inline constexpr std::size_t reason_count = 26;
/// One word, as in the list above: for labels of metrics and columns.
std::string_view to_string(Reason reason);
/// A clause for people: "a function that it calls is volatile".
std::string_view explain(Reason reason);

/// What of a session has a say.
struct SessionFacts {
  bool defaults_to_read_only = false;     ///< default_transaction_read_only is on
  bool defaults_to_serializable = false;  ///< default_transaction_isolation is serializable
  /// The statement is all of its message cycle: nothing stands behind it before the next Sync.
  bool is_alone = true;
  /// A replica has refused a statement of this shape.
  bool was_refused = false;
};

struct Decision {
  Target target = Target::primary;
  Reason reason = Reason::routing_off;
  bool operator==(const Decision&) const = default;
};

/// Where a text goes with which a client outside of a transaction begins something. A replica is
/// only a wish: choose_replica() finds out whether there is one. `catalog` is that of the client's
/// database; nullptr: not known yet, which makes every function and table unknown.
///
/// A hint wins, except that a standby is never asked for what it would refuse for certain (writing,
/// READ WRITE, SERIALIZABLE), nor for an advisory lock, which would exclude nobody there, and that
/// primary_only means what it says.
///
/// In a session whose default is read-only, whatever reads goes to a replica, as its BEGIN does.
/// What writes stays: PostgreSQL refuses it alike on either, but for what it lets through in a
/// read-only transaction and a standby does not (temporary tables, VACUUM, LISTEN, …).
///
/// Allocates nothing. A plain query costs a look-up per function and table that it names.
Decision decide(Mode mode, const sql::Facts& facts, std::optional<sql::RouteHint> hint,
                const SessionFacts& session, const Catalog* catalog);

}  // namespace pgproxy::route
