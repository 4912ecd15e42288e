#include "pgproxy/route/decide.hpp"

#include <doctest/doctest.h>
#include <initializer_list>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/route/catalog.hpp"
#include "pgproxy/sql/route_hint.hpp"
#include "pgproxy/sql/shapes.hpp"

using namespace pgproxy::route;
using pgproxy::sql::Shapes;

namespace {

using Texts = std::initializer_list<std::string_view>;

const Catalog& catalog() {
  static const Catalog known(
      std::vector<FunctionRow>{
          {"count", false}, {"now", false}, {"f", true}, {"random", true}, {"nextval", true}},
      std::vector<RelationRow>{{"public", "t", true, {}},
                               {"public", "v", false, "SELECT a FROM public.t"},
                               {"public", "w", false, "SELECT public.f() FROM public.t"}},
      std::vector<std::string>{"random"});
  return known;
}

Decision decide_text(Mode mode, std::string_view text, const SessionFacts& session = {}) {
  return decide(mode, Shapes().find(text, true)->facts, pgproxy::sql::route_hint(text), session,
                &catalog());
}

void check_stays(Mode mode, Reason reason, Texts texts, const SessionFacts& session = {}) {
  for (const std::string_view text : texts) {
    CAPTURE(text);
    const Decision decision = decide_text(mode, text, session);
    CHECK(decision.target == Target::primary);
    CHECK(to_string(decision.reason) == to_string(reason));
  }
}

void check_goes(Mode mode, Reason reason, Texts texts, const SessionFacts& session = {}) {
  for (const std::string_view text : texts) {
    CAPTURE(text);
    const Decision decision = decide_text(mode, text, session);
    CHECK(decision.target == Target::replica);
    CHECK(to_string(decision.reason) == to_string(reason));
  }
}

constexpr SessionFacts read_only{.defaults_to_read_only = true};
constexpr SessionFacts serializable{.defaults_to_serializable = true};

}  // namespace

TEST_CASE("primary_only means what it says") {
  check_stays(Mode::primary_only, Reason::routing_off,
              {"BEGIN READ ONLY", "SELECT 1", "/* pgproxy: replica */ SELECT 1"}, read_only);
}

TEST_CASE("transactions that say that they are read-only go to a replica") {
  for (const Mode mode : {Mode::read_only_transactions, Mode::selects}) {
    check_goes(mode, Reason::read_only_transaction,
               {"BEGIN READ ONLY", "begin work read only;",
                "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"});
    check_stays(mode, Reason::read_write,
                {"BEGIN", "START TRANSACTION", "BEGIN READ WRITE", "BEGIN READ WRITE, READ ONLY"});
    check_stays(mode, Reason::serializable,
                {"BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
                 "BEGIN READ ONLY, ISOLATION LEVEL "
                 "SERIALIZABLE, DEFERRABLE"});
    check_stays(mode, Reason::several_statements, {"BEGIN READ ONLY; SELECT 1"});
    check_stays(mode, Reason::pipeline, {"BEGIN READ ONLY"}, {.is_alone = false});
  }
}

TEST_CASE("a serializable session keeps to the primary, but for what has another level") {
  check_stays(Mode::selects, Reason::serializable,
              {"SELECT 1", "BEGIN READ ONLY", "/* pgproxy: replica */ SELECT 1"}, serializable);
  check_goes(Mode::selects, Reason::read_only_transaction,
             {"BEGIN READ ONLY, ISOLATION LEVEL READ COMMITTED"}, serializable);
}

TEST_CASE("single statements need routing = selects") {
  check_stays(Mode::read_only_transactions, Reason::single_statement, {"SELECT 1", "TABLE t"});
  check_goes(Mode::selects, Reason::plain_query,
             {"SELECT 1", "TABLE t", "SELECT count(*), now() FROM public.t", "SELECT * FROM v",
              "VALUES (1)", "WITH x AS (TABLE t) SELECT * FROM x", "SELECT random()"});
}

TEST_CASE("what may write, or is not known, stays") {
  const auto stays = [](Reason reason, Texts texts) { check_stays(Mode::selects, reason, texts); };
  stays(Reason::writes,
        {"INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "DELETE FROM t", "CREATE TABLE x()",
         "SELECT 1 INTO x", "WITH x AS (DELETE FROM t RETURNING 1) TABLE x", "COPY t FROM STDIN",
         "LISTEN c", "VACUUM", "INSERT INTO t VALUES (f())"});
  stays(Reason::locks_rows, {"SELECT * FROM t FOR UPDATE", "SELECT * FROM t FOR SHARE"});
  stays(Reason::speaks_of_server, {"SELECT pg_is_in_recovery()", "SELECT * FROM pg_locks",
                                   "SELECT nextval('s')", "SELECT pg_advisory_xact_lock(1)"});
  stays(Reason::function_volatile, {"SELECT f()", "SELECT other.f() FROM t"});
  stays(Reason::function_unknown, {"SELECT g()"});
  stays(Reason::relation_unsafe, {"SELECT * FROM w"});
  stays(Reason::relation_unknown, {"SELECT * FROM x", "SELECT * FROM other.t"});
  stays(Reason::several_statements, {"SELECT 1; SELECT 2", "SELECT 1; DELETE FROM t"});
  stays(Reason::unknown_text, {"SELECT ("});
  stays(Reason::not_a_query, {"SHOW work_mem", "SET work_mem = '1MB'", "EXPLAIN SELECT 1", "",
                              "COPY t TO STDOUT", "SELECT 1 OPERATOR(s.+) 2", "DO ''", "CALL p()"});
}

