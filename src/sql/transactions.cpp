#include "sql/transactions.hpp"

#include "sql/tree.hpp"

namespace pgproxy::sql {
namespace {

/// One of the modes of BEGIN, as the grammar writes them: transaction_read_only = 1.
void read_mode(const PgQuery__DefElem& mode, Facts& facts) {
  const PgQuery__Node* const value = mode.arg;
  if (value == nullptr || value->node_case != PG_QUERY__NODE__NODE_A_CONST) return;
  const PgQuery__AConst& constant = *value->a_const;
  const std::string_view name = text_of(mode.defname);
  if (name == "transaction_isolation" && constant.val_case == PG_QUERY__A__CONST__VAL_SVAL) {
    facts.sets_isolation = true;
    facts.is_serializable |= text_of(constant.sval->sval) == "serializable";
  } else if (name == "transaction_read_only" && constant.val_case == PG_QUERY__A__CONST__VAL_IVAL) {
    if (constant.ival->ival == 0) {
      facts.starts_transaction = TransactionStart::read_write;
    } else if (facts.starts_transaction != TransactionStart::read_write) {
      facts.starts_transaction = TransactionStart::read_only;
    }
  }
}

}  // namespace

void read_transaction(const PgQuery__TransactionStmt& statement, Facts& facts) {
  switch (statement.kind) {
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_BEGIN:
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_START:
      facts.starts_transaction = TransactionStart::unspecified;
      for (const PgQuery__Node* const option : nodes(statement.options, statement.n_options)) {
        if (option->node_case != PG_QUERY__NODE__NODE_DEF_ELEM) continue;
        read_mode(*option->def_elem, facts);
      }
      break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_COMMIT:
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK:
      facts.ends_transaction = true;
      facts.chains = statement.chain != 0;
      break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_PREPARE: facts.ends_transaction = true; break;
    default: break;
  }
}

}  // namespace pgproxy::sql
