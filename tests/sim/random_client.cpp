#include "random_client.hpp"

#include <algorithm>

#include "random_texts.hpp"

#include "pgproxy/wire/encode.hpp"

namespace pgproxy::sim {
namespace {

/// So often a client looks at its settings before it says that they are wrong.
constexpr unsigned max_doubts = 20;

/// What a prepared statement's literals mean behind it, before the next Sync, only the server
/// knows.
bool changes_literals(std::string_view text) {
  return text.starts_with("set time") || text.starts_with("set datestyle") ||
         (text.contains("search_path") && text.contains("set"));
}

bool changes_settings(std::string_view text) {
  return text.starts_with("set") || text.starts_with("reset") || text.contains("set_config") ||
         text.starts_with("discard") || text.starts_with("rollback to");
}

/// What goes back to startup settings does so, behind pgproxy, when its Query or cycle is over.
bool is_reset(std::string_view text) {
  return text.starts_with("reset") || text.find("to default") != std::string_view::npos;
}

}  // namespace

void RandomClient::again() {
  world_.loop.after(Duration(world_.random.below(3000)), [this] { act(); });
}

void RandomClient::act() {
  if (client_ == nullptr || client_->is_closed()) {
    if (is_stopping_) return;
    arrive();
  } else if (!client_->is_logged_in() || !client_->is_content()) {
    interfere();
  } else if (cancel_ == nullptr || cancel_->is_closed()) {
    cancel_ = nullptr;
    is_sleeping_ = false;
    client_->allow_cancel(false);
    if (unjudged_) judge();
    const bool may_leave = unfinished_ == Unfinished::nothing;
    // ParameterStatus may come behind ReadyForQuery.
    if (may_leave && !believes_the_truth()) {
      const bool may_be_lost = world_.postgres.has_black_hole();
      if (++doubts_ == max_doubts && !may_be_lost) {
        world_.complain("client " + std::to_string(client_->number()) +
                        " is not told of its settings");
      }
      client_->link().set_reading(true);
      if (doubts_ < max_doubts || may_be_lost) return again();
    }
    doubts_ = 0;
    if (is_stopping_ && may_leave && client_->status() == 'I') return client_->terminate();
    if (batches_left_ > 0) {
      --batches_left_;
    } else if (may_leave && world_.random.chance(50)) {
      client_->terminate();
      return again();
    }
    batch();
  }
  again();
}

void RandomClient::arrive() {
  Random& random = world_.random;
  NameMap startup;
  const std::string number = std::to_string(random.below(3));
  if (random.chance(40)) startup["application_name"] = "app" + number;
  if (random.chance(20)) startup["statement_timeout"] = number;
  if (random.chance(20)) startup["search_path"] = "tenant" + number;
  if (random.chance(20)) startup["app.tenant"] = number;
  if (random.chance(10)) startup["TimeZone"] = "Etc/GMT+" + number;
  if (random.chance(10)) startup["DateStyle"] = "iso";
  if (random.chance(10)) startup["work_mem"] = "5" + number + "MB";
  const std::string user = random.chance(80) ? "u" : "v";
  client_ = &world_.client(startup, user);
  session_ = std::make_unique<Session>(cluster_, user, startup);
  client_->may_lose_connection = temper_.expects_faults;
  client_->may_be_refused = temper_.is_routed;
  number_ = 0;
  batches_left_ = 1 + static_cast<unsigned>(random.below(12));
  unfinished_ = Unfinished::nothing;
  unnamed_.reset();
  unjudged_ = {};
  has_deferred_error_ = false;
  has_savepoint_ = false;
  is_read_only_ = false;
  may_reset_ = temper_.resets_settings;
  is_sleeping_ = false;
  cancel_ = nullptr;
  if (random.chance(20)) batch();  // glued behind the startup packet
}

/// While replies are on their way.
void RandomClient::interfere() {
  Random& random = world_.random;
  const bool stays = temper_.is_routed && is_stopping_;  // a wait without an end would not be seen
  if (temper_.vanishes && !stays && random.chance(1)) {
    Script script(client_->number());
    script.select();
    client_->send(script.bytes.substr(0, random.below(script.bytes.size())));
    return client_->vanish(random.chance(50));
  }
  if (temper_.cancels && is_sleeping_ && cancel_ == nullptr && client_->is_logged_in() &&
      random.chance(30)) {
    client_->allow_cancel(true);
    cancel_ = &world_.cancel(*client_);
  }
  if (random.chance(5)) client_->link().set_reading(false);
  if (random.chance(20)) client_->link().set_reading(true);
}

void RandomClient::batch() {
  Script script(client_->number());
  script.go_on_from(number_);
  script.status = client_->status();
  if (script.status == 'I') has_changed_settings_ = false;
  if (unfinished_ != Unfinished::nothing) {
    go_on(script);
  } else if (is_stopping_) {
    transaction(script);
  } else if (temper_.is_routed && script.status == 'I' && world_.random.chance(40)) {
    begin_alone(script);
  } else {
    for (auto count = world_.random.chance(30) ? 1 + world_.random.below(4) : 1; count > 0;
         --count) {
      cycle(script);
      if (unfinished_ != Unfinished::nothing || is_sleeping_ || unjudged_) break;
    }
  }
  number_ = script.number();
  if (!unjudged_) return client_->play(script);
  client_->collect();
  client_->send(script.bytes);
}

void RandomClient::cycle(Script& script) {
  Random& random = world_.random;
  const auto dice = random.below(100);
  if (dice < 30) return simple(script);
  if (dice < 45 && temper_.uses_transactions) return transaction(script);
  if (dice < 75) return extended(script);
  if (dice < 79) return copy_in(script, false);
  if (dice < 82) return copy_in(script, true);
  if (dice < 86) return sleep(script);
  if (dice < 90) return alone(script);
  if (script.status == 'I' && may_reset_ && random.chance(5)) {
    return say(script, {"discard all /* " + script.tag() + " */"});
  }
  std::vector<std::string> texts;
  do {
    texts.push_back(state_text(script));
  } while (random.chance(20) && !is_reset(texts.back()));
  say(script, texts);
}

void RandomClient::simple(Script& script) {
  Random& random = world_.random;
  unnamed_.reset();
  if (temper_.is_routed && random.chance(25)) return insert(script);
  const auto dice = random.below(100);
  if (dice < 50) return script.select();
  if (dice < 60) return script.failing_query();
  const std::string tag = script.tag();
  if (dice < 70) {
    const auto size = temper_.asks_for_much && random.chance(20) ? 300'000 : random.below(2000);
    return script.query("select repeat('x', " + std::to_string(size) + "), '" + tag + "'",
                        {"T", "D:" + tag + std::string(size, 'x'), "C:SELECT 1"});
  }
  if (dice < 85) {
    return script.query("copy t to stdout /* " + tag + " */",
                        {"H", "d:" + tag, "d:" + tag, "d:" + tag, "c", "C:COPY 3"});
  }
  const std::string other = script.tag();
  script.query("select '" + tag + "'; select '" + other + "'",
               {"T", "D:" + tag, "C:SELECT 1", "T", "D:" + other, "C:SELECT 1"});
}

void RandomClient::transaction(Script& script) {
  Random& random = world_.random;
  unnamed_.reset();
  if (script.status == 'I') {
    if (temper_.is_routed && random.chance(60)) {
      return random.chance(30) ? read_in_one_cycle(script) : begin_read_only(script);
    }
    script.begin();
    session_->begin();
    has_deferred_error_ = false;
    has_savepoint_ = false;
    return;
  }
  if (random.chance(10) && script.status == 'T' && !is_stopping_) {
    has_deferred_error_ = !is_read_only_;
    script.query("insert into deferred values (1) /* " + script.tag() + " */",
                 {is_read_only_ ? "E:25006" : "C:INSERT 0 1"});
    return;
  }
  if (random.chance(20) && script.status == 'T' && !is_stopping_) {
    say(script, {"savepoint s /* " + script.tag() + " */"});
    has_savepoint_ = true;
    return;
  }
  if (has_savepoint_ && random.chance(40)) {
    const std::string text = "rollback to savepoint s /* " + script.tag() + " */";
    session_->run(text);
    has_changed_settings_ = true;
    script.status = 'T';
    return script.query(text, {"C:ROLLBACK"});
  }
  const bool commits = random.chance(70);
  const bool is_failed = script.status == 'E';
  is_read_only_ = false;
  if (commits && has_deferred_error_ && !is_failed) {
    session_->roll_back();
    script.status = 'I';
    script.query("commit /* " + script.tag() + " */", {"E:23505"});
  } else {
    commits && !is_failed ? session_->commit() : session_->roll_back();
    script.end(commits);
  }
}

/// In any spelling and either protocol.
void RandomClient::begin_read_only(Script& script) {
  Random& random = world_.random;
  static const std::vector<std::string> texts = {
      "begin read only", "begin transaction isolation level repeatable read, read only",
      "start transaction read only"};
  const std::string text = texts[random.below(texts.size())] + " /* " + script.tag() + " */";
  open_read_only(script, text, random.chance(40));
}

void RandomClient::open_read_only(Script& script, const std::string& text, bool is_extended) {
  const std::string answer = text.starts_with("begin") ? "C:BEGIN" : "C:START TRANSACTION";
  unnamed_.reset();
  if (is_extended) script.extended(text, {answer});
  script.status = 'T';
  session_->begin();
  has_deferred_error_ = false;
  has_savepoint_ = false;
  is_read_only_ = true;
  is_extended ? script.sync() : script.query(text, {answer});
}

/// A whole transaction in front of one Sync.
void RandomClient::read_in_one_cycle(Script& script) {
  script.extended("begin read only /* " + script.tag() + " */", {"C:BEGIN"});
  script.status = 'T';
  session_->begin();
  for (auto count = world_.random.below(3); count > 0 && !script.is_skipping; --count) {
    const bool fails = world_.random.chance(15);
    run_unnamed(script, (fails ? "select 1/0, '" : "select '") + script.tag() + "', $1", true);
  }
  unnamed_.reset();
  if (!script.is_skipping) {
    script.extended("commit /* " + script.tag() + " */", {"C:COMMIT"});
    script.status = 'I';
  }
  has_deferred_error_ = false;
  has_savepoint_ = false;
  is_read_only_ = script.status != 'I';
  sync(script);
}

void RandomClient::insert(Script& script) {
  script.query("insert into w values (1) /* " + script.tag() + " */",
               {is_read_only_ ? "E:25006" : "C:INSERT 0 1"});
}

/// What needs a server, which there may not be: the client stays when it is told so.
void RandomClient::begin_alone(Script& script) {
  Random& random = world_.random;
  const std::string tag = script.tag();
  const bool is_extended = random.chance(40);
  if (random.chance(50)) {
    const std::string text = "begin read only /* " + tag + " */";
    return ask_alone(script, Doubt::no_server, [this, text, is_extended](Script& to) {
      open_read_only(to, text, is_extended);
    });
  }
  ask_alone(script, Doubt::no_server, [this, is_extended, tag](Script& to) {
    unnamed_.reset();
    if (!is_extended) return insert(to);
    run_unnamed(to, "insert into w values ($1) /* " + tag + " */", true);
    sync(to);
  });
}

/// A statement that changes the session or asks for what it holds.
std::string RandomClient::state_text(Script& script) {
  Random& random = world_.random;
  const std::string tag = script.tag();
  if (temper_.runs_code && random.chance(25)) {
    return random_code_text(random, client_->number(), tag);
  }
  if (temper_.names_statements && random.chance(30)) return random_name_text(random, tag);
  if (temper_.leaves_residue && !temper_.may_be_refused && random.chance(40)) {
    return random_object_text(random, client_->number(), tag);
  }
  std::string text = random_setting_text(random, tag);
  if (temper_.changes_settings && (may_reset_ || !is_reset(text))) return text;
  return "show search_path /* " + tag + " */";
}

/// One Query with these statements, answered as the session says.
void RandomClient::say(Script& script, const std::vector<std::string>& texts) {
  unnamed_.reset();
  std::string query;
  std::vector<std::string> answers;
  bool is_failed = script.status == 'E';
  session_->begin();
  for (const std::string& text : texts) {
    query += (query.empty() ? "" : "; ") + text;
    has_changed_settings_ |= changes_settings(text);
    if (is_failed) continue;
    const std::vector<std::string> tokens = session_->run(text)->tokens();
    if (tokens.front().starts_with("D:")) answers.emplace_back("T");
    answers.insert(answers.end(), tokens.begin(), tokens.end());
    is_failed = tokens.front().starts_with("E:");
  }
  script.query(query, std::move(answers));
  if (script.status == 'I') is_failed ? session_->roll_back() : session_->commit();
}

/// Ends a cycle, and the transaction of one that is in no block.
void RandomClient::sync(Script& script) {
  const bool is_failed = script.is_skipping;
  script.sync();
  if (script.status == 'I') is_failed ? session_->roll_back() : session_->commit();
}

/// What we were told of reported settings is what our session has.
bool RandomClient::believes_the_truth() const {
  return std::ranges::all_of(session_->reported(), [&](const auto& setting) {
    const auto told = client_->parameters().find(setting.first);
    return told != client_->parameters().end() && told->second == setting.second;
  });
}

void RandomClient::extended(Script& script) {
  Random& random = world_.random;
  for (auto count = 1 + random.below(3); count > 0; --count) {
    statement(script);
    if (unnamed_ && (is_reset(*unnamed_) || unnamed_->starts_with("deallocate all") ||
                     changes_literals(*unnamed_))) {
      break;
    }
  }
  if (random.chance(10) && !script.is_skipping) {
    script.message('H');
    unfinished_ = Unfinished::flushed;
    return;
  }
  sync(script);
}

void RandomClient::statement(Script& script) {
  Random& random = world_.random;
  if (random.chance(50)) return named_statement(script);
  const bool parses = !unnamed_ || random.chance(60);
  std::string text;
  if (parses) {
    text = random.chance(40)
               ? state_text(script)
               : (random.chance(15) ? "select 1/0, '" : "select '") + script.tag() + "', $1";
    if (temper_.is_routed && random.chance(25)) {
      text = "insert into w values ($1) /* " + script.tag() + " */";
    }
  } else {
    text = *unnamed_;
  }
  run_unnamed(script, text, parses);
}

void RandomClient::run_unnamed(Script& script, const std::string& text, bool parses) {
  has_changed_settings_ |= changes_settings(text);
  if (parses && !script.is_skipping) unnamed_ = text;
  if (parses && script.status == 'E') unnamed_.reset();  // it goes before the new one is refused
  std::vector<std::string> answers = {"D:" + tag_of(text) + "|", "C:SELECT 1"};
  if (text.starts_with("select 1/0")) answers = {"E:22012"};
  if (text.starts_with("insert")) answers = {is_read_only_ ? "E:25006" : "C:INSERT 0 1"};
  if (!script.is_skipping && script.status != 'E') {
    session_->begin();
    if (const auto answer = session_->run(text)) answers = answer->tokens();
  }
  script.extended(text, std::move(answers), parses);
}

/// Few names, so that all clients have the same ones.
void RandomClient::named_statement(Script& script) {
  Random& random = world_.random;
  const std::string kind = random.chance(60) ? "n" : random.chance(60) ? "d" : "m";
  const std::string name = kind + std::to_string(random.below(kind == "n" ? 3 : 2));
  if (!script.is_skipping) session_->begin();
  const Prepared* known = session_->statement(name);
  const auto dice = random.below(100);
  if (dice < 12) {
    script.close(name);
    if (!script.is_skipping) session_->close(name);
  } else if (known == nullptr && dice < 20) {
    script.failing_bind(name, "26000");
  } else if (known == nullptr && is_read_only_ && has_changed_settings_) {
    run_unnamed(script, "select '" + script.tag() + "', $1", true);
  } else if (known == nullptr) {
    prepare(script, name);
  } else if (dice < 20) {
    script.parse(name, "select 'again'", "42P05");
  } else {
    use_statement(script, name, *known);
  }
}

void RandomClient::use_statement(Script& script, const std::string& name, const Prepared& known) {
  const std::string& text = known.text;
  if (name.starts_with("m")) return;  // only on its own
  if (known.from_sql) return script.failing_bind(name, "08P01");
  if (!script.is_skipping && script.status != 'E') session_->revalidate(name);
  if (world_.random.chance(15)) return script.describe(name, text);
  const bool describes = world_.random.chance(50);
  std::vector<std::string> answers{"D:" + label_of(text) + "|" + known.shown(""), "C:SELECT 1"};
  if (text.starts_with("select 1/0")) answers = {"E:22012"};
  script.bind_and_execute(name, text, std::move(answers), describes);
}

/// Some texts are shared, some are one's own.
void RandomClient::prepare(Script& script, const std::string& name) {
  Random& random = world_.random;
  if (random.chance(10)) return script.parse(name, "syntax error", "42601");
  const bool is_own = random.chance(40);
  const std::string label = is_own ? script.tag() : "shared " + std::to_string(random.below(3));
  std::string text = "select '" + label + "', $1";
  if (name.starts_with("n") && is_own && random.chance(20))
    text = "select 1/0, '" + label + "', $1";
  if (name.starts_with("d")) text = "select 'dated " + label + "', $1";
  if (name.starts_with("m")) text = "select 'changing " + label + "', $1 from t";
  script.parse(name, text);
  if (!script.is_skipping) session_->parse(name, text);
}

/// What may be met with an error that is none of PostgreSQL's, or with one that depends on others.
void RandomClient::alone(Script& script) {
  Random& random = world_.random;
  if (!script.replies.empty()) return simple(script);
  const std::string name = "m" + std::to_string(random.below(2));
  const Prepared* known = session_->statement(name);
  if (temper_.leaves_residue && temper_.may_be_refused && (known == nullptr || random.chance(50))) {
    const std::string text = random_object_text(random, client_->number(), script.tag());
    const bool is_extended = random.chance(40);
    return ask_alone(script, Doubt::refusal, [this, text, is_extended](Script& to) {
      if (!is_extended) return say(to, {text});
      run_unnamed(to, text, true);
      sync(to);
    });
  }
  if (known == nullptr) return simple(script);
  ask_alone(script, Doubt::stale_plan, [this, name, text = known->text](Script& to) {
    to.bind_and_execute(name, text, {"D:" + label_of(text) + "|", "C:SELECT 1"});
    sync(to);
  });
}

void RandomClient::ask_alone(Script& script, Doubt doubt, std::function<void(Script&)> build) {
  doubt_ = doubt;
  unjudged_ = std::move(build);
  before_ = script;
  tables_before_ = world_.postgres.table_version();
  const std::optional<std::string> unnamed = unnamed_;
  Cluster nowhere;
  auto session = std::make_unique<Session>(nowhere, "u", NameMap{});
  session_.swap(session);
  unjudged_(script);
  session_.swap(session);
  unnamed_ = unnamed;
}

/// The cycle that was alone is answered: rightly, or with the one error that it may get.
void RandomClient::judge() {
  const std::vector<std::string>& got = client_->collected();
  const auto build = std::exchange(unjudged_, {});
  Script script = *before_;
  const std::string behind = script.status == 'I' ? "Z:I" : "Z:E";
  // Behind a COPY that failed with a Sync in it nothing is run again.
  const bool is_sure = doubt_ == Doubt::stale_plan && temper_.must_rerun && may_reset_ &&
                       script.status == 'I' && tables_before_ == world_.postgres.table_version();
  const bool has_no_server = temper_.is_routed && is_refusal(got.front());
  const bool may_fail = script.status != 'E' && (!is_sure || has_no_server);
  const bool is_known = (got.front() == "E:0A000" && doubt_ != Doubt::no_server) ||
                        (got.front() == "E:53400" && doubt_ == Doubt::refusal) || has_no_server;
  if (may_fail && is_known && got.size() == 2 && got.back() == behind) {
    unnamed_.reset();
    if (script.status == 'I') is_read_only_ = false;
    return;
  }
  build(script);
  if (script.replies == got) return;
  std::string text;
  for (const std::string& token : got) text += token + " ";
  text += "instead of ";
  for (const std::string& token : script.replies) text += token + " ";
  world_.complain("client " + std::to_string(client_->number()) + " got " + text);
}

void RandomClient::copy_in(Script& script, bool is_extended) {
  if (is_read_only_) return simple(script);
  const std::string text = "copy t from stdin /* " + script.tag() + " */";
  if (is_extended) {
    unnamed_ = text;
    script.extended(text, {"G"});
    if (script.is_skipping) {
      unnamed_.reset();  // whether it is there is not asked
      return sync(script);
    }
    script.message('S');  // eaten by the COPY
    unfinished_ = Unfinished::extended_copy;
    unnamed_.reset();
    return;
  }
  unnamed_.reset();
  if (script.status == 'E') return script.query(text, {});
  wire::put_query(script.bytes, text);
  script.expect({"G"});
  unfinished_ = Unfinished::copy;
}

/// The second half of what must be finished before anything else.
void RandomClient::go_on(Script& script) {
  Random& random = world_.random;
  const Unfinished what = std::exchange(unfinished_, Unfinished::nothing);
  if (what == Unfinished::flushed) return sync(script);
  for (auto lines = random.below(4); lines > 0; --lines) {
    script.message('d', std::string(random.below(2000), 'y'));
  }
  const auto dice = random.below(100);
  if (dice < 60) {
    script.message('c');
    script.expect({"C:COPY 1"});
  } else if (dice < 80) {
    script.message('f', std::string_view("no\0", 3));
    script.expect({"E:57014"});
  } else {
    script.message('d', "bad line");
    script.expect({"E:22P04"});
    script.message('d', "more");
    if (random.chance(70)) script.message('c');  // what fails needs no end
  }
  if (dice >= 60 && what == Unfinished::extended_copy) may_reset_ = false;
  if (dice >= 60 && script.status == 'T') script.status = 'E';
  if (what == Unfinished::extended_copy) return sync(script);
  script.replies.push_back(std::string("Z:") + script.status);
}

/// On its own: what is pipelined with it would depend on whether it is cancelled.
void RandomClient::sleep(Script& script) {
  if (!script.replies.empty()) return simple(script);
  unnamed_.reset();
  const std::string tag = script.tag();
  script.query(
      "select pg_sleep(" + std::to_string(1 + world_.random.below(30)) + "), '" + tag + "'",
      {"T", "D:" + tag, "C:SELECT 1"});
  is_sleeping_ = true;
}

}  // namespace pgproxy::sim
