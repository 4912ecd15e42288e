#include "random_client.hpp"

#include "pgproxy/wire/encode.hpp"

namespace pgproxy::sim {

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
    const bool may_leave = unfinished_ == Unfinished::nothing;
    if (is_stopping_ && may_leave && client_->status() == 'I') return;
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
  startup_.clear();
  const std::string number = std::to_string(random.below(3));
  if (random.chance(40)) startup_["application_name"] = "app" + number;
  if (random.chance(20)) startup_["statement_timeout"] = number;
  if (random.chance(20)) startup_["search_path"] = "tenant" + number;
  if (random.chance(20)) startup_["app.tenant"] = number;
  if (random.chance(10)) startup_["TimeZone"] = "Zone" + number;
  if (random.chance(10)) startup_["DateStyle"] = "iso";
  client_ = &world_.client(startup_, random.chance(80) ? "u" : "v");
  client_->may_lose_connection = temper_.expects_faults;
  number_ = 0;
  batches_left_ = 1 + static_cast<unsigned>(random.below(12));
  unfinished_ = Unfinished::nothing;
  unnamed_.reset();
  named_.clear();
  has_deferred_error_ = false;
  is_sleeping_ = false;
  cancel_ = nullptr;
  if (random.chance(20)) batch();  // glued behind the startup packet
}

