#include "pgproxy/route/catalog.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "pgproxy/base/text.hpp"
#include "pgproxy/sql/shapes.hpp"

namespace pgproxy::route {
namespace {

std::string_view without_schema(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  return dot == name.npos ? name : name.substr(dot + 1);
}

std::string qualified(const RelationRow& row) {
  return row.schema + "." + row.name;
}

/// A definition whose own form and functions are harmless: what it reads remains to be known.
struct Pending {
  const RelationRow* row = nullptr;
  std::vector<std::string> relations;
};

}  // namespace

Catalog::Catalog(std::span<const FunctionRow> functions, std::span<const RelationRow> relations,
                 std::span<const std::string> safe_functions) {
  for (const std::string& name : safe_functions) safe_functions_.insert(lower_case(name));
  functions_.reserve(functions.size());
  for (const FunctionRow& row : functions) functions_[lower_case(row.name)] |= row.is_volatile;
  relations_.reserve(2 * relations.size());
  relation_count_ = relations.size();
  for (const RelationRow& row : relations) add_relation(row, row.is_table && !row.definition);
  expand(relations);
}

void Catalog::add_relation(const RelationRow& row, bool is_safe) {
  for (Unsafe* const unsafe : {&relations_[row.name], &relations_[qualified(row)]}) {
    unsafe->count += is_safe ? 0 : 1;
    unsafe->code_count += row.definition ? 1 : 0;
  }
}

void Catalog::make_safe(const RelationRow& row) {
  for (Unsafe* const unsafe : {&relations_[row.name], &relations_[qualified(row)]}) {
    --unsafe->count;
    --unsafe->code_count;
  }
}

/// Everything with a definition is unsafe until all that it reads is known to be safe: what goes
/// round in a circle never is.
void Catalog::expand(std::span<const RelationRow> relations) {
  std::vector<Pending> pending;
  std::size_t count = 0;
  for (const RelationRow& row : relations) {
    if (!row.definition) continue;
    if (++count > max_view_count) break;
    sql::Facts facts = sql::analyse(*row.definition);
    if (!facts.is_plain_query || facts.speaks_of_server) continue;
    const bool is_harmless = std::ranges::none_of(
        facts.all_functions,
        [this](const std::string& name) { return doubt_function(name).has_value(); });
    if (is_harmless) pending.push_back({&row, std::move(facts.relations)});
  }
  for (std::size_t depth = 0; depth < max_view_depth && !pending.empty(); ++depth) {
    const auto found = std::ranges::partition(pending, [this](const Pending& view) {
      return std::ranges::any_of(view.relations, [this](const std::string& name) {
        return doubt_relation(name).has_value();
      });
    });
    if (found.empty()) break;
    for (const Pending& view : found) make_safe(*view.row);
    pending.erase(found.begin(), found.end());
  }
}

std::optional<Reason> Catalog::doubt_function(std::string_view name) const {
  const std::string_view bare_name = without_schema(name);
  if (safe_functions_.contains(bare_name) || safe_functions_.contains(name)) return std::nullopt;
  const auto found = functions_.find(bare_name);
  if (found == functions_.end()) return Reason::function_unknown;
  if (found->second) return Reason::function_volatile;
  return std::nullopt;
}

std::optional<Reason> Catalog::doubt_relation(std::string_view name) const {
  const auto found = relations_.find(name);
  if (found == relations_.end()) return Reason::relation_unknown;
  if (found->second.count != 0) return Reason::relation_unsafe;
  return std::nullopt;
}

std::optional<Reason> Catalog::doubt(const sql::Facts& query) const {
  for (const std::string& name : query.all_functions) {
    if (const auto reason = doubt_function(name)) return reason;
  }
  for (const std::string& name : query.relations) {
    if (const auto reason = doubt_relation(name)) return reason;
  }
  return std::nullopt;
}

bool Catalog::may_run_code(const sql::Facts& query) const {
  return std::ranges::any_of(query.relations, [this](const std::string& name) {
    const auto found = relations_.find(name);
    return found == relations_.end() || found->second.code_count != 0;
  });
}

std::string_view functions_question() {
  // pg_proc calls every aggregate immutable, and tells nothing of what defaults of arguments call.
  return R"sql(
SELECT f.proname::pg_catalog.text AS name, pg_catalog.bool_or(
    f.provolatile OPERATOR(pg_catalog.=) 'v'::pg_catalog."char"
    OR EXISTS (
      SELECT FROM pg_catalog.pg_aggregate AS a JOIN pg_catalog.pg_proc AS s
        ON s.oid OPERATOR(pg_catalog.=) ANY (ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
          a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::pg_catalog.oid[])
      WHERE a.aggfnoid OPERATOR(pg_catalog.=) f.oid
        AND s.provolatile OPERATOR(pg_catalog.=) 'v'::pg_catalog."char")
    OR EXISTS (
      SELECT FROM pg_catalog.regexp_matches(f.proargdefaults::pg_catalog.text,
          ':(?:op)?funcid (\d+)', 'g') AS called JOIN pg_catalog.pg_proc AS d
        ON d.oid OPERATOR(pg_catalog.=) called[1]::pg_catalog.oid
      WHERE d.provolatile OPERATOR(pg_catalog.=) 'v'::pg_catalog."char")) AS is_volatile
FROM pg_catalog.pg_proc AS f
WHERE f.prokind OPERATOR(pg_catalog.<>) 'p'::pg_catalog."char"
GROUP BY 1)sql";
}

