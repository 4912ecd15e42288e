#include "random_texts.hpp"

#include <vector>

namespace pgproxy::sim {
namespace {

/// "?" stands for a digit by chance.
std::string pick(Random& random, const std::vector<std::string>& texts) {
  std::string text = texts[random.below(texts.size())];
  for (char& c : text) {
    if (c == '?') c = static_cast<char>('0' + random.below(3));
  }
  return text;
}

}  // namespace

std::string random_setting_text(Random& random, const std::string& tag) {
  static const std::vector<std::string> changes = {
      "set work_mem = '1?MB'",
      "set session work_mem to '2?MB'",
      "set search_path = tenant?",
      "set search_path to tenant?, public",
      "set app.tenant = 't?'",
      "select set_config('app.tenant', 't?', false)",
      "set application_name = 'mine?'",
      "set timezone = 'Etc/GMT+?'",
      "set time zone 'Etc/GMT+?'",
      "set datestyle = 'sql'",
      "set statement_timeout = 1111?",
      "set role r?",
      "set role none",
      "set local work_mem = '3?MB'",
      "set local app.tenant = 'local?'",
      "select set_config('search_path', 'local?', true)",
      "set work_mem = 'bad'",
      "set nosuch = 1",
      "set role nosuch",
  };
  static const std::vector<std::string> resets = {
      "reset work_mem",
      "reset search_path",
      "reset app.tenant",
      "reset all",
      "reset application_name",
      "set search_path to default",
      "reset role",
      "reset statement_timeout",
      "reset timezone",
      "reset session authorization",
  };
  static const std::vector<std::string> questions = {
      "show work_mem",
      "show search_path",
      "show statement_timeout",
      "show application_name",
      "show timezone",
      "select current_setting('app.tenant', true)",
      "select current_setting('role')",
  };
  const auto dice = random.below(100);
  return pick(random, dice < 40 ? changes : dice < 55 ? resets : questions) + " /* " + tag + " */";
}

std::string random_object_text(Random& random, unsigned client, const std::string& tag) {
  const std::string key = std::to_string(client * 10 + random.below(2));
  const std::vector<std::string> making = {
      "create temp table x as select '" + tag + "' as t",
      "create temporary table y (i int)",
      "create temp table z on commit drop as select '" + tag + "' as t",
      "listen channel",
      "declare cur scroll cursor with hold for select '" + tag + "'",
      "prepare p as select '" + tag + "'",
      "prepare n? as select '" + tag + "'",
      "select pg_advisory_lock(" + key + ")",
      "select pg_try_advisory_lock(" + key + ")",
      "select pg_advisory_xact_lock(" + key + ")",
  };
  const std::vector<std::string> removing = {
      "drop table x",
      "drop table if exists y",
      "unlisten channel",
      "unlisten *",
      "close cur",
      "close all",
      "deallocate p",
      "discard temp",
      "select pg_advisory_unlock(" + key + ")",
      "select pg_advisory_unlock_all()",
  };
  const std::vector<std::string> asking = {
      "select t from x",
      "select count(*) from pg_listening_channels()",
      "fetch first from cur",
      "execute p",
      "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
      "select nextval('public.s" + std::to_string(client) + "')",
  };
  const auto dice = random.below(100);
  return pick(random, dice < 30 ? making : dice < 60 ? removing : asking) + " /* " + tag + " */";
}

std::string random_name_text(Random& random, const std::string& tag) {
  const std::vector<std::string> texts = {
      "execute n?('" + tag + "')",
      "execute n?('" + tag + "')",
      "execute \"n?\"('" + tag + "')",
      "deallocate n?",
      "deallocate prepare n?",
      "deallocate all",
      "select count(*) from pg_prepared_statements",
  };
  return pick(random, texts) + " /* " + tag + " */";
}

std::string random_code_text(Random& random, unsigned client, const std::string& tag) {
  const std::string key = std::to_string(client * 10 + random.below(2));
  const std::vector<std::string> texts = {
      "select public.note(1)",
      "select public.note(2)",
      "select public.leave_lock(" + key + ")",
      "select public.set_tenant('t?')",
      "do $$ begin perform set_config('app.tenant', 'do?', false); end $$",
      "do $$ begin perform public.note(1); end $$",
      "select pg_advisory_unlock(" + key + ")",
      "select current_setting('app.tenant', true)",
  };
  return pick(random, texts) + " /* " + tag + " */";
}

}  // namespace pgproxy::sim
