// What keeps a server connection for its client.
#include <string>

#include "session_builder.hpp"

namespace stress {

void SessionBuilder::temporary_table() {
  if (session_.table && chance(3)) return drop_table();
  if (session_.table) {
    return run("select " + mark_sql() + ", owner, sequence from mine",
               {mark() + "|" + owner_ + "|" + std::to_string(*session_.table)}, "SELECT 1");
  }
  const bool in_transaction = chance(2);
  if (in_transaction) simple("begin", {}, "BEGIN", 'T');
  run("create temp table mine as select " + owner_ + " owner, " + sequence_ + " sequence", {},
      "SELECT 1", in_transaction ? 'T' : 'I');
  may_be_refused(in_transaction);
  session_.table = std::stoull(sequence_);
  if (!in_transaction) done();
  run("grant select on mine to public", {}, "GRANT", in_transaction ? 'T' : 'I');
  if (in_transaction) simple("commit", {}, "COMMIT");
  done();
}

void SessionBuilder::drop_table() {
  if (!session_.role.empty()) {  // it may be the table of another one
    run("reset role", {}, "RESET");
    session_.role.clear();
    done();
  }
  chance(2) ? run("drop table mine", {}, "DROP TABLE") : run("discard temp", {}, "DISCARD TEMP");
  session_.table.reset();
  done();
}

void SessionBuilder::advisory_lock() {
  const std::string key = owner_ + ", " + std::to_string(session_.login);
  if (session_.has_lock) return chance(2) ? unlock() : check_session();
  run("select " + mark_sql() + ", pg_try_advisory_lock(" + key + ")", {mark() + "|t"}, "SELECT 1");
  may_be_refused();
  session_.has_lock = true;
  done();
}

void SessionBuilder::unlock() {
  const std::string key = owner_ + ", " + std::to_string(session_.login);
  switch (below(3)) {
    case 0:
      run("select " + mark_sql() + ", pg_advisory_unlock(" + key + ")", {mark() + "|t"},
          "SELECT 1");
      break;
    case 1:
      run("select " + mark_sql() + ", pg_advisory_unlock_all()", {mark() + "|"}, "SELECT 1");
      break;
    case 2:
      run("select " + mark_sql() + ", give_lock(" + key + ")", {mark() + "|t"}, "SELECT 1");
      break;
  }
  session_.has_lock = false;
  done();
}

void SessionBuilder::listen() {
  if (!session_.listens) {
    run("listen " + session_.channel(), {}, "LISTEN");
    may_be_refused();
    session_.listens = true;
    return done();
  }
  if (chance(3)) return unlisten();
  const bool in_transaction = chance(2);
  if (in_transaction) simple("begin", {}, "BEGIN", 'T');
  run("notify " + session_.channel() + ", '" + parameter() + "'", {}, "NOTIFY",
      in_transaction ? 'T' : 'I');
  if (in_transaction) run("commit", {}, "COMMIT");
  // Told when the transaction has ended, in front of its ReadyForQuery.
  std::deque<Expected>& replies = steps_.back().replies;
  replies.insert(replies.end() - 1, {'A', std::to_string(session_.pid) + "|" + session_.channel() +
                                              "|" + parameter()});
}

void SessionBuilder::unlisten() {
  run(chance(2) ? "unlisten *" : "unlisten " + session_.channel(), {}, "UNLISTEN");
  session_.listens = false;
  done();
}

void SessionBuilder::hold_cursor() {
  if (session_.cursor && chance(3)) return close_cursor();
  if (session_.cursor) {
    const bool is_any = session_.fetched < 5;
    session_.fetched += is_any;
    const std::string row =
        owner_ + "|" + std::to_string(*session_.cursor) + "|" + std::to_string(session_.fetched);
    run("fetch 1 from mine", is_any ? Rows{row} : Rows{}, is_any ? "FETCH 1" : "FETCH 0");
    return done();
  }
  const bool in_transaction = chance(2);
  if (in_transaction) simple("begin", {}, "BEGIN", 'T');
  run("declare mine cursor with hold for select " + mark_sql() + ", g from generate_series(1, 5) g",
      {}, "DECLARE CURSOR", in_transaction ? 'T' : 'I');
  may_be_refused(in_transaction);
  if (in_transaction) simple("commit", {}, "COMMIT");
  session_.cursor = std::stoull(sequence_);
  session_.fetched = 0;
  done();
}

void SessionBuilder::close_cursor() {
  chance(2) ? run("close mine", {}, "CLOSE CURSOR") : run("close all", {}, "CLOSE CURSOR ALL");
  session_.cursor.reset();
  done();
}

void SessionBuilder::sql_prepare() {
  const std::string name = (chance(4) ? "s" : "q") + std::to_string(below(5));
  const Prepared statement{.sequence = chance(3) ? 0 : std::stoull(sequence_), .is_from_sql = true};
  const std::string sql = "prepare " + name + "(text) as " + text_of(statement);
  if (session_.statements.contains(name)) {
    fail(sql, "42P05");
    return may_be_refused();
  }
  simple(sql, {}, "PREPARE");
  may_be_refused();
  session_.statements[name] = statement;
  session_.names_in_sql = true;
  done();
}

/// What would keep the server, were it not taken back in the same transaction.
void SessionBuilder::undone_residue() {
  const bool to_savepoint = chance(2);
  const bool drops_itself = chance(3);
  simple("begin", {}, "BEGIN", 'T');
  if (to_savepoint) run("savepoint a", {}, "SAVEPOINT", 'T');
  if (drops_itself) {
    run("create temp table undone (n int) on commit drop", {}, "CREATE TABLE", 'T');
  } else if (chance(2)) {
    run("create temp table undone (n int)", {}, "CREATE TABLE", 'T');
  } else {
    run("declare undone cursor with hold for select 1", {}, "DECLARE CURSOR", 'T');
  }
  may_be_refused(true);
  if (to_savepoint && !drops_itself) run("rollback to a", {}, "ROLLBACK", 'T');
  const bool commits = to_savepoint || drops_itself;
  simple(commits ? "commit" : "rollback", {}, commits ? "COMMIT" : "ROLLBACK");
}

void SessionBuilder::discard_all() {
  run("discard all", {}, "DISCARD ALL");
  session_.discard_all();
  done();
}

void SessionBuilder::give_up() {
  if (chance(4) || !session_.has_residue()) return discard_all();
  if (session_.table) drop_table();
  if (session_.cursor) close_cursor();
  if (session_.has_lock) unlock();
  if (session_.listens) unlisten();
  if (session_.has_residue()) deallocate_all();
}

}  // namespace stress
