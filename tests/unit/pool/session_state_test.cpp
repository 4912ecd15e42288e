#include "pgproxy/pool/session_state.hpp"

#include <doctest/doctest.h>

using namespace pgproxy::pool;

namespace {

struct States {
  StateInterner interner;
  StateRef reported = interner.with(interner.with(interner.empty(), "TimeZone", "UTC", true),
                                    "server_version", "15.9", true);
  StateRef with(const StateRef& base, std::string_view name, std::string_view value) {
    const Setting* known = base->find(name);
    return interner.with(base, name, value, known != nullptr && known->is_reported);
  }
};

}  // namespace

TEST_CASE("equal contents are one object, in whatever order they came") {
  States states;
  const StateRef ab = states.with(states.with(states.reported, "a", "1"), "b", "2");
  const StateRef ba = states.with(states.with(states.reported, "b", "2"), "a", "1");
  CHECK(ab == ba);
  CHECK(states.with(ab, "a", "1") == ab);
  CHECK(states.with(ab, "a", "2") != ab);
}

TEST_CASE("names are found without regard to case and keep the server's spelling") {
  States states;
  const StateRef changed = states.with(states.reported, "timezone", "GMT");
  REQUIRE(changed->find("TIMEZONE") != nullptr);
  CHECK(changed->find("timezone")->name == "TimeZone");
  CHECK(changed->value("TimeZone") == "GMT");
  CHECK(changed->value("nothing") == "");
}

TEST_CASE("the difference of equal states is empty") {
  States states;
  CHECK(difference(*states.reported, *states.reported) == "");
  CHECK(announcements(*states.reported, *states.reported).empty());
}

TEST_CASE("the difference sets what is wanted and resets what is not") {
  States states;
  const StateRef server = states.with(states.reported, "app.tenant", "7");
  const StateRef wanted =
      states.with(states.with(states.reported, "search_path", "o'x\\"), "TimeZone", "GMT");
  CHECK(
      difference(*server, *wanted) ==
      "RESET \"app\".\"tenant\"; SELECT pg_catalog.set_config(E'search_path', E'o''x\\\\', false), "
      "pg_catalog.set_config(E'TimeZone', E'GMT', false)");
}

TEST_CASE("a role is left first and taken last") {
  States states;
  const StateRef server = states.with(states.with(states.reported, "a", "1"), "role", "one");
  const StateRef wanted = states.with(states.with(states.reported, "b", "2"), "role", "two");
  CHECK(difference(*server, *wanted) ==
        "RESET ROLE; RESET \"a\"; SELECT pg_catalog.set_config(E'b', E'2', false), "
        "pg_catalog.set_config(E'role', E'two', false)");
}

TEST_CASE("a role is given up for what needs rights, and taken again") {
  States states;
  const StateRef server = states.with(states.reported, "role", "one");
  const StateRef wanted = states.with(server, "b", "2");
  CHECK(difference(*server, *wanted) ==
        "RESET ROLE; SELECT pg_catalog.set_config(E'b', E'2', false), "
        "pg_catalog.set_config(E'role', E'one', false)");
  CHECK(difference(*server, *states.reported) == "RESET ROLE; ");
  CHECK(difference(*server, *server) == "");
}

TEST_CASE("another user is left first and become last, before the role") {
  States states;
  const StateRef login = states.interner.with(states.reported, "session_authorization", "me", true);
  const StateRef other = states.interner.with(
      states.with(states.with(login, "role", "r"), "a", "1"), "session_authorization", "you", true);
  CHECK(difference(*login, *other) ==
        "RESET SESSION AUTHORIZATION; SELECT pg_catalog.set_config(E'a', E'1', false), "
        "pg_catalog.set_config(E'session_authorization', E'you', false), "
        "pg_catalog.set_config(E'role', E'r', false)");
  CHECK(difference(*other, *login) ==
        "RESET SESSION AUTHORIZATION; RESET ROLE; RESET \"a\"; "
        "SELECT pg_catalog.set_config(E'session_authorization', E'me', false)");
}

