#include "sql/statements.hpp"

#include <algorithm>

namespace pgproxy::sql {
namespace {

using enum Residue;
using Look = StatementFacts::Look;

/// The ones not listed may write, and that is all.
constexpr StatementFacts statements[] = {
    {.node = PG_QUERY__NODE__NODE_SELECT_STMT, .kind = StatementKind::select, .may_write = false},
    {.node = PG_QUERY__NODE__NODE_INSERT_STMT, .kind = StatementKind::insert, .may_draw = true},
    {.node = PG_QUERY__NODE__NODE_UPDATE_STMT, .kind = StatementKind::update},
    {.node = PG_QUERY__NODE__NODE_DELETE_STMT, .kind = StatementKind::remove},
    {.node = PG_QUERY__NODE__NODE_MERGE_STMT, .kind = StatementKind::merge, .may_draw = true},
    {.node = PG_QUERY__NODE__NODE_COPY_STMT, .kind = StatementKind::copy, .may_write = false},
    {.node = PG_QUERY__NODE__NODE_VARIABLE_SHOW_STMT,
     .kind = StatementKind::show,
     .may_write = false,
     .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_EXPLAIN_STMT,
     .kind = StatementKind::explain,
     .may_write = false,
     .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_VARIABLE_SET_STMT,
     .kind = StatementKind::set,
     .may_write = false,
     .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_TRANSACTION_STMT,
     .kind = StatementKind::transaction,
     .may_write = false,
     .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_DECLARE_CURSOR_STMT,
     .kind = StatementKind::cursor,
     .may_write = false},
    {.node = PG_QUERY__NODE__NODE_FETCH_STMT,
     .kind = StatementKind::cursor,
     .may_draw = true,
     .look = Look::none},  // runs what DECLARE named
    {.node = PG_QUERY__NODE__NODE_CLOSE_PORTAL_STMT,
     .kind = StatementKind::cursor,
     .may_write = false,
     .may_remove_residue = true,
     .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_PREPARE_STMT,
     .kind = StatementKind::prepare,
     .leaves = {prepared_statement},
     .may_write = false,
     .names_prepared = true,
     .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_EXECUTE_STMT,
     .kind = StatementKind::execute,
     .leaves = {code},
     .may_draw = true,
     .names_prepared = true,
     .touches_relations = true},
    {.node = PG_QUERY__NODE__NODE_DEALLOCATE_STMT,
     .kind = StatementKind::deallocate,
     .leaves = {prepared_statement},
     .may_write = false,
     .may_remove_residue = true,
     .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_DISCARD_STMT,
     .kind = StatementKind::discard,
     .may_write = false,
     .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_DO_STMT,
     .kind = StatementKind::do_block,
     .leaves = {code},
     .may_draw = true,
     .touches_relations = true,
     .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_CALL_STMT,
     .kind = StatementKind::call,
     .leaves = {code},
     .may_draw = true,
     .touches_relations = true},
    {.node = PG_QUERY__NODE__NODE_LISTEN_STMT,
     .leaves = {listen},
     .may_write = false,
     .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_UNLISTEN_STMT,
     .leaves = {listen},
     .may_write = false,
     .may_remove_residue = true,
     .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_NOTIFY_STMT, .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_LOAD_STMT, .leaves = {hidden}, .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_CREATE_EXTENSION_STMT,
     .leaves = {code},
     .may_draw = true,
     .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_EXTENSION_STMT,
     .leaves = {code},
     .may_draw = true,
     .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_VACUUM_STMT, .touches_relations = true},
    {.node = PG_QUERY__NODE__NODE_REINDEX_STMT, .touches_relations = true},
    {.node = PG_QUERY__NODE__NODE_CLUSTER_STMT, .touches_relations = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_SYSTEM_STMT, .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_ALTER_ROLE_SET_STMT, .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_CREATE_FUNCTION_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_ALTER_FUNCTION_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_VIEW_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_RULE_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_CREATE_TRIG_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_CREATE_POLICY_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_ALTER_POLICY_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_CREATE_DOMAIN_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_DEFINE_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_CREATE_CAST_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_COMPOSITE_TYPE_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_CREATE_ENUM_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_CREATE_RANGE_STMT, .changes_code = true, .look = Look::names},
    {.node = PG_QUERY__NODE__NODE_ALTER_TABLE_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_DOMAIN_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_ENUM_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_TYPE_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_OPERATOR_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_CREATE_OP_CLASS_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_CREATE_OP_FAMILY_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_OP_FAMILY_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_CREATE_CONVERSION_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_CREATE_TRANSFORM_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_CREATE_PLANG_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_CREATE_EVENT_TRIG_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_EVENT_TRIG_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_EXTENSION_CONTENTS_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_CREATE_SCHEMA_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_CREATEDB_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_DROPDB_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_DATABASE_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_DATABASE_SET_STMT,
     .changes_code = true,
     .look = Look::none},
    {.node = PG_QUERY__NODE__NODE_CREATE_AM_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_DROP_OWNED_STMT,
     .may_remove_residue = true,
     .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_TSDICTIONARY_STMT, .changes_code = true},
    {.node = PG_QUERY__NODE__NODE_ALTER_TSCONFIGURATION_STMT, .changes_code = true},
};
constexpr StatementFacts any_other{};

}  // namespace

const StatementFacts& statement_facts(PgQuery__Node__NodeCase node) {
  const auto* const found = std::ranges::find(statements, node, &StatementFacts::node);
  return found != std::end(statements) ? *found : any_other;
}

bool is_code(PgQuery__ObjectType type) {
  switch (type) {
    case PG_QUERY__OBJECT_TYPE__OBJECT_AGGREGATE:
    case PG_QUERY__OBJECT_TYPE__OBJECT_CAST:
    case PG_QUERY__OBJECT_TYPE__OBJECT_CONVERSION:
    case PG_QUERY__OBJECT_TYPE__OBJECT_DATABASE:
    case PG_QUERY__OBJECT_TYPE__OBJECT_DEFAULT:
    case PG_QUERY__OBJECT_TYPE__OBJECT_DOMAIN:
    case PG_QUERY__OBJECT_TYPE__OBJECT_DOMCONSTRAINT:
    case PG_QUERY__OBJECT_TYPE__OBJECT_EVENT_TRIGGER:
    case PG_QUERY__OBJECT_TYPE__OBJECT_EXTENSION:
    case PG_QUERY__OBJECT_TYPE__OBJECT_FDW:
    case PG_QUERY__OBJECT_TYPE__OBJECT_FUNCTION:
    case PG_QUERY__OBJECT_TYPE__OBJECT_LANGUAGE:
    case PG_QUERY__OBJECT_TYPE__OBJECT_OPCLASS:
    case PG_QUERY__OBJECT_TYPE__OBJECT_OPERATOR:
    case PG_QUERY__OBJECT_TYPE__OBJECT_OPFAMILY:
    case PG_QUERY__OBJECT_TYPE__OBJECT_POLICY:
    case PG_QUERY__OBJECT_TYPE__OBJECT_PROCEDURE:
    case PG_QUERY__OBJECT_TYPE__OBJECT_ROUTINE:
    case PG_QUERY__OBJECT_TYPE__OBJECT_RULE:
    case PG_QUERY__OBJECT_TYPE__OBJECT_SCHEMA:
    case PG_QUERY__OBJECT_TYPE__OBJECT_TABCONSTRAINT:
    case PG_QUERY__OBJECT_TYPE__OBJECT_TRANSFORM:
    case PG_QUERY__OBJECT_TYPE__OBJECT_TRIGGER:
    case PG_QUERY__OBJECT_TYPE__OBJECT_TSCONFIGURATION:
    case PG_QUERY__OBJECT_TYPE__OBJECT_TSDICTIONARY:
    case PG_QUERY__OBJECT_TYPE__OBJECT_TYPE:
    case PG_QUERY__OBJECT_TYPE__OBJECT_VIEW:
    case PG_QUERY__OBJECT_TYPE__OBJECT_MATVIEW: return true;
    default: return false;
  }
}

}  // namespace pgproxy::sql
