#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace pgproxy::sql {

/// What a statement may leave behind in the session of the server that ran it, beyond the end of
/// its transaction.
enum class Residue : std::uint8_t {
  setting,             ///< SET, RESET, set_config: settings whose names can be told from the text
  any_setting,         ///< settings with names that cannot: set_config($1, …), UPDATE pg_settings;
                       ///< custom ones only by parameters of the statement
  temporary_object,    ///< CREATE TEMP …, SELECT INTO TEMP, anything in pg_temp
  listen,              ///< LISTEN, UNLISTEN
  advisory_lock,       ///< session level: pg_advisory_lock and the like, and their unlocking
  cursor,              ///< DECLARE … WITH HOLD
  prepared_statement,  ///< PREPARE, DEALLOCATE: the SQL statements
  sequence_state,      ///< lastval, currval: it reads what an earlier statement left
  hidden,              ///< LOAD, setseed, set_config with a computed name, …: no query shows it
  code,                ///< runs what we do not see: DO, CALL, functions not known, unknown text
};
inline constexpr std::size_t residue_count = 10;
/// "session setting", "temporary object", … for logs and the console.
std::string_view to_string(Residue residue);

/// A set of them.
class ResidueSet {
 public:
  constexpr ResidueSet() = default;
  constexpr ResidueSet(std::initializer_list<Residue> members) {
    for (const Residue member : members) bits_ |= bit(member);
  }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr bool contains(Residue member) const { return (bits_ & bit(member)) != 0; }
  constexpr bool intersects(ResidueSet other) const { return (bits_ & other.bits_) != 0; }
  constexpr ResidueSet operator|(ResidueSet other) const { return from_bits(bits_ | other.bits_); }
  constexpr ResidueSet operator-(ResidueSet other) const { return from_bits(bits_ & ~other.bits_); }
  constexpr ResidueSet operator&(ResidueSet other) const { return from_bits(bits_ & other.bits_); }
  constexpr ResidueSet& operator|=(ResidueSet other) { return *this = *this | other; }
  constexpr bool operator==(const ResidueSet&) const = default;
  constexpr std::uint16_t bits() const { return bits_; }
  /// The member that comes first in the enumeration; the set may not be empty.
  constexpr Residue first() const {
    std::uint8_t index = 0;
    while ((bits_ >> index & 1) == 0) ++index;
    return static_cast<Residue>(index);
  }

 private:
  static constexpr std::uint16_t bit(Residue member) {
    return static_cast<std::uint16_t>(1U << static_cast<unsigned>(member));
  }
  static constexpr ResidueSet from_bits(unsigned bits) {
    ResidueSet set;
    set.bits_ = static_cast<std::uint16_t>(bits);
    return set;
  }
  std::uint16_t bits_ = 0;
};

/// The kind of a text's only statement.
enum class StatementKind : std::uint8_t {
  empty,    ///< nothing but blanks and comments
  several,  ///< more than one statement
  select,   ///< SELECT, VALUES, TABLE, WITH … SELECT, without INTO
  insert,
  update,
  remove,  ///< DELETE
  merge,
  copy,
  show,
  explain,
  set,          ///< SET, RESET (the session's, or LOCAL)
  transaction,  ///< BEGIN, COMMIT, ROLLBACK, SAVEPOINT, …
  cursor,       ///< DECLARE, FETCH, MOVE, CLOSE
  prepare,      ///< PREPARE
  execute,      ///< EXECUTE
  deallocate,   ///< DEALLOCATE
  discard,
  do_block,
  call,
  other,    ///< any other utility statement (DDL, VACUUM, LISTEN, LOCK, …)
  unknown,  ///< could not be parsed, or is too long to be
};

/// How a text that is BEGIN or START TRANSACTION, and nothing else, begins one.
enum class TransactionStart : std::uint8_t {
  none,         ///< it is something else
  unspecified,  ///< as default_transaction_read_only says
  read_only,
  read_write,  ///< READ WRITE is among its modes
};

