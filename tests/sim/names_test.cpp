// Names of prepared statements that SQL deallocates while the protocol goes on.
#include <algorithm>
#include <doctest/doctest.h>
#include <utility>

#include "world.hpp"

#include "pgproxy/wire/encode.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;

namespace {

std::string text_of(Script& script) {
  return "select '" + script.tag() + "', $1";
}

}  // namespace

TEST_CASE("a named Parse behind a DEALLOCATE waits for that only, however the bytes are cut") {
  for (std::size_t cut = 0; cut < 200; cut += 3) {
    INFO(cut);
    config::Settings settings = plain_settings();
    settings.default_pool_size = 1;
    World world(settings);
    Client& client = world.ready_client();
    Script first(client.number());
    first.parse("s0", text_of(first));
    first.sync();
    client.play(first);
    world.run();
    Script script(client.number());
    script.go_on_from(first.number());
    script.query("deallocate s0", {"C:DEALLOCATE"});
    script.parse("", text_of(script));
    script.parse("s1", text_of(script));
    script.sync();
    script.parse("s0", text_of(script));
    script.sync();
    client.expect(script.replies);
    client.send(script.bytes.substr(0, cut));
    world.run();
    client.send(script.bytes.substr(std::min(cut, script.bytes.size())));
    world.run();
    CHECK(client.is_content());
    world.drain();
    CHECK(world.violation_text() == "");
  }
}

TEST_CASE("a DEALLOCATE that is skipped after an error did not happen") {
  for (const std::string word : {"deallocate s0", "deallocate all"}) {
    World world;
    Client& client = world.ready_client();
    Script script(client.number());
    const std::string text = text_of(script);
    script.parse("s0", text);
    script.sync();
    script.parse("", "syntax error", "42601");
    wire::put_query(script.bytes, word);
    script.sync();
    script.bind_and_execute("s0", text, {"D:" + tag_of(text) + "|", "C:SELECT 1"});
    script.sync();
    client.play(script);
    world.run();
    CHECK(client.is_content());
    world.drain();
    CHECK(world.violation_text() == "");
  }
}

namespace {

/// Messages that PREPARE the name "p".
void put_prepare(Script& script, const std::string& way) {
  const std::string text = "prepare p as select '" + script.tag() + "'";
  if (way == "alone") {
    script.query(text, {"C:PREPARE"});
  } else if (way == "among others") {
    script.query("show work_mem; " + text, {"T", "D:4MB", "C:SHOW", "C:PREPARE"});
  } else {
    script.extended(text, {"C:PREPARE"});
  }
}

}  // namespace

TEST_CASE("a Close that follows a PREPARE before its answer closes what that prepared") {
  for (const std::string way : {"alone", "among others", "extended"}) {
    for (const bool is_second : {false, true}) {
      INFO(way, is_second);
      World world;
      Client& client = world.ready_client();
      Script script(client.number());
      if (is_second) {
        script.parse("q", text_of(script));
        script.sync();
      }
      put_prepare(script, way);
      script.close("p");
      script.sync();
      client.play(script);
      world.run();
      CHECK(client.is_content());
      Script again(client.number());
      again.go_on_from(script.number());
      again.parse("p", text_of(again));
      again.sync();
      client.play(again);
      world.run();
      CHECK(client.is_content());
      world.drain();
      CHECK(world.violation_text() == "");
    }
  }
}

TEST_CASE("a Parse that follows a PREPARE before its answer finds the name taken") {
  for (const std::string way : {"alone", "among others", "extended"}) {
    for (const auto& [is_second, in_block] :
         {std::pair(false, false), {false, true}, {true, false}, {true, true}}) {
      INFO(way, is_second, in_block);
      World world;
      Client& client = world.ready_client();
      Script script(client.number());
      if (is_second) {
        script.parse("q", text_of(script));
        script.sync();
      }
      if (in_block) script.begin();
      put_prepare(script, way);
      if (way == "extended") script.sync();
      script.parse("p", text_of(script), "42P05");
      script.sync();
      client.play(script);
      world.run();
      CHECK(client.is_content());
      world.drain();
      CHECK(world.violation_text() == "");
    }
  }
}