/// While replies are on their way.
void RandomClient::interfere() {
  Random& random = world_.random;
  if (temper_.vanishes && random.chance(1)) {
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
  if (unfinished_ != Unfinished::nothing) {
    go_on(script);
  } else if (is_stopping_) {
    transaction(script);
  } else {
    for (auto count = world_.random.chance(30) ? 1 + world_.random.below(4) : 1; count > 0;
         --count) {
      cycle(script);
      if (unfinished_ != Unfinished::nothing || is_sleeping_) break;
    }
  }
  number_ = script.number();
  client_->play(script);
}

void RandomClient::cycle(Script& script) {
  Random& random = world_.random;
  const auto dice = random.below(100);
  if (dice < 30) return simple(script);
  if (dice < 45 && temper_.uses_transactions) return transaction(script);
  if (dice < 85) return extended(script);
  if (dice < 89) return copy_in(script, false);
  if (dice < 92) return copy_in(script, true);
  if (dice < 96) return sleep(script);
  if (temper_.leaves_residue) return residue(script);
  simple(script);
}

void RandomClient::simple(Script& script) {
  Random& random = world_.random;
  unnamed_.reset();
  const auto dice = random.below(100);
  if (dice < 50) return script.select();
  if (dice < 60) return script.failing_query();
  const std::string tag = script.tag();
  if (dice < 70) {
    const auto size = temper_.asks_for_much && random.chance(20) ? 300'000 : random.below(2000);
    return script.query("select repeat(" + std::to_string(size) + "), '" + tag + "'",
                        {"T", "D:" + tag + std::string(size, 'x'), "C:SELECT 1"});
  }
  if (dice < 80) {
    return script.query("copy t to stdout /* " + tag + " */",
                        {"H", "d:" + tag, "d:" + tag, "d:" + tag, "c", "C:COPY 3"});
  }
  if (dice < 90) {
    const std::string name = random.chance(50) ? "search_path" : "application_name";
    const std::string value =
        startup_.contains(name) ? startup_.at(name) : Postgres::defaults().at(name);
    return script.query("show " + name + " /* " + tag + " */", {"T", "D:" + value, "C:SHOW"});
  }
  const std::string other = script.tag();
  script.query("select '" + tag + "'; select '" + other + "'",
               {"T", "D:" + tag, "C:SELECT 1", "T", "D:" + other, "C:SELECT 1"});
}

void RandomClient::transaction(Script& script) {
  Random& random = world_.random;
  unnamed_.reset();
  if (script.status == 'I') {
    script.begin();
    has_deferred_error_ = false;
    if (random.chance(20)) {
      script.query("set local work_mem = '1MB' /* " + script.tag() + " */", {"C:SET"});
    }
    return;
  }
  if (random.chance(10) && script.status == 'T') {
    script.query("insert deferred /* " + script.tag() + " */", {"C:INSERT 0 1"});
    has_deferred_error_ = true;
    return;
  }
  const bool commits = random.chance(70);
  if (commits && has_deferred_error_ && script.status == 'T') {
    script.status = 'I';
    script.query("commit /* " + script.tag() + " */", {"E:23505"});
  } else {
    script.end(commits);
  }
}

void RandomClient::extended(Script& script) {
  Random& random = world_.random;
  for (auto count = 1 + random.below(3); count > 0; --count) statement(script);
  if (random.chance(10) && !script.is_skipping) {
    script.message('H');
    unfinished_ = Unfinished::flushed;
    return;
  }
  script.sync();
}

void RandomClient::statement(Script& script) {
  Random& random = world_.random;
  if (random.chance(50)) return named_statement(script);
  if (unnamed_ && random.chance(40)) {
    const bool fails = unnamed_->starts_with("select 1/0");
    return script.extended(
        *unnamed_, {fails ? "E:22012" : "D:" + tag_of(*unnamed_) + "|", "C:SELECT 1"}, false);
  }
  const std::string tag = script.tag();
  const bool fails = random.chance(15);
  const std::string text = (fails ? "select 1/0, '" : "select '") + tag + "', $1";
  if (!script.is_skipping) unnamed_ = text;
  if (script.status == 'E') unnamed_.reset();  // it goes before the new one is refused
  if (fails) return script.extended(text, {"E:22012"});
  script.extended(text, {"D:" + tag + "|", "C:SELECT 1"});
}

/// Few names, so that all clients have the same ones; some texts are shared, some are one's own.
void RandomClient::named_statement(Script& script) {
  Random& random = world_.random;
  const std::string name = "n" + std::to_string(random.below(4));
  const auto known = named_.find(name);
  const auto dice = random.below(100);
  if (dice < 12) {
    script.close(name);
    if (!script.is_skipping) named_.erase(name);
    return;
  }
  if (known == named_.end()) {
    if (dice < 20) return script.bind_unknown(name);
    return prepare(script, name);
  }
  const std::string text = known->second;
  if (dice < 20) return script.parse(name, "select 'again'", "42P05");
  if (dice < 30) return script.describe(name, text);
  if (text.starts_with("select 1/0")) return script.bind_and_execute(name, text, {"E:22012"});
  const std::string value = text.substr(8, text.find('\'', 8) - 8);
  script.bind_and_execute(name, text, {"D:" + value + "|", "C:SELECT 1"});
}

void RandomClient::prepare(Script& script, const std::string& name) {
  Random& random = world_.random;
  if (random.chance(10)) return script.parse(name, "syntax error", "42601");
  std::string text = "select 'shared " + std::to_string(random.below(3)) + "', $1";
  if (random.chance(10)) text = "select 1/0, '" + script.tag() + "', $1";
  if (random.chance(40)) text = "select '" + script.tag() + "', $1";
  script.parse(name, text);
  if (!script.is_skipping) named_[name] = text;
}

void RandomClient::copy_in(Script& script, bool is_extended) {
  const std::string text = "copy t from stdin /* " + script.tag() + " */";
  if (is_extended) {
    unnamed_ = text;
    script.extended(text, {"G"});
    if (script.is_skipping) {
      unnamed_.reset();  // whether it is there is not asked
      return script.sync();
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
  if (what == Unfinished::flushed) return script.sync();
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
    script.message('c');
  }
  if (dice >= 60 && script.status == 'T') script.status = 'E';
  if (what == Unfinished::extended_copy) return script.sync();
  script.replies.push_back(std::string("Z:") + script.status);
}

void RandomClient::residue(Script& script) {
  unnamed_.reset();
  const std::string tag = " /* " + script.tag() + " */";
  switch (world_.random.below(4)) {
    case 3:
      if (script.status != 'E') named_.clear();
      return script.query("deallocate all" + tag, {"C:DEALLOCATE ALL"});
    case 0: return script.query("create temp table x" + tag, {"C:CREATE TABLE"});
    case 1: return script.query("listen channel" + tag, {"C:LISTEN"});
    default: return script.query("set work_mem = '8MB'" + tag, {"C:SET"});
  }
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