/// What is known of a statement (or of the several ones of one Query) from its parse tree, without
/// the values of its constants.
struct Facts {
  StatementKind kind = StatementKind::unknown;
  /// What may stay behind. Rollback may still take it back; a query to the server tells.
  ResidueSet leaves;
  /// May change a table, a sequence or anything else that is not the session's.
  bool may_write = true;
  /// May draw from a sequence: INSERT, MERGE, COPY FROM, nextval, or code that we do not see.
  bool may_draw = true;
  /// Begins or ends a transaction or a savepoint, also among several statements.
  bool controls_transaction = false;
  /// The only statement is BEGIN or START TRANSACTION. PostgreSQL goes by the last mode given, but
  /// a standby refuses READ WRITE wherever it stands: READ WRITE, READ ONLY is read_write here.
  TransactionStart starts_transaction = TransactionStart::none;
  /// That statement gives an isolation level; SERIALIZABLE is among those given, which a standby
  /// refuses.
  bool sets_isolation = false;
  bool is_serializable = false;
  /// The only statement is COMMIT, END, ROLLBACK, ABORT or PREPARE TRANSACTION; with AND CHAIN.
  bool ends_transaction = false;
  bool chains = false;
  /// The only statement is a SELECT, VALUES or TABLE, perhaps with WITH, that changes and locks
  /// nothing by its form: no INTO, FOR UPDATE and the like, INSERT … in WITH, OPERATOR(schema.…) of
  /// another schema than pg_catalog, or name with a dot in it. What its functions do it does not
  /// tell.
  bool is_plain_query = false;
  /// FOR UPDATE, FOR SHARE and the like, somewhere in an only statement that is a query.
  bool locks_rows = false;
  /// May call a function or read a view that speaks of the server on which it runs, or locks there:
  /// another server of the same cluster would answer something else, or refuse. Sequences are among
  /// them, as a standby's are ahead.
  bool speaks_of_server = false;
  /// Calls one of the pg_advisory_* and pg_try_advisory_* functions. (Unknown text may, too.)
  bool locks_server = false;
  /// Changes a setting until the end of the transaction: SET LOCAL, set_config(…, true).
  bool sets_locally = false;
  /// May end what `leaves` of an earlier statement was: DROP, CLOSE, UNLISTEN, DEALLOCATE, DISCARD,
  /// pg_advisory_unlock.
  bool may_remove_residue = false;
  /// Creates, alters or drops a function, procedure, trigger, rule, view, operator, cast, type,
  /// domain, policy, extension, schema, database or unlogged table: what was learned of code, and
  /// of what standbys have, is void.
  bool changes_code = false;
  /// Depends on the names of prepared statements: EXECUTE, DEALLOCATE name, pg_prepared_statements.
  bool names_prepared = false;
  /// Reads or changes a table or view (whose triggers, rules and policies may run any code).
  bool touches_relations = false;
  /// Functions called whose effects are not known from their names, lower case, without their
  /// schema, sorted, each once. Those built into PostgreSQL are among them where they are not
  /// common.
  std::vector<std::string> functions;
  /// Settings that are set or reset by SET, RESET and their relatives (not set_config), lower case:
  /// "work_mem", "app.tenant", "role", "session_authorization", "timezone". Those of SET LOCAL are
  /// among them.
  std::vector<std::string> settings;
  /// Those of them that go back to their defaults: RESET, SET … TO DEFAULT. "all": RESET ALL,
  /// DISCARD ALL. "role" is not part of that, but DISCARD ALL and RESET SESSION AUTHORIZATION reset
  /// it, too.
  std::vector<std::string> resets;
  /// Of a plain query, every function that it names, common ones included: "name" or "schema.name",
  /// lower case, sorted, each once. What operators and casts call is not among them.
  std::vector<std::string> all_functions;
  /// Of a plain query, the tables and views that it names, but for its own of WITH: "name" or
  /// "schema.name", as PostgreSQL spells them, sorted, each once.
  std::vector<std::string> relations;
};

}  // namespace pgproxy::sql