std::string_view relations_question() {
  // A standby cannot read unlogged tables. Foreign ones are another server's: what they show is no
  // matter of what has been replayed. Both may be partitions.
  return R"sql(
WITH RECURSIVE path AS MATERIALIZED (
  SELECT pg_catalog.set_config('search_path', 'pg_catalog', true) AS value
), unfit AS (
  SELECT c.oid FROM pg_catalog.pg_class AS c
  WHERE c.relkind OPERATOR(pg_catalog.=) 'f'::pg_catalog."char"
    OR c.relpersistence OPERATOR(pg_catalog.=) 'u'::pg_catalog."char"
  UNION
  SELECT i.inhparent FROM unfit JOIN pg_catalog.pg_inherits AS i
    ON i.inhrelid OPERATOR(pg_catalog.=) unfit.oid
), relation AS (
  SELECT c.oid, n.nspname, c.relname, c.relrowsecurity,
    c.relkind OPERATOR(pg_catalog.=) 'v'::pg_catalog."char" AS is_view,
    c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,m}'::pg_catalog."char"[])
      AND NOT EXISTS (SELECT FROM unfit WHERE unfit.oid OPERATOR(pg_catalog.=) c.oid) AS is_table
  FROM path CROSS JOIN pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
  WHERE path.value IS NOT NULL
    AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,m,v,f,S}'::pg_catalog."char"[])
    AND NOT n.nspname::pg_catalog.text OPERATOR(pg_catalog.~) '^pg_(toast|temp)'
)
SELECT r.nspname::pg_catalog.text AS schema, r.relname::pg_catalog.text AS name, r.is_table,
  CASE WHEN r.is_view THEN pg_catalog.pg_get_viewdef(r.oid)
       WHEN r.is_table AND r.relrowsecurity THEN (
         SELECT 'SELECT ' OPERATOR(pg_catalog.||) pg_catalog.string_agg(
             '(' OPERATOR(pg_catalog.||) pg_catalog.pg_get_expr(p.polqual, p.polrelid)
             OPERATOR(pg_catalog.||) ')', ', ')
         FROM pg_catalog.pg_policy AS p
         WHERE p.polrelid OPERATOR(pg_catalog.=) r.oid AND p.polqual IS NOT NULL
           AND p.polcmd OPERATOR(pg_catalog.=) ANY ('{r,*}'::pg_catalog."char"[]))
  END AS definition
FROM relation AS r)sql";
}

}  // namespace pgproxy::route