TEST_CASE("values from a server replace, add and remove what it does not report") {
  States states;
  const StateRef before = states.with(states.with(states.reported, "a", "1"), "b", "2");
  const StateRef some = states.interner.updated(
      before, {{"a", std::nullopt}, {"c", "3"}, {"timezone", "ignored"}}, false);
  CHECK(some->find("a") == nullptr);
  CHECK(some->value("b") == "2");
  CHECK(some->value("c") == "3");
  CHECK(some->value("TimeZone") == before->value("TimeZone"));
  CHECK(states.interner.updated(before, {{"c", "3"}}, true)->find("b") == nullptr);
}

TEST_CASE("what no SET can change is announced") {
  States states;
  const StateRef server = states.with(states.reported, "server_version", "16.1");
  CHECK(difference(*server, *states.reported) == "");
  const auto told = announcements(*server, *states.reported);
  REQUIRE(told.size() == 1);
  CHECK(told[0].value == "16.1");
}

TEST_CASE("after the replay the state is what the server reports and the client wanted besides") {
  States states;
  const StateRef server =
      states.with(states.with(states.reported, "TimeZone", "Etc/UTC"), "a", "1");
  const StateRef wanted = states.with(states.with(states.reported, "TimeZone", "utc"), "b", "2");
  const StateRef merged = states.interner.merged(server, wanted);
  CHECK(merged->value("TimeZone") == "Etc/UTC");
  CHECK(merged->value("b") == "2");
  CHECK(merged->find("a") == nullptr);
}

TEST_CASE("a reset session keeps what is reported only") {
  States states;
  const StateRef changed = states.with(states.reported, "a", "1");
  CHECK(states.interner.reported_only(changed) == states.reported);
}

TEST_CASE("states that nobody holds are forgotten, held ones are not") {
  States states;
  const StateRef kept = states.with(states.reported, "kept", "1");
  for (int i = 0; i < 1000; ++i) states.with(states.reported, "a", std::to_string(i));
  CHECK(states.with(states.reported, "kept", "1") == kept);
}

TEST_CASE("a Reading has what literals are read by, and what is set to read them so again") {
  States states;
  const StateRef dmy = states.interner.with(states.reported, "DateStyle", "ISO, DMY", true);
  const StateRef nulls = states.interner.with(dmy, "array_nulls", "off", false);
  const StateRef memory = states.interner.with(dmy, "work_mem", "1MB", false);
  CHECK(memory->reading() == dmy->reading());
  CHECK(nulls->reading() != dmy->reading());
  CHECK_FALSE(reads_alike(*dmy->reading(), *states.reported->reading()));
  CHECK(reading_sql(*dmy->reading(), *memory->reading(), {}) == "");
  CHECK(reading_sql(*dmy->reading(), *nulls->reading(), {}) ==
        "SELECT pg_catalog.set_config(E'array_nulls', E'off', true)");
  const std::string back = reading_sql(*nulls->reading(), *dmy->reading(), {});
  CHECK(back.find("s.reset_val") != std::string::npos);
  const StateRef path = states.interner.with(dmy, "search_path", "a", false);
  CHECK(reads_alike(*path->reading(), *dmy->reading()));
  CHECK(path->reading() != dmy->reading());
  CHECK(reading_sql(*dmy->reading(), *path->reading(), {.search_path = true}) ==
        "SELECT pg_catalog.set_config(E'search_path', E'a', true)");
  CHECK(reading_sql(*dmy->reading(), *dmy->reading(), {.reported = true}).find("ISO, DMY") !=
        std::string::npos);
}

TEST_CASE("what a setting means for statements that are prepared already") {
  CHECK(reading_role("timezone") == ReadingRole::reported);
  CHECK(reading_role("TimeZone") == ReadingRole::reported);
  CHECK(reading_role("xmloption") == ReadingRole::unreported);
  CHECK(reading_role("search_path") == ReadingRole::search_path);
  CHECK(reading_role("app.tenant") == ReadingRole::harmless);
  CHECK(reading_role("statement_timeout") == ReadingRole::harmless);
  CHECK(reading_role("enable_seqscan") == ReadingRole::none);
}
