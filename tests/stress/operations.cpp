#include "operations.hpp"

#include <array>
#include <utility>

#include "builder.hpp"
#include "messages.hpp"

namespace stress {
namespace {

/// Operations that leave nothing behind.
class PlainBuilder : private Builder {
 public:
  using Builder::Builder;

  std::deque<Step> build(Kind kind);

 private:
  /// Mostly short, sometimes longer than any read buffer.
  std::uint64_t filler_bytes() { return chance(40) ? below(200'000) : below(300); }
  void expect_rows(std::uint64_t count);
  void simple_cycle(std::string_view sql, std::string_view command, char status,
                    bool returns_row = false);
  void extended_cycle(bool fails);

  void simple();
  void multi_statement();
  void many_rows();
  void extended() { extended_cycle(chance(6)); }
  void pipeline();
  void late_bind();
  void flushed();
  void portal();
  void function();
  void copy_out();
  void copy_in();
  void copy_in_fails();
  void transaction(bool fails);
  void glued_transaction();
  void cancelled();
};

void PlainBuilder::expect_rows(std::uint64_t count) {
  for (std::uint64_t row = 1; row <= count; ++row) expect('D', mark() + "|" + std::to_string(row));
}

void PlainBuilder::simple() {
  if (chance(6)) {
    send(query("select " + mark_sql() + ", 1/0"));
    expect('E', "22012");
  } else {
    const std::uint64_t bytes = filler_bytes();
    send(query("select " + mark_sql() + ", repeat('x', " + std::to_string(bytes) + ")"));
    expect("T");
    expect('D', mark() + "|" + std::string(bytes, 'x'));
    expect('C', "SELECT 1");
  }
  expect('Z', "I");
}

void PlainBuilder::multi_statement() {
  send(query("select " + mark_sql() + ", 1; select " + mark_sql() + ", 2; select " + mark_sql() +
             ", 1/0; select 3"));
  for (const char* row : {"|1", "|2"}) {
    expect("T");
    expect('D', mark() + row);
    expect('C', "SELECT 1");
  }
  expect('E', "22012");
  expect('Z', "I");
}

void PlainBuilder::many_rows() {
  const std::uint64_t count = below(chance(10) ? 3000 : 30);
  send(query("select " + mark_sql() + ", g from generate_series(1, " + std::to_string(count) +
             ") g"));
  expect("T");
  expect_rows(count);
  expect('C', "SELECT " + std::to_string(count));
  expect('Z', "I");
}

void PlainBuilder::extended_cycle(bool fails) {
  if (fails && chance(2)) {  // an error at Parse: Bind and Execute are skipped
    send(parse("selec " + mark_sql()) + bind({}) + execute() + sync());
    expect('E', "42601");
  } else if (fails) {  // the plan is made, and the division folded, at Bind
    send(parse("select 1/($1::int - $1::int)") + bind({owner_}) + execute() + sync());
    expect("1");
    expect('E', "22012");
  } else {
    const std::uint64_t bytes = filler_bytes();
    send(parse("select $1::text, $2::text, repeat('y', $3::int)") +
         bind({owner_, sequence_, std::to_string(bytes)}) + describe_portal() + execute() + sync());
    expect("12T");
    expect('D', mark() + "|" + std::string(bytes, 'y'));
    expect('C', "SELECT 1");
  }
  expect('Z', "I");
}

void PlainBuilder::pipeline() {
  for (std::uint64_t left = 1 + below(12); left > 0; --left) {
    if (chance(5)) {
      simple();
    } else {
      extended_cycle(chance(4));
    }
  }
}

void PlainBuilder::late_bind() {
  send(parse("select $1::text, $2::text") + sync());
  expect("1");
  expect('Z', "I");
  for (int cycle = 0; cycle < 2; ++cycle) {
    if (chance(2)) next_step();
    send(bind({owner_, sequence_}) + execute() + sync());
    expect("2");
    expect('D', mark());
    expect('C', "SELECT 1");
    expect('Z', "I");
  }
}

void PlainBuilder::flushed() {
  send(parse("select $1::text, $2::text") + bind({owner_, sequence_}) + flush());
  expect("12");
  next_step();
  send(execute() + flush());
  expect('D', mark());
  expect('C', "SELECT 1");
  next_step();
  send(sync());
  expect('Z', "I");
}

void PlainBuilder::portal() {
  send(parse("select $1::text, $2::text, g from generate_series(1, 5) g") +
       bind({owner_, sequence_}) + execute(2) + flush());
  expect("12");
  expect_rows(2);
  expect("s");
  next_step();
  send(execute() + sync());
  for (const char* row : {"|3", "|4", "|5"}) expect('D', mark() + row);
  expect('C', "SELECT 3");
  expect('Z', "I");
}

void PlainBuilder::function() {
  const std::uint64_t left = below(1'000'000);
  send(function_call(177, {std::to_string(left), owner_}));  // int4pl
  expect('V', std::to_string(left + std::stoull(owner_)));
  expect('Z', "I");
}

void PlainBuilder::copy_out() {
  const std::uint64_t count = below(chance(10) ? 2000 : 20);
  send(query("copy (select " + mark_sql() + ", g from generate_series(1, " + std::to_string(count) +
             ") g) to stdout (delimiter '|')"));
  expect("H");
  for (std::uint64_t row = 1; row <= count; ++row)
    expect('d', mark() + "|" + std::to_string(row) + "\n");
  expect("c");
  expect('C', "COPY " + std::to_string(count));
  expect('Z', "I");
}

void PlainBuilder::copy_in() {
  const std::uint64_t count = 1 + below(40);
  send(query("copy stress from stdin (delimiter '|')"));
  expect("G");
  if (chance(2)) next_step();
  for (std::uint64_t row = 1; row <= count; ++row)
    send(copy_data(mark() + "|" + std::to_string(row) + "\n"));
  send(copy_done());
  expect('C', "COPY " + std::to_string(count));
  expect('Z', "I");
  next_step();
  simple_cycle("delete from stress where owner = " + owner_ + " and sequence = " + sequence_,
               "DELETE " + std::to_string(count), 'I');
}

void PlainBuilder::copy_in_fails() {
  send(query("copy stress from stdin (delimiter '|')"));
  expect("G");
  if (chance(2)) next_step();
  send(copy_data(mark() + "|1\n"));
  if (chance(2)) {
    send(copy_fail("on purpose"));
    expect('E', "57014");
  } else {  // what follows the bad line arrives when the server no longer copies
    send(copy_data(mark() + "|not a number\n") + copy_data(mark() + "|2\n") + copy_done());
    expect('E', "22P02");
  }
  expect('Z', "I");
  if (chance(2)) next_step();
  simple();
}

void PlainBuilder::simple_cycle(std::string_view sql, std::string_view command, char status,
                                bool returns_row) {
  send(query(sql));
  if (returns_row) {
    expect("T");
    expect('D', mark() + "|t");
  }
  expect('C', std::string(command));
  expect('Z', std::string(1, status));
}

void PlainBuilder::transaction(bool fails) {
  simple_cycle("begin", "BEGIN", 'T');
  next_step();
  simple_cycle("insert into stress values (" + mark_sql() + ", 1)", "INSERT 0 1", 'T');
  for (std::uint64_t left = 1 + below(4); left > 0; --left) {
    next_step();  // true only on the server connection and in the transaction that did the insert
    simple_cycle("select " + mark_sql() +
                     ", xmin::text::bigint = txid_current() from stress where owner = " + owner_ +
                     " and sequence = " + sequence_,
                 "SELECT 1", 'T', true);
  }
  next_step();
  if (fails) {
    send(query("select 1/0"));
    expect('E', "22012");
    expect('Z', "E");
    next_step();
    send(query("select " + mark_sql()));
    expect('E', "25P02");
    expect('Z', "E");
    next_step();
    simple_cycle("commit", "ROLLBACK", 'I');
    return;
  }
  simple_cycle("delete from stress where owner = " + owner_ + " and sequence = " + sequence_,
               "DELETE 1", 'T');
  next_step();
  simple_cycle("commit", "COMMIT", 'I');
}

void PlainBuilder::glued_transaction() {
  simple_cycle("begin", "BEGIN", 'T');
  send(parse("select $1::text, $2::text") + bind({owner_, sequence_}) + execute() + sync());
  expect("12");
  expect('D', mark());
  expect('C', "SELECT 1");
  expect('Z', "T");
  if (chance(3)) {
    send(parse("select 1/0") + bind({}) + execute() + sync());
    expect("1");  // folded when the plan is made: at Bind
    expect('E', "22012");
    expect('Z', "E");
    simple_cycle("rollback", "ROLLBACK", 'I');
  } else {
    simple_cycle("commit", "COMMIT", 'I');
  }
}

void PlainBuilder::cancelled() {
  send(query("select " + mark_sql() + " from pg_sleep(30)"));
  // The row description may or may not be out already: see Client::is_expected.
  expect('E', "57014");
  expect('Z', "I");
}

std::deque<Step> PlainBuilder::build(Kind kind) {
  next_step();
  switch (kind) {
    case Kind::simple: simple(); break;
    case Kind::multi_statement: multi_statement(); break;
    case Kind::many_rows: many_rows(); break;
    case Kind::extended: extended(); break;
    case Kind::pipeline: pipeline(); break;
    case Kind::late_bind: late_bind(); break;
    case Kind::flush: flushed(); break;
    case Kind::portal: portal(); break;
    case Kind::function_call: function(); break;
    case Kind::copy_out: copy_out(); break;
    case Kind::copy_in: copy_in(); break;
    case Kind::copy_in_fails: copy_in_fails(); break;
    case Kind::transaction: transaction(false); break;
    case Kind::failed_transaction: transaction(true); break;
    case Kind::glued_transaction: glued_transaction(); break;
    case Kind::cancel: cancelled(); break;
    default: break;  // a kind of make_session_steps, or without steps
  }
  return std::move(steps_);
}

}  // namespace

const char* name_of(Kind kind) {
  static constexpr std::array<const char*, kind_count> names{"simple",
                                                             "multi_statement",
                                                             "many_rows",
                                                             "extended",
                                                             "pipeline",
                                                             "late_bind",
                                                             "flush",
                                                             "portal",
                                                             "function_call",
                                                             "copy_out",
                                                             "copy_in",
                                                             "copy_in_fails",
                                                             "transaction",
                                                             "failed_transaction",
                                                             "glued_transaction",
                                                             "prepare",
                                                             "execute",
                                                             "prepared_pipeline",
                                                             "sql_execute",
                                                             "deallocate",
                                                             "set",
                                                             "reset",
                                                             "role",
                                                             "settings_transaction",
                                                             "code",
                                                             "check_session",
                                                             "temporary_table",
                                                             "advisory_lock",
                                                             "listen",
                                                             "hold_cursor",
                                                             "sql_prepare",
                                                             "undone_residue",
                                                             "discard_all",
                                                             "give_up",
                                                             "cancel",
                                                             "vanish",
                                                             "relogin"};
  return names[static_cast<std::size_t>(kind)];
}

Operation make_operation(Random& random, const Session& session, std::uint64_t sequence) {
  auto kind = static_cast<Kind>(below(random, kind_count));
  if (session.residue_age >= max_residue_age && kind < Kind::vanish) kind = Kind::give_up;
  Operation operation{.kind = kind, .steps = {}};
  if (kind == Kind::vanish)
    kind = static_cast<Kind>(below(random, static_cast<std::uint64_t>(Kind::cancel)));
  if (kind == Kind::relogin) return operation;
  const bool is_plain = kind < Kind::prepare || kind == Kind::cancel;
  operation.steps = is_plain ? PlainBuilder(random, session, sequence).build(kind)
                             : make_session_steps(random, session, sequence, kind);
  return operation;
}

Operation make_give_up(Random& random, const Session& session, std::uint64_t sequence) {
  return {.kind = Kind::give_up,
          .steps = make_session_steps(random, session, sequence, Kind::give_up)};
}

}  // namespace stress
