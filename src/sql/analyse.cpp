#include "sql/analyse.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "sql/functions.hpp"
#include "sql/lexer.hpp"
#include "sql/parser_thread.hpp"
#include "sql/queries.hpp"
#include "sql/server_names.hpp"
#include "sql/statements.hpp"
#include "sql/transactions.hpp"
#include "sql/tree.hpp"

#include "pgproxy/sql/shapes.hpp"

namespace pgproxy::sql {
namespace {

constexpr std::size_t longest_text_bytes = std::size_t{16} << 10;
constexpr std::int32_t cursor_with_hold = 0x20;  ///< CURSOR_OPT_HOLD of PostgreSQL's parsenodes.h

/// pg_temp, pg_temp_3
bool is_temporary_schema(std::string_view name) {
  constexpr std::string_view alias = "pg_temp";
  if (!name.starts_with(alias)) return false;
  name.remove_prefix(alias.size());
  if (name.empty()) return true;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  return name.size() > 1 && name[0] == '_' && std::ranges::all_of(name.substr(1), is_digit);
}

/// Anywhere in a setting's value, as that may be a list.
bool names_temporary_schema(std::string_view value) {
  return contains_ignoring_case(value, "pg_temp");
}

/// The string constant that an expression is, perhaps with a cast.
std::optional<std::string_view> string_constant(const PgQuery__Node* node) {
  while (node != nullptr && node->node_case == PG_QUERY__NODE__NODE_TYPE_CAST) {
    node = node->type_cast->arg;
  }
  if (node == nullptr || node->node_case != PG_QUERY__NODE__NODE_A_CONST) return std::nullopt;
  const PgQuery__AConst& constant = *node->a_const;
  if (constant.val_case != PG_QUERY__A__CONST__VAL_SVAL) return std::nullopt;
  return text_of(constant.sval->sval);
}

/// $1, perhaps with a cast.
bool is_parameter(const PgQuery__Node* node) {
  while (node != nullptr && node->node_case == PG_QUERY__NODE__NODE_TYPE_CAST) {
    node = node->type_cast->arg;
  }
  return node != nullptr && node->node_case == PG_QUERY__NODE__NODE_PARAM_REF;
}

/// TRUE or FALSE, as keywords.
std::optional<bool> truth_value(const PgQuery__Node* node) {
  if (node == nullptr || node->node_case != PG_QUERY__NODE__NODE_A_CONST) return std::nullopt;
  const PgQuery__AConst& constant = *node->a_const;
  if (constant.isnull || constant.val_case != PG_QUERY__A__CONST__VAL_BOOLVAL) return std::nullopt;
  return constant.boolval->boolval != 0;
}

/// Puts together the facts of the statements of one text.
class Analysis {
 public:
  explicit Analysis(const PgQuery__ParseResult& tree) {
    facts_.kind = StatementKind::empty;
    facts_.may_write = facts_.may_draw = false;
    for (std::size_t index = 0; index < tree.n_stmts; ++index) {
      const PgQuery__Node* const node = tree.stmts[index]->stmt;
      if (node == nullptr) continue;
      const StatementKind kind = statement(*node);
      facts_.kind = tree.n_stmts == 1 ? kind : StatementKind::several;
    }
    if (tree.n_stmts == 1 && tree.stmts[0]->stmt != nullptr) only_statement(*tree.stmts[0]->stmt);
  }
  Facts take() {
    for (auto* const names : {&facts_.functions, &facts_.settings, &facts_.resets}) {
      std::ranges::sort(*names);
      const auto repeated = std::ranges::unique(*names);
      names->erase(repeated.begin(), repeated.end());
    }
    if (!facts_.functions.empty()) {
      facts_.leaves |= {Residue::code};
      facts_.may_write = facts_.may_draw = true;
    }
    return std::move(facts_);
  }

 private:
  Analysis() = default;

