// libpq's pipeline mode and COPY against a connection string: libpq_pipeline CONNINFO.
// Prints what went wrong and ends with 1, or "ok" and 0. Needs: table piped(n int), writable.
#include <array>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <libpq-fe.h>
#include <string>

namespace {

PGconn* connection = nullptr;

[[noreturn]] void fail(int line, const std::string& what) {
  std::cout << "line " << line << ": " << what << ": " << PQerrorMessage(connection) << std::endl;
  std::exit(1);
}
#define REQUIRE(condition) \
  if (!(condition)) fail(__LINE__, #condition)

/// The next result of the current command, which must have this status; its first value as text.
std::string take(ExecStatusType status, int line = __builtin_LINE()) {
  PGresult* result = PQgetResult(connection);
  if (result == nullptr) fail(line, "no result");
  if (PQresultStatus(result) != status) {
    fail(line,
         std::string(PQresStatus(PQresultStatus(result))) + " instead of " + PQresStatus(status));
  }
  std::string value = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
  if (const char* sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE)) value = sqlstate;
  PQclear(result);
  return value;
}

/// As take(), and the command ends with it.
std::string take_last(ExecStatusType status, int line = __builtin_LINE()) {
  std::string value = take(status, line);
  if (PQgetResult(connection) != nullptr) fail(line, "one result too many");
  return value;
}

void send(const char* sql, const std::string& parameter, int line = __builtin_LINE()) {
  const std::array<const char*, 1> values{parameter.c_str()};
  if (PQsendQueryParams(connection, sql, 1, nullptr, values.data(), nullptr, nullptr, 0) != 1)
    fail(line, "send");
}

void many_syncs() {
  constexpr int count = 1000;
  for (int number = 0; number < count; ++number) {
    send("select $1::int", std::to_string(number));
    REQUIRE(PQpipelineSync(connection) == 1);
  }
  for (int number = 0; number < count; ++number) {
    REQUIRE(take_last(PGRES_TUPLES_OK) == std::to_string(number));
    take(PGRES_PIPELINE_SYNC);
  }
}

void one_sync_for_many() {
  constexpr int count = 500;
  for (int number = 0; number < count; ++number) send("select $1::int", std::to_string(number));
  REQUIRE(PQpipelineSync(connection) == 1);
  for (int number = 0; number < count; ++number)
    REQUIRE(take_last(PGRES_TUPLES_OK) == std::to_string(number));
  take(PGRES_PIPELINE_SYNC);
}

void an_error_aborts_up_to_its_sync() {
  for (int round = 0; round < 3; ++round) {
    send("select $1::int", "1");
    send("select 1/$1::int", "0");
    send("select $1::int", "2");
    send("select 1/$1::int", "0");
    REQUIRE(PQpipelineSync(connection) == 1);
  }
  for (int round = 0; round < 3; ++round) {
    REQUIRE(take_last(PGRES_TUPLES_OK) == "1");
    REQUIRE(take_last(PGRES_FATAL_ERROR) == "22012");
    take_last(PGRES_PIPELINE_ABORTED);
    take_last(PGRES_PIPELINE_ABORTED);
    REQUIRE(PQpipelineStatus(connection) == PQ_PIPELINE_ABORTED);
    take(PGRES_PIPELINE_SYNC);
    REQUIRE(PQpipelineStatus(connection) == PQ_PIPELINE_ON);
  }
}

void transactions_in_a_pipeline() {
  for (const char* sql :
       {"begin", "insert into piped values (1), (2)", "commit", "begin", "select 1/0"}) {
    REQUIRE(PQsendQueryParams(connection, sql, 0, nullptr, nullptr, nullptr, nullptr, 0) == 1);
  }
  REQUIRE(PQpipelineSync(connection) == 1);
  REQUIRE(PQsendQueryParams(connection, "rollback", 0, nullptr, nullptr, nullptr, nullptr, 0) == 1);
  REQUIRE(PQpipelineSync(connection) == 1);
  for (int command = 0; command < 4; ++command) take_last(PGRES_COMMAND_OK);
  REQUIRE(take_last(PGRES_FATAL_ERROR) == "22012");
  take(PGRES_PIPELINE_SYNC);
  take_last(PGRES_COMMAND_OK);
  take(PGRES_PIPELINE_SYNC);
  REQUIRE(PQtransactionStatus(connection) == PQTRANS_IDLE);
}

void results_larger_than_buffers() {
  for (int round = 0; round < 5; ++round) send("select repeat('x', $1::int)", "3000000");
  send("select count(*) from generate_series(1, $1::int)", "100000");
  send("select g from generate_series(1, $1::int) g", "50000");
  REQUIRE(PQpipelineSync(connection) == 1);
  for (int round = 0; round < 5; ++round) REQUIRE(take_last(PGRES_TUPLES_OK).size() == 3'000'000);
  REQUIRE(take_last(PGRES_TUPLES_OK) == "100000");
  REQUIRE(take_last(PGRES_TUPLES_OK) == "1");
  take(PGRES_PIPELINE_SYNC);
}

void flush_requests() {
  for (int number = 0; number < 20; ++number) {
    send("select $1::int", std::to_string(number));
    REQUIRE(PQsendFlushRequest(connection) == 1);
    REQUIRE(PQflush(connection) == 0);
    REQUIRE(take_last(PGRES_TUPLES_OK) == std::to_string(number));
  }
  REQUIRE(PQpipelineSync(connection) == 1);
  take(PGRES_PIPELINE_SYNC);
}

void prepared_statements() {
  REQUIRE(PQsendPrepare(connection, "stmt", "select $1::int + 1", 0, nullptr) == 1);
  const std::array<const char*, 1> values{"41"};
  for (int round = 0; round < 5; ++round) {
    REQUIRE(PQsendQueryPrepared(connection, "stmt", 1, values.data(), nullptr, nullptr, 0) == 1);
  }
  REQUIRE(PQpipelineSync(connection) == 1);
  take_last(PGRES_COMMAND_OK);
  for (int round = 0; round < 5; ++round) REQUIRE(take_last(PGRES_TUPLES_OK) == "42");
  take(PGRES_PIPELINE_SYNC);
}

void copy_both_ways() {
  constexpr int count = 20'000;
  PQclear(PQexec(connection, "truncate piped"));
  REQUIRE(PQsendQuery(connection, "copy piped from stdin") == 1);
  take(PGRES_COPY_IN);
  for (int number = 0; number < count; ++number) {
    const std::string line = std::to_string(number) + "\n";
    REQUIRE(PQputCopyData(connection, line.data(), static_cast<int>(line.size())) == 1);
  }
  REQUIRE(PQputCopyEnd(connection, nullptr) == 1);
  take_last(PGRES_COMMAND_OK);

  REQUIRE(PQsendQuery(connection, "copy piped to stdout") == 1);
  take(PGRES_COPY_OUT);
  int lines = 0;
  char* line = nullptr;
  while (PQgetCopyData(connection, &line, 0) > 0) {
    REQUIRE(std::atoi(line) == lines);
    ++lines;
    PQfreemem(line);
  }
  REQUIRE(lines == count);
  take_last(PGRES_COMMAND_OK);
}

void copy_errors() {
  REQUIRE(PQsendQuery(connection, "copy piped from stdin") == 1);
  take(PGRES_COPY_IN);
  for (int number = 0; number < 5000; ++number)
    REQUIRE(PQputCopyData(connection, "no number\n", 10) == 1);
  REQUIRE(PQputCopyEnd(connection, nullptr) == 1);
  REQUIRE(take_last(PGRES_FATAL_ERROR) == "22P02");
  REQUIRE(PQsendQuery(connection, "copy piped from stdin") == 1);
  take(PGRES_COPY_IN);
  REQUIRE(PQputCopyEnd(connection, "changed my mind") == 1);
  REQUIRE(take_last(PGRES_FATAL_ERROR) == "57014");
  REQUIRE(PQsendQuery(connection, "select 'fine'") == 1);
  REQUIRE(take_last(PGRES_TUPLES_OK) == "fine");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  connection = PQconnectdb(argv[1]);
  REQUIRE(PQstatus(connection) == CONNECTION_OK);
  REQUIRE(PQenterPipelineMode(connection) == 1);
  many_syncs();
  one_sync_for_many();
  an_error_aborts_up_to_its_sync();
  transactions_in_a_pipeline();
  results_larger_than_buffers();
  flush_requests();
  REQUIRE(PQexitPipelineMode(connection) == 1);
  copy_both_ways();
  copy_errors();
  REQUIRE(PQenterPipelineMode(connection) == 1);
  prepared_statements();
  many_syncs();
  PQfinish(connection);
  std::cout << "ok" << std::endl;
}
