#include <array>

#include "pgproxy/base/assert.hpp"
#include "pgproxy/route/decide.hpp"

namespace pgproxy::route {
namespace {

struct Words {
  Reason reason;
  std::string_view word;
  std::string_view clause;
};

/// In the order of the enumeration.
constexpr std::array<Words, reason_count> all_words = {{
    {Reason::routing_off, "routing_off", "routing = primary_only"},
    {Reason::pinned, "pinned", "the client has a server of its own"},
    {Reason::too_long, "too_long", "the text is too long to be looked at"},
    {Reason::unknown_text, "unknown_text", "what the text does cannot be told"},
    {Reason::several_statements, "several_statements", "the text has several statements"},
    {Reason::pipeline, "pipeline", "other messages stand behind it before the next Sync"},
    {Reason::not_a_query, "not_a_query", "it is not a plain query"},
    {Reason::writes, "writes", "a standby would refuse it"},
    {Reason::locks_rows, "locks_rows", "it locks rows"},
    {Reason::speaks_of_server, "speaks_of_server",
     "it speaks of the server on which it runs, or locks there"},
    {Reason::serializable, "serializable", "a standby has no serializable transactions"},
    {Reason::read_write, "read_write", "the transaction may write"},
    {Reason::single_statement, "single_statement",
     "routing = read_only_transactions, and it is a statement outside of one"},
    {Reason::function_volatile, "function_volatile", "a function that it calls is volatile"},
    {Reason::function_unknown, "function_unknown", "a function that it calls is not known"},
    {Reason::relation_unsafe, "relation_unsafe",
     "it reads a sequence, a foreign or unlogged table, or a view or row security policy that may "
     "write"},
    {Reason::relation_unknown, "relation_unknown", "a table or view that it reads is not known"},
    {Reason::refused_before, "refused_before", "a replica has refused such a statement"},
    {Reason::own_write, "own_write", "no replica has the client's last write yet"},
    {Reason::lag, "lag", "all replicas lag by more than max_replica_lag"},
    {Reason::no_replica, "no_replica", "there is no replica that may be used"},
    {Reason::hint_primary, "hint_primary", "a comment asks for the primary"},
    {Reason::hint_replica, "hint_replica", "a comment asks for a replica"},
    {Reason::read_only_transaction, "read_only_transaction", "the transaction is READ ONLY"},
    {Reason::read_only_session, "read_only_session", "default_transaction_read_only = on"},
    {Reason::plain_query, "plain_query", "it is a query without effects"},
}};

constexpr bool is_in_order() {
  for (std::size_t index = 0; index < all_words.size(); ++index) {
    if (all_words[index].reason != static_cast<Reason>(index)) return false;
  }
  return true;
}
static_assert(is_in_order());
static_assert(all_words.back().reason == Reason::plain_query);

const Words& words_of(Reason reason) {
  const auto index = static_cast<std::size_t>(reason);
  PGPROXY_ASSERT(index < all_words.size());
  return all_words[index];
}

}  // namespace

std::string_view to_string(Reason reason) {
  return words_of(reason).word;
}

std::string_view explain(Reason reason) {
  return words_of(reason).clause;
}

}  // namespace pgproxy::route
