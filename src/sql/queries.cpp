#include "sql/queries.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sql/tree.hpp"

#include "pgproxy/base/text.hpp"

namespace pgproxy::sql {
namespace {

void sort_and_shrink(std::vector<std::string>& names) {
  std::ranges::sort(names);
  const auto repeated = std::ranges::unique(names);
  names.erase(repeated.begin(), repeated.end());
  names.shrink_to_fit();  // shapes are kept by the thousand
}

/// "schema.name", or "name". A dot within one of them would make it another's name: nullopt.
std::optional<std::string> join(std::string_view schema, std::string_view name) {
  if (name.find('.') != name.npos || schema.find('.') != schema.npos) return std::nullopt;
  if (schema.empty()) return std::string(name);
  return std::string(schema) + "." + std::string(name);
}

/// The walk over a query, which knows for each part the names that WITH gives there.
class QueryReader {
 public:
  void read(const PgQuery__SelectStmt& query) {
    open_.push_back({&query.base, no_scope});
    while (!open_.empty()) {
      const Part part = open_.back();
      open_.pop_back();
      visit(part);
    }
  }
  void write_to(Facts& facts) {
    facts.locks_rows = locks_rows_;
    facts.is_plain_query = is_plain_ && !locks_rows_;
    if (!facts.is_plain_query) return;
    sort_and_shrink(functions_);
    sort_and_shrink(relations_);
    facts.all_functions = std::move(functions_);
    facts.relations = std::move(relations_);
  }

 private:
  static constexpr std::size_t no_scope = static_cast<std::size_t>(-1);
  /// One name of a WITH, and what else is known where it is: an index into scopes_.
  struct Scope {
    std::string_view name;
    std::size_t outer = no_scope;
  };
  struct Part {
    const ProtobufCMessage* message = nullptr;
    std::size_t scope = no_scope;
  };

  void visit(const Part& part);
  void select(const PgQuery__SelectStmt& query, std::size_t scope);
  std::size_t with(const PgQuery__WithClause& clause, std::size_t scope);
  void relation(const PgQuery__RangeVar& table, std::size_t scope);
  void function(const PgQuery__FuncCall& call);
  void operator_name(PgQuery__Node* const* names, std::size_t count);
  void add_children(const ProtobufCMessage& message, std::size_t scope,
                    const ProtobufCMessage* left_out = nullptr);
  bool is_known(std::string_view name, std::size_t scope) const;

  std::vector<Part> open_;
  std::vector<Scope> scopes_;
  TreeWalk children_;  ///< empty between calls; here for its memory
  std::vector<std::string> functions_;
  std::vector<std::string> relations_;
  bool is_plain_ = true;
  bool locks_rows_ = false;
};

void QueryReader::visit(const Part& part) {
  const ProtobufCMessage& message = *part.message;
  const ProtobufCMessageDescriptor* const type = message.descriptor;
  if (type == &pg_query__select_stmt__descriptor) {
    return select(reinterpret_cast<const PgQuery__SelectStmt&>(message), part.scope);
  }
  if (type == &pg_query__range_var__descriptor) {
    return relation(reinterpret_cast<const PgQuery__RangeVar&>(message), part.scope);
  }
  if (type == &pg_query__func_call__descriptor) {
    function(reinterpret_cast<const PgQuery__FuncCall&>(message));
  } else if (const auto* const op = as<PgQuery__AExpr>(message, pg_query__a__expr__descriptor)) {
    operator_name(op->name, op->n_name);
  } else if (const auto* const link =
                 as<PgQuery__SubLink>(message, pg_query__sub_link__descriptor)) {
    operator_name(link->oper_name, link->n_oper_name);
  } else if (const auto* const sort = as<PgQuery__SortBy>(message, pg_query__sort_by__descriptor)) {
    operator_name(sort->use_op, sort->n_use_op);
  } else if (type == &pg_query__locking_clause__descriptor) {
    locks_rows_ = true;
  } else if (type == &pg_query__into_clause__descriptor ||
             type == &pg_query__insert_stmt__descriptor ||
             type == &pg_query__update_stmt__descriptor ||
             type == &pg_query__delete_stmt__descriptor ||
             type == &pg_query__merge_stmt__descriptor) {
    is_plain_ = false;
  }
  add_children(message, part.scope);
}

void QueryReader::select(const PgQuery__SelectStmt& query, std::size_t scope) {
  if (query.with_clause == nullptr) return add_children(query.base, scope);
  add_children(query.base, with(*query.with_clause, scope), &query.with_clause->base);
}

/// The scope of what stands behind the WITH. Its own queries know those before them, with
/// RECURSIVE all of them.
std::size_t QueryReader::with(const PgQuery__WithClause& clause, std::size_t scope) {
  const std::size_t first_part = open_.size();
  for (const PgQuery__Node* const node : nodes(clause.ctes, clause.n_ctes)) {
    if (node->node_case != PG_QUERY__NODE__NODE_COMMON_TABLE_EXPR) continue;
    open_.push_back({&node->common_table_expr->base, scope});
    scopes_.push_back({text_of(node->common_table_expr->ctename), scope});
    scope = scopes_.size() - 1;
  }
  if (clause.recursive != 0) {
    for (std::size_t index = first_part; index < open_.size(); ++index) open_[index].scope = scope;
  }
  return scope;
}

void QueryReader::relation(const PgQuery__RangeVar& table, std::size_t scope) {
  const std::string_view schema = text_of(table.schemaname);
  const std::string_view name = text_of(table.relname);
  if (schema.empty() && is_known(name, scope)) return;
  auto full_name = join(schema, name);
  if (full_name) {
    relations_.push_back(std::move(*full_name));
  } else {
    is_plain_ = false;
  }
}

void QueryReader::function(const PgQuery__FuncCall& call) {
  if (call.n_funcname == 0) return;
  const std::string_view schema =
      call.n_funcname > 1 ? string_of(call.funcname[call.n_funcname - 2]) : std::string_view{};
  auto full_name = join(schema, string_of(call.funcname[call.n_funcname - 1]));
  if (full_name) {
    functions_.push_back(lower_case(*full_name));
  } else {
    is_plain_ = false;
  }
}

/// OPERATOR(schema.+) can be anything; so can +, but that takes an operator of another type.
void QueryReader::operator_name(PgQuery__Node* const* names, std::size_t count) {
  if (count > 1 && string_of(names[count - 2]) != "pg_catalog") is_plain_ = false;
}

void QueryReader::add_children(const ProtobufCMessage& message, std::size_t scope,
                               const ProtobufCMessage* left_out) {
  children_.add_children(message);
  while (const ProtobufCMessage* const child = children_.next()) {
    if (child != left_out) open_.push_back({child, scope});
  }
}

bool QueryReader::is_known(std::string_view name, std::size_t scope) const {
  for (; scope != no_scope; scope = scopes_[scope].outer) {
    if (scopes_[scope].name == name) return true;
  }
  return false;
}

}  // namespace

void read_query(const PgQuery__SelectStmt& query, Facts& facts) {
  QueryReader reader;
  reader.read(query);
  reader.write_to(facts);
}

}  // namespace pgproxy::sql
