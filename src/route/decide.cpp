#include "pgproxy/route/decide.hpp"

#include "pgproxy/route/catalog.hpp"

namespace pgproxy::route {
namespace {

using sql::Facts;
using sql::StatementKind;
using sql::TransactionStart;

constexpr Decision stay(Reason reason) {
  return {.target = Target::primary, .reason = reason};
}
constexpr Decision go(Reason reason) {
  return {.target = Target::replica, .reason = reason};
}

/// By what is seen of it, and not only by what its functions may do.
bool surely_writes(const Facts& facts) {
  switch (facts.kind) {
    case StatementKind::insert:
    case StatementKind::update:
    case StatementKind::remove:
    case StatementKind::merge:
    case StatementKind::other: return true;  // the last one: LISTEN and VACUUM as well
    case StatementKind::do_block:
    case StatementKind::call:
    case StatementKind::execute:
    case StatementKind::unknown: return false;
    default: return facts.may_write && facts.functions.empty();
  }
}

/// Why a standby must not get it, whatever somebody wishes.
std::optional<Reason> obstacle(const Facts& facts, const SessionFacts& session) {
  if (facts.locks_rows) return Reason::locks_rows;
  if (facts.locks_server) return Reason::speaks_of_server;
  if (surely_writes(facts)) {
    if (facts.kind == StatementKind::several) return Reason::several_statements;
    return facts.speaks_of_server ? Reason::speaks_of_server : Reason::writes;
  }
  if (facts.starts_transaction == TransactionStart::read_write) return Reason::read_write;
  if (facts.is_serializable || (session.defaults_to_serializable && !facts.sets_isolation)) {
    return Reason::serializable;
  }
  if (session.was_refused) return Reason::refused_before;
  return std::nullopt;
}

Decision decide_beginning(const Facts& facts, const SessionFacts& session) {
  if (facts.starts_transaction == TransactionStart::read_only) {
    return go(Reason::read_only_transaction);
  }
  return session.defaults_to_read_only ? go(Reason::read_only_session) : stay(Reason::read_write);
}

/// One statement that PostgreSQL would run read-only.
Decision decide_read_only(const Facts& facts) {
  switch (facts.kind) {
    case StatementKind::select:
    case StatementKind::copy:
    case StatementKind::explain:
      return facts.speaks_of_server ? stay(Reason::speaks_of_server)
                                    : go(Reason::read_only_session);
    default: return stay(Reason::not_a_query);
  }
}

Decision decide_query(const Facts& facts, const Catalog* catalog) {
  if (facts.kind != StatementKind::select) return stay(Reason::not_a_query);
  if (facts.speaks_of_server) return stay(Reason::speaks_of_server);
  if (!facts.is_plain_query) return stay(Reason::not_a_query);
  static const Catalog nothing_known;
  const auto doubt = (catalog != nullptr ? *catalog : nothing_known).doubt(facts);
  return doubt ? stay(*doubt) : go(Reason::plain_query);
}

}  // namespace

Decision decide(Mode mode, const Facts& facts, std::optional<sql::RouteHint> hint,
                const SessionFacts& session, const Catalog* catalog) {
  if (mode == Mode::primary_only) return stay(Reason::routing_off);
  if (hint == sql::RouteHint::primary) return stay(Reason::hint_primary);
  if (const auto reason = obstacle(facts, session)) return stay(*reason);
  if (hint == sql::RouteHint::replica) return go(Reason::hint_replica);
  if (!session.is_alone) return stay(Reason::pipeline);
  if (facts.starts_transaction != TransactionStart::none) return decide_beginning(facts, session);
  if (facts.kind == StatementKind::several) return stay(Reason::several_statements);
  if (facts.kind == StatementKind::unknown) return stay(Reason::unknown_text);
  if (session.defaults_to_read_only) return decide_read_only(facts);
  if (mode == Mode::read_only_transactions) return stay(Reason::single_statement);
  return decide_query(facts, catalog);
}

}  // namespace pgproxy::route