TEST_CASE("the state of the session has a say") {
  check_stays(Mode::selects, Reason::pipeline, {"SELECT 1"}, {.is_alone = false});
  check_stays(Mode::selects, Reason::refused_before,
              {"SELECT 1", "/* pgproxy: replica */ SELECT 1"}, {.was_refused = true});
}

TEST_CASE("without a catalog only what names nothing goes") {
  const auto decide_blind = [](std::string_view text) {
    return decide(Mode::selects, Shapes().find(text, true)->facts, {}, {}, nullptr);
  };
  CHECK(decide_blind("SELECT 1") == Decision{Target::replica, Reason::plain_query});
  CHECK(decide_blind("SELECT now()") == Decision{Target::primary, Reason::function_unknown});
  CHECK(decide_blind("TABLE t") == Decision{Target::primary, Reason::relation_unknown});
}

TEST_CASE("a session that is read-only by default reads from replicas") {
  for (const Mode mode : {Mode::read_only_transactions, Mode::selects}) {
    check_goes(mode, Reason::read_only_session,
               {"BEGIN", "START TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1",
                "SELECT f(), g() FROM x", "EXPLAIN ANALYZE SELECT 1", "COPY t TO STDOUT"},
               read_only);
    check_stays(mode, Reason::read_write, {"BEGIN READ WRITE"}, read_only);
    check_stays(mode, Reason::not_a_query,
                {"SHOW work_mem", "SET work_mem = '1MB'", "RESET ALL", "COMMIT", "DO ''"},
                read_only);
    check_stays(mode, Reason::several_statements, {"SELECT 1; SELECT 2"}, read_only);
    check_stays(mode, Reason::speaks_of_server,
                {"SELECT pg_advisory_lock(1)", "TABLE pg_stat_activity"}, read_only);
    // Refused there and here; or let through here alone, as VACUUM.
    check_stays(mode, Reason::writes, {"INSERT INTO t VALUES (1)", "VACUUM"}, read_only);
  }
}

TEST_CASE("a hint wins over what is guessed") {
  for (const Mode mode : {Mode::read_only_transactions, Mode::selects}) {
    check_goes(mode, Reason::hint_replica,
               {"/* pgproxy: replica */ SELECT f(), g() FROM x", "/* pgproxy: replica */ BEGIN",
                "-- pgproxy: replica\nSELECT 1; SELECT 2",
                "/* pgproxy: replica */ SELECT pg_is_in_recovery()",
                "/* pgproxy: replica */ EXPLAIN SELECT 1"});
    check_goes(mode, Reason::hint_replica, {"/* pgproxy: replica */ SELECT 1"},
               {.is_alone = false});
    check_stays(mode, Reason::hint_primary,
                {"/* pgproxy: primary */ SELECT 1", "/* pgproxy: primary */ BEGIN READ ONLY",
                 "/* pgproxy: primary */ INSERT INTO t VALUES (1)"},
                read_only);
  }
}

TEST_CASE("no hint sends to a standby what it would refuse, or a lock") {
  const auto stays = [](Reason reason, Texts texts) {
    check_stays(Mode::read_only_transactions, reason, texts);
  };
  stays(Reason::writes,
        {"/* pgproxy: replica */ INSERT INTO t VALUES (f())", "/* pgproxy: replica */ DROP TABLE t",
         "/* pgproxy: replica */ WITH x AS (DELETE FROM t RETURNING 1) TABLE x"});
  stays(Reason::locks_rows, {"/* pgproxy: replica */ SELECT * FROM t FOR UPDATE"});
  stays(Reason::read_write, {"/* pgproxy: replica */ BEGIN READ WRITE"});
  stays(Reason::serializable, {"/* pgproxy: replica */ BEGIN ISOLATION LEVEL SERIALIZABLE"});
  stays(Reason::speaks_of_server, {"/* pgproxy: replica */ SELECT pg_advisory_xact_lock(1)",
                                   "/* pgproxy: replica */ SELECT nextval('s')"});
  stays(Reason::several_statements, {"/* pgproxy: replica */ SELECT 1; DELETE FROM t"});
}

TEST_CASE("every reason has a word and a clause of its own") {
  std::set<std::string_view> words;
  for (std::size_t index = 0; index < reason_count; ++index) {
    const auto reason = static_cast<Reason>(index);
    CHECK_FALSE(explain(reason).empty());
    words.insert(to_string(reason));
    words.insert(explain(reason));
  }
  CHECK(words.size() == 2 * reason_count);
}
