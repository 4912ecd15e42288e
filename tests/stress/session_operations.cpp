// Prepared statements and settings.
#include "messages.hpp"
#include "session_builder.hpp"

namespace stress {
namespace {

constexpr std::string_view shared_text =
    "select $1::text, coalesce(current_setting('app.tenant', true), '')";

}  // namespace

void SessionBuilder::simple(std::string_view sql, const Rows& rows, std::string_view command,
                            char status) {
  next_step();
  send(query(sql));
  if (!sql.starts_with("create") && (command.starts_with("SELECT") || command.starts_with("FETCH")))
    expect("T");
  for (const std::string& row : rows) expect('D', row);
  expect('C', std::string(command));
  expect('Z', std::string(1, status));
}

void SessionBuilder::run(std::string_view sql, const Rows& rows, std::string_view command,
                         char status) {
  if (!chance(3)) return simple(sql, rows, command, status);
  next_step();
  send(parse(sql) + bind({}) + stress::execute() + sync());
  expect("12");
  for (const std::string& row : rows) expect('D', row);
  expect('C', std::string(command));
  expect('Z', std::string(1, status));
}

void SessionBuilder::fail(std::string_view sql, std::string_view sqlstate, char status) {
  next_step();
  send(query(sql));
  expect('E', std::string(sqlstate));
  expect('Z', std::string(1, status));
}

/// The step before may find that no more servers may be pinned.
void SessionBuilder::may_be_refused(bool in_transaction) {
  if (session_.is_pinned()) return;
  Step& step = steps_.back();
  step.refused_status = in_transaction ? 'E' : 'I';
  if (!in_transaction) return;
  step.if_refused.push_back(
      {.bytes = query("rollback"), .replies = {{'C', "ROLLBACK"}, {'Z', "I"}}});
}

std::string SessionBuilder::value_for(std::size_t setting) {
  switch (setting) {
    case 0: return std::to_string(7 + below(20)) + "MB";
    case 1: return std::to_string(101 + below(15)) + "s";
    default: return "tenant " + parameter();
  }
}

std::string SessionBuilder::row_of(const Prepared& statement) const {
  return statement.sequence == 0
             ? parameter() + "|" + session_.settings.tenant
             : owner_ + "|" + std::to_string(statement.sequence) + "|" + parameter();
}

std::string SessionBuilder::text_of(const Prepared& statement) const {
  return statement.sequence == 0
             ? std::string(shared_text)
             : "select " + owner_ + ", " + std::to_string(statement.sequence) + ", $1::text";
}

/// The same few for all clients, at times one that is prepared by SQL.
std::string SessionBuilder::any_name() {
  return (chance(8) ? "q" : "s") + std::to_string(below(5));
}

void SessionBuilder::error_in_pipeline(std::string_view sqlstate) {
  expect('E', std::string(sqlstate));
  skips_ = true;
  if (!at_sync_) return;
  session_.settings = at_sync_->settings;
  session_.role = at_sync_->role;
}

void SessionBuilder::parse_named() {
  const std::string name = "s" + std::to_string(below(5));
  if (chance(10)) {
    send(parse("selec " + mark_sql(), name));
    if (!skips_) error_in_pipeline("42601");
    return;
  }
  const Prepared statement{.sequence = chance(3) ? 0 : std::stoull(sequence_)};
  send(parse(text_of(statement), name));
  if (skips_) return;
  if (session_.statements.contains(name)) return error_in_pipeline("42P05");
  expect("1");
  session_.statements[name] = statement;
}

void SessionBuilder::use_named(const std::string& name) {
  const bool describes = chance(4);
  if (describes) send(describe_statement(name));
  send(bind({parameter()}, name) + stress::execute());
  if (skips_) return;
  const auto found = session_.statements.find(name);
  if (found == session_.statements.end()) return error_in_pipeline("26000");
  if (describes) expect("tT");
  expect("2");
  expect('D', row_of(found->second));
  expect('C', "SELECT 1");
}

void SessionBuilder::close_named(const std::string& name) {
  send(close_statement(name));
  if (skips_) return;
  expect("3");
  session_.statements.erase(name);
}

void SessionBuilder::set_in_pipeline() {
  const std::string value = value_for(2);
  send(parse("set app.tenant = '" + value + "'") + bind({}) + stress::execute());
  if (skips_) return;
  expect("12");
  expect('C', "SET");
  session_.settings.tenant = value;
}

void SessionBuilder::end_pipeline() {
  send(sync());
  expect('Z', "I");
  skips_ = false;
  at_sync_ = session_;
  done();
}

void SessionBuilder::prepare() {
  next_step();
  parse_named();
  end_pipeline();
}

void SessionBuilder::execute() {
  const std::string name = any_name();
  const bool in_transaction = chance(3);
  if (in_transaction) simple("begin", {}, "BEGIN", 'T');
  bool failed = false;
  for (std::uint64_t left = 1 + below(3); left > 0 && !failed; --left) {
    next_step();
    use_named(name);
    failed = skips_;
    send(sync());
    expect('Z', !in_transaction ? "I" : failed ? "E" : "T");
    skips_ = false;
  }
  if (in_transaction) simple("commit", {}, failed ? "ROLLBACK" : "COMMIT");
}

void SessionBuilder::prepared_pipeline() {
  next_step();
  at_sync_ = session_;
  for (std::uint64_t left = 3 + below(12); left > 0; --left) {
    switch (below(8)) {
      case 0:
      case 1: parse_named(); break;
      case 2:
      case 3:
      case 4: use_named(any_name()); break;
      case 5: close_named(any_name()); break;
      case 6: set_in_pipeline(); break;
      case 7:
        end_pipeline();
        if (chance(2)) next_step();
        break;
    }
  }
  end_pipeline();
}

void SessionBuilder::sql_execute() {
  if (chance(4)) {
    Rows names;
    for (const auto& [name, statement] : session_.statements) names.push_back(name);
    return simple("select name from pg_prepared_statements order by name collate \"C\"", names,
                  "SELECT " + std::to_string(names.size()));
  }
  const std::string name = any_name();
  const std::string sql = "execute " + name + "('" + parameter() + "')";
  const auto found = session_.statements.find(name);
  if (found == session_.statements.end()) return fail(sql, "26000");
  if (!chance(8)) return simple(sql, {row_of(found->second)}, "SELECT 1");
  next_step();  // prepared itself, this may run at any time: the server stays with its client
  send(parse(sql) + bind({}) + stress::execute() + sync());
  expect("12");
  expect('D', row_of(found->second));
  expect('C', "SELECT 1");
  expect('Z', "I");
  session_.names_in_sql = true;
  done();
  if (!session_.is_pinned()) steps_.back().refused_status = 'I';
}

void SessionBuilder::deallocate() {
  if (chance(4)) return deallocate_all();
  const std::string name = any_name();
  if (session_.statements.erase(name) == 0) return fail("deallocate " + name, "26000");
  simple("deallocate " + name, {}, "DEALLOCATE");
  done();
}

void SessionBuilder::deallocate_all() {
  run("deallocate all", {}, "DEALLOCATE ALL");
  session_.statements.clear();
  session_.names_in_sql = false;
  done();
}

void SessionBuilder::set() {
  const std::size_t setting = below(setting_names.size());
  const std::string name = setting_names[setting];
  const std::string value = value_for(setting);
  switch (below(4)) {
    case 0: run("set " + name + " = '" + value + "'", {}, "SET"); break;
    case 1: run("set session " + name + " to '" + value + "'", {}, "SET"); break;
    case 2:
      run("select " + mark_sql() + ", set_config('" + name + "', '" + value + "', false)",
          {mark() + "|" + value}, "SELECT 1");
      break;
    case 3:  // one transaction: the error takes it back
      fail("set " + name + " = '" + value + "'; select 1/0", "22012");
      steps_.back().replies.push_front({'C', "SET"});
      return;
  }
  session_.settings[setting] = value;
  done();
}

void SessionBuilder::reset() {
  if (chance(4)) {
    run("reset all", {}, "RESET");
    session_.settings = session_.startup;
    return done();
  }
  const std::size_t setting = below(setting_names.size());
  const std::string name = setting_names[setting];
  chance(2) ? run("reset " + name, {}, "RESET") : run("set " + name + " to default", {}, "SET");
  session_.settings[setting] = session_.startup[setting];
  done();
}

void SessionBuilder::role() {
  if (!session_.role.empty() && chance(2)) {
    chance(2) ? run("reset role", {}, "RESET") : run("set role none", {}, "SET");
    session_.role.clear();
  } else {
    session_.role = any_role();
    run("set role " + session_.role, {}, "SET");
  }
  done();
}

/// A SET, SET LOCAL or SET ROLE. `transaction` is what a COMMIT would keep.
void SessionBuilder::change_within(Session& transaction, Settings& visible) {
  if (chance(5)) {
    transaction.role = session_.role = any_role();
    return run("set role " + transaction.role, {}, "SET", 'T');
  }
  const std::size_t setting = below(setting_names.size());
  const std::string name = setting_names[setting];
  const std::string value = value_for(setting);
  const bool is_local = chance(3);
  if (chance(2)) {
    run(std::string("set ") + (is_local ? "local " : "") + name + " = '" + value + "'", {}, "SET",
        'T');
  } else {
    run("select " + mark_sql() + ", set_config('" + name + "', '" + value + "', " +
            (is_local ? "true" : "false") + ")",
        {mark() + "|" + value}, "SELECT 1", 'T');
  }
  visible[setting] = value;
  if (!is_local) transaction.settings[setting] = value;
}

void SessionBuilder::check_within(const Settings& visible) {
  run("select " + mark_sql() +
          ", current_setting('work_mem'), current_setting('statement_timeout'), "
          "coalesce(current_setting('app.tenant', true), ''), current_user",
      {mark() + "|" + visible.work_mem + "|" + visible.statement_timeout + "|" + visible.tenant +
       "|" + (session_.role.empty() ? "app" : session_.role)},
      "SELECT 1", 'T');
}

void SessionBuilder::settings_transaction() {
  const Session before = session_;
  Session transaction = session_;
  Settings visible = session_.settings;
  simple("begin", {}, "BEGIN", 'T');
  for (std::uint64_t left = below(3); left > 0; --left) change_within(transaction, visible);
  for (std::uint64_t left = below(3); left > 0; --left) {
    const Session saved = transaction;
    const Settings saved_visible = visible;
    run("savepoint a", {}, "SAVEPOINT", 'T');
    for (std::uint64_t changes = 1 + below(2); changes > 0; --changes) {
      change_within(transaction, visible);
    }
    if (chance(3)) {
      run("release a", {}, "RELEASE", 'T');
      continue;
    }
    if (chance(2)) fail("select 1/0", "22012", 'E');
    run("rollback to a", {}, "ROLLBACK", 'T');
    transaction = saved;
    visible = saved_visible;
    session_.role = saved.role;
    check_within(visible);
  }
  check_within(visible);
  const std::uint64_t end = below(4);
  if (end == 0) fail("select 1/0", "22012", 'E');
  const bool is_kept = end > 1;
  simple(end == 1 ? "rollback" : "commit", {}, is_kept ? "COMMIT" : "ROLLBACK");
  session_ = is_kept ? transaction : before;
  done();
}

/// What functions do cannot be seen from outside.
void SessionBuilder::code() {
  const std::string value = value_for(2);
  switch (below(4)) {
    case 0:
      run("select " + mark_sql() + ", set_tenant('" + value + "')", {mark() + "|" + value},
          "SELECT 1");
      session_.settings.tenant = value;
      break;
    case 1:  // sets it in a subtransaction that fails
      run("select " + mark_sql() + ", set_tenant_in_vain('" + value + "')", {mark() + "|" + value},
          "SELECT 1");
      break;
    case 2: {
      session_.settings.work_mem = value_for(0);
      run("do $$begin perform set_config('work_mem', '" + session_.settings.work_mem +
              "', false); end$$",
          {}, "DO");
      break;
    }
    case 3:
      if (session_.has_lock) return check_session();
      run("select " + mark_sql() + ", take_lock(" + owner_ + ", " + std::to_string(session_.login) +
              ")",
          {mark() + "|t"}, "SELECT 1");
      may_be_refused();
      session_.has_lock = true;
      break;
  }
  done();
}

/// All that the client has, and that nobody else's is there.
void SessionBuilder::check_session() {
  const std::string login = std::to_string(session_.login);
  const Settings& settings = session_.settings;
  run("select " + mark_sql() +
          ", current_setting('work_mem'), current_setting('statement_timeout'), "
          "coalesce(current_setting('app.tenant', true), ''), current_user, "
          "current_setting('application_name'), "
          "(select count(*) from pg_class where relnamespace = pg_my_temp_schema() and relkind = "
          "'r'), "
          "(select count(*) from pg_cursors where is_holdable), "
          "(select coalesce(string_agg(channel, ','), '') from pg_listening_channels() channel), "
          "(select coalesce(string_agg(classid || '.' || objid, ','), '') from pg_locks "
          "where locktype = 'advisory' and pid = pg_backend_pid()), "
          "(select count(*) from pg_locks where locktype = 'advisory' and pid <> pg_backend_pid() "
          "and classid = " +
          owner_ + " and objid = " + login + ")",
      {mark() + "|" + settings.work_mem + "|" + settings.statement_timeout + "|" + settings.tenant +
       "|" + (session_.role.empty() ? "app" : session_.role) + "|" + session_.application_name() +
       "|" + (session_.table ? "1" : "0") + "|" + (session_.cursor ? "1" : "0") + "|" +
       (session_.listens ? session_.channel() : "") + "|" +
       (session_.has_lock ? owner_ + "." + login : "") + "|0"},
      "SELECT 1");
}

std::deque<Step> SessionBuilder::build(Kind kind) {
  switch (kind) {
    case Kind::prepare: prepare(); break;
    case Kind::execute: execute(); break;
    case Kind::prepared_pipeline: prepared_pipeline(); break;
    case Kind::sql_execute: sql_execute(); break;
    case Kind::deallocate: deallocate(); break;
    case Kind::set: set(); break;
    case Kind::reset: reset(); break;
    case Kind::role: role(); break;
    case Kind::settings_transaction: settings_transaction(); break;
    case Kind::code: code(); break;
    case Kind::check_session: check_session(); break;
    case Kind::temporary_table: temporary_table(); break;
    case Kind::advisory_lock: advisory_lock(); break;
    case Kind::listen: listen(); break;
    case Kind::hold_cursor: hold_cursor(); break;
    case Kind::sql_prepare: sql_prepare(); break;
    case Kind::undone_residue: undone_residue(); break;
    case Kind::discard_all: discard_all(); break;
    case Kind::give_up: give_up(); break;
    default: break;  // not of a session
  }
  return std::move(steps_);
}

std::deque<Step> make_session_steps(Random& random, const Session& session, std::uint64_t sequence,
                                    Kind kind) {
  return SessionBuilder(random, session, sequence).build(kind);
}

}  // namespace stress