  StatementKind statement(const PgQuery__Node& node);
  void only_statement(const PgQuery__Node& node);
  void transaction(const PgQuery__TransactionStmt& statement);
  void set(const PgQuery__VariableSetStmt& statement);
  void set_characteristics(const PgQuery__VariableSetStmt& statement);
  void discard(PgQuery__DiscardMode mode);
  void explain(const PgQuery__ExplainStmt& statement);
  void prepare(const PgQuery__PrepareStmt& statement);
  void copy(const PgQuery__CopyStmt& statement);
  void create(const PgQuery__CreateStmt& statement);

  void look(const PgQuery__Node& node, StatementFacts::Look what);
  void look_into(const ProtobufCMessage& root, StatementFacts::Look what, bool is_creation);
  void look_at_later(const ProtobufCMessage& part);
  void visit(const ProtobufCMessage& message);
  void call(const PgQuery__FuncCall& call);
  void call_set_config(const PgQuery__FuncCall& call);
  void table(const PgQuery__RangeVar& table);

  Facts facts_;
};

StatementKind Analysis::statement(const PgQuery__Node& node) {
  const StatementFacts& known = statement_facts(node.node_case);
  facts_.leaves |= known.leaves;
  facts_.may_write |= known.may_write;
  facts_.may_draw |= known.may_draw;
  facts_.may_remove_residue |= known.may_remove_residue;
  facts_.changes_code |= known.changes_code;
  facts_.names_prepared |= known.names_prepared;
  facts_.touches_relations |= known.touches_relations;
  look(node, known.look);
  StatementKind kind = known.kind;
  switch (node.node_case) {
    case PG_QUERY__NODE__NODE_SELECT_STMT:
      if (node.select_stmt->into_clause != nullptr) kind = StatementKind::other;
      break;
    case PG_QUERY__NODE__NODE_TRANSACTION_STMT: transaction(*node.transaction_stmt); break;
    case PG_QUERY__NODE__NODE_VARIABLE_SET_STMT: set(*node.variable_set_stmt); break;
    case PG_QUERY__NODE__NODE_DISCARD_STMT: discard(node.discard_stmt->target); break;
    case PG_QUERY__NODE__NODE_EXPLAIN_STMT: explain(*node.explain_stmt); break;
    case PG_QUERY__NODE__NODE_PREPARE_STMT: prepare(*node.prepare_stmt); break;
    case PG_QUERY__NODE__NODE_COPY_STMT: copy(*node.copy_stmt); break;
    case PG_QUERY__NODE__NODE_CREATE_STMT: create(*node.create_stmt); break;
    case PG_QUERY__NODE__NODE_DECLARE_CURSOR_STMT:
      if ((node.declare_cursor_stmt->options & cursor_with_hold) != 0) {
        facts_.leaves |= {Residue::cursor};
      }
      break;
    case PG_QUERY__NODE__NODE_DEALLOCATE_STMT:
      facts_.names_prepared |= !text_of(node.deallocate_stmt->name).empty();
      break;
    case PG_QUERY__NODE__NODE_DROP_STMT:
      facts_.may_remove_residue = true;
      facts_.changes_code |= is_code(node.drop_stmt->remove_type);
      break;
    case PG_QUERY__NODE__NODE_RENAME_STMT:
      facts_.changes_code |= is_code(node.rename_stmt->rename_type);
      break;
    case PG_QUERY__NODE__NODE_ALTER_OBJECT_SCHEMA_STMT:
      facts_.changes_code |= is_code(node.alter_object_schema_stmt->object_type);
      break;
    case PG_QUERY__NODE__NODE_ALTER_OWNER_STMT:
      facts_.changes_code |= is_code(node.alter_owner_stmt->object_type);
      break;
    case PG_QUERY__NODE__NODE_ALTER_OBJECT_DEPENDS_STMT:
      facts_.changes_code |= is_code(node.alter_object_depends_stmt->object_type);
      break;
    default: break;
  }
  return kind;
}

/// What only counts when it is not one of several.
void Analysis::only_statement(const PgQuery__Node& node) {
  if (node.node_case == PG_QUERY__NODE__NODE_TRANSACTION_STMT) {
    read_transaction(*node.transaction_stmt, facts_);
  } else if (node.node_case == PG_QUERY__NODE__NODE_SELECT_STMT) {
    read_query(*node.select_stmt, facts_);
  }
}

void Analysis::transaction(const PgQuery__TransactionStmt& statement) {
  facts_.controls_transaction = true;
  switch (statement.kind) {
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_PREPARE:
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_COMMIT_PREPARED:
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK_PREPARED:
      facts_.may_write = true;
      break;
    default: break;
  }
}

void Analysis::set(const PgQuery__VariableSetStmt& statement) {
  if (statement.kind == PG_QUERY__VARIABLE_SET_KIND__VAR_SET_MULTI) {
    return set_characteristics(statement);
  }
  if (statement.is_local) {
    facts_.sets_locally = true;
  } else {
    facts_.leaves |= {Residue::setting};
  }
  if (statement.kind == PG_QUERY__VARIABLE_SET_KIND__VAR_RESET_ALL) {
    facts_.resets.emplace_back("all");
    return;
  }
  const std::string name = lower_case(text_of(statement.name));
  facts_.settings.push_back(name);
  const bool is_reset = statement.kind == PG_QUERY__VARIABLE_SET_KIND__VAR_RESET ||
                        statement.kind == PG_QUERY__VARIABLE_SET_KIND__VAR_SET_DEFAULT;
  if (is_reset && !statement.is_local) {
    facts_.resets.push_back(name);
    if (name == "session_authorization") facts_.resets.emplace_back("role");
  }
  if (name == hidden_setting)
    facts_.leaves |= {Residue::hidden};  // whatever becomes of the transaction
  if (name != "search_path") return;
  // What is created by unqualified names from now on is temporary, and cannot be told from others.
  for (const PgQuery__Node* const value : nodes(statement.args, statement.n_args)) {
    if (names_temporary_schema(string_constant(value).value_or(""))) {
      facts_.leaves |= {Residue::temporary_object};
    }
  }
}

/// SET SESSION CHARACTERISTICS. SET TRANSACTION, the other one, is the transaction's.
void Analysis::set_characteristics(const PgQuery__VariableSetStmt& statement) {
  if (text_of(statement.name) != "SESSION CHARACTERISTICS") return;
  facts_.leaves |= {Residue::setting};
  for (const PgQuery__Node* const mode : nodes(statement.args, statement.n_args)) {
    if (mode->node_case != PG_QUERY__NODE__NODE_DEF_ELEM) continue;
    facts_.settings.push_back("default_" + std::string(text_of(mode->def_elem->defname)));
  }
}

void Analysis::discard(PgQuery__DiscardMode mode) {
  using enum Residue;
  switch (mode) {
    case PG_QUERY__DISCARD_MODE__DISCARD_ALL:
      facts_.leaves |=
          {setting, temporary_object, listen, advisory_lock, cursor, prepared_statement};
      facts_.resets.emplace_back("all");
      facts_.resets.emplace_back("role");
      facts_.may_remove_residue = true;
      break;
    case PG_QUERY__DISCARD_MODE__DISCARD_TEMP: facts_.may_remove_residue = true; break;
    default: break;  // PLANS and SEQUENCES
  }
}

/// It runs with ANALYZE only. Whose value, if it has one, is a constant that we do not look at.
void Analysis::explain(const PgQuery__ExplainStmt& statement) {
  const bool runs = std::ranges::any_of(
      nodes(statement.options, statement.n_options), [](const PgQuery__Node* option) {
        return option->node_case == PG_QUERY__NODE__NODE_DEF_ELEM &&
               text_of(option->def_elem->defname) == "analyze";
      });
  if (statement.query == nullptr) return;
  if (runs) {
    this->statement(*statement.query);
  } else {
    facts_.names_prepared |= statement.query->node_case == PG_QUERY__NODE__NODE_EXECUTE_STMT;
  }
}

/// What it prepares counts when it is executed, and nobody knows then what that was.
void Analysis::prepare(const PgQuery__PrepareStmt& statement) {
  if (statement.query != nullptr) this->statement(*statement.query);
}

void Analysis::copy(const PgQuery__CopyStmt& statement) {
  facts_.may_draw |= statement.is_from != 0;
  facts_.may_write |=
      statement.is_from != 0 || statement.is_program != 0 || !text_of(statement.filename).empty();
}

/// Its columns may have other tables' defaults: code that inserting into the table runs.
void Analysis::create(const PgQuery__CreateStmt& statement) {
  const auto elements = nodes(statement.table_elts, statement.n_table_elts);
  const bool copies = std::ranges::any_of(elements, [](const PgQuery__Node* element) {
    return element->node_case == PG_QUERY__NODE__NODE_TABLE_LIKE_CLAUSE;
  });
  facts_.changes_code |= copies || statement.n_inh_relations > 0;
}

void Analysis::look(const PgQuery__Node& node, StatementFacts::Look what) {
  if (what == StatementFacts::Look::none) return;
  look_into(node.base, what, node.node_case == PG_QUERY__NODE__NODE_CREATE_STMT);
}

/// `is_creation`: of a table.
void Analysis::look_into(const ProtobufCMessage& root, StatementFacts::Look what,
                         bool is_creation) {
  TreeWalk walk;
  walk.add(&root);
  while (const ProtobufCMessage* const message = walk.next()) {
    // Constants name nothing, and settings within CREATE FUNCTION and the like are not set now.
    if (message->descriptor == &pg_query__a__const__descriptor ||
        message->descriptor == &pg_query__variable_set_stmt__descriptor) {
      continue;
    }
    if (is_creation && message->descriptor == &pg_query__constraint__descriptor) {
      look_at_later(*message);
      continue;
    }
    for_each_text(*message, [this](std::string_view text) {
      if (is_temporary_schema(text)) facts_.leaves |= {Residue::temporary_object};
    });
    if (what == StatementFacts::Look::all) {
      visit(*message);
    } else if (const auto* const relation =
                   as<PgQuery__RangeVar>(*message, pg_query__range_var__descriptor)) {
      table(*relation);
    }
    walk.add_children(*message);
  }
}

/// Defaults and checks of a new table: code that is not run now, but by inserting into the table.
void Analysis::look_at_later(const ProtobufCMessage& part) {
  Analysis later;
  later.look_into(part, StatementFacts::Look::all, false);
  facts_.changes_code |= !later.facts_.functions.empty();
  facts_.touches_relations |= later.facts_.touches_relations;
  facts_.leaves |= later.facts_.leaves & ResidueSet{Residue::temporary_object};
}

/// Statements within statements (WITH x AS (INSERT …)), functions, tables.
void Analysis::visit(const ProtobufCMessage& message) {
  const ProtobufCMessageDescriptor* const type = message.descriptor;
  if (type == &pg_query__func_call__descriptor) {
    call(reinterpret_cast<const PgQuery__FuncCall&>(message));
  } else if (type == &pg_query__range_var__descriptor) {
    table(reinterpret_cast<const PgQuery__RangeVar&>(message));
  } else if (type == &pg_query__insert_stmt__descriptor ||
             type == &pg_query__merge_stmt__descriptor) {
    facts_.may_write = facts_.may_draw = true;
  } else if (type == &pg_query__update_stmt__descriptor) {
    facts_.may_write = true;
    const auto& update = reinterpret_cast<const PgQuery__UpdateStmt&>(message);
    // A rule of that view makes it a SET.
    if (update.relation != nullptr && text_of(update.relation->relname) == "pg_settings") {
      facts_.leaves |= {Residue::any_setting};
    }
  } else if (type == &pg_query__delete_stmt__descriptor ||
             type == &pg_query__locking_clause__descriptor ||
             type == &pg_query__into_clause__descriptor) {
    facts_.may_write = true;
  } else if (type == &pg_query__set_to_default__descriptor) {
    facts_.may_draw = true;
  } else if (type == &pg_query__execute_stmt__descriptor) {
    facts_.leaves |= {Residue::code};
    facts_.names_prepared = facts_.may_write = facts_.may_draw = facts_.touches_relations = true;
  }
}

void Analysis::table(const PgQuery__RangeVar& table) {
  facts_.touches_relations = true;
  // (Its schema is looked at as any name.)
  if (text_of(table.relpersistence) == "t") facts_.leaves |= {Residue::temporary_object};
  // Created: a table of this name that standbys had may be one that they do not have.
  facts_.changes_code |= text_of(table.relpersistence) == "u";
  const std::string_view name = text_of(table.relname);
  if (name == "pg_prepared_statements") facts_.names_prepared = true;
  facts_.speaks_of_server |= is_server_view(name);
}

void Analysis::call(const PgQuery__FuncCall& call) {
  if (call.n_funcname == 0) return;
  const std::string name = lower_case(string_of(call.funcname[call.n_funcname - 1]));
  const std::string_view schema =
      call.n_funcname > 1 ? string_of(call.funcname[call.n_funcname - 2]) : "pg_catalog";
  const bool is_ours = schema == "pg_catalog";
  facts_.speaks_of_server |= is_server_function(name);
  facts_.locks_server |= is_advisory_lock_function(name);
  if (name == "current_setting") {
    const auto setting = call.n_args > 0 ? string_constant(call.args[0]) : std::nullopt;
    facts_.speaks_of_server |= !setting || is_server_setting(lower_case(*setting));
  }
  if (name == "set_config") {
    call_set_config(call);
    if (is_ours) return;
  }
  if (const FunctionFacts* const known = find_telling_function(name)) {
    facts_.leaves |= known->leaves;
    facts_.may_write |= known->may_write;
    facts_.may_draw |= known->may_draw;
    facts_.may_remove_residue |= known->may_remove_residue;
    facts_.names_prepared |= known->names_prepared;
    if (is_ours) return;
  }
  if (!is_ours || !is_harmless_function(name)) facts_.functions.push_back(name);
}

/// set_config(name, value, is_local)
void Analysis::call_set_config(const PgQuery__FuncCall& call) {
  const auto arguments = nodes(call.args, call.n_args);
  const bool is_plain = arguments.size() == 3 && call.func_variadic == 0 &&
                        std::ranges::none_of(arguments, [](const PgQuery__Node* argument) {
                          return argument->node_case == PG_QUERY__NODE__NODE_NAMED_ARG_EXPR;
                        });
  const auto name = is_plain ? string_constant(arguments[0]) : std::nullopt;
  const auto value = is_plain ? string_constant(arguments[1]) : std::nullopt;
  const auto is_local = is_plain ? truth_value(arguments[2]) : std::nullopt;
  facts_.sets_locally |= is_local.value_or(true);
  if (!is_local.value_or(false)) {
    facts_.leaves |= {name ? Residue::setting : Residue::any_setting};
    // PostgreSQL does not list custom settings: their names have to be known.
    if (!name && !(is_plain && is_parameter(arguments[0]))) facts_.leaves |= {Residue::hidden};
  }
  if (name && equals_ignoring_case(*name, hidden_setting)) facts_.leaves |= {Residue::hidden};
  const bool is_search_path = name && equals_ignoring_case(*name, "search_path");
  if (!name || (is_search_path && (!value || names_temporary_schema(*value)))) {
    facts_.leaves |= {Residue::temporary_object};
  }
}

}  // namespace

Facts unknown_facts() {
  Facts facts;
  facts.leaves = {Residue::code};
  facts.controls_transaction = facts.sets_locally = true;
  facts.may_remove_residue = facts.changes_code = true;
  facts.names_prepared = facts.touches_relations = true;
  facts.speaks_of_server = true;
  return facts;
}

Facts analyse(std::string_view text) {
  Facts facts = unknown_facts();
  const bool has_nul = text.find('\0') != std::string_view::npos;
  if (text.size() > longest_text_bytes || has_nul) return facts;
  parse(std::string(text), [&facts](const PgQuery__ParseResult* tree) {
    if (tree != nullptr) facts = Analysis(*tree).take();
  });
  return facts;
}

}  // namespace pgproxy::sql
