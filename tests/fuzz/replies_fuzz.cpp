// Hostile bytes from a server in place of its replies, while a client waits for them. The proxy
// must neither crash nor use such a connection again once it is in doubt.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "world.hpp"

#include "pgproxy/base/assert.hpp"

using namespace pgproxy;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  config::Settings settings = sim::plain_settings();
  settings.default_pool_size = 1;
  settings.query_timeout = std::chrono::seconds(10);
  sim::World world(settings, data[0]);
  world.server_weather.split =
      (data[0] & 1) != 0 ? sim::Weather::Split::pieces : sim::Weather::Split::whole;
  sim::Client& client = world.ready_client();
  client.may_lose_connection = client.is_hostile = true;  // it gets whatever the server says
  world.postgres.is_mute = true;
  sim::Script script(client.number());
  if ((data[0] & 2) != 0) {
    script.extended("copy t from stdin /* " + script.tag() + " */", {});
    script.sync();
    script.message('d', "line");
    script.message('c');
    script.message('S');
  }
  if ((data[0] & 4) != 0) script.select();
  script.extended("select '" + script.tag() + "', $1", {});
  script.sync();
  client.send(script.bytes);
  world.run();
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  world.backend(1).link().send(input);
  world.run();
  if ((data[0] & 8) != 0) client.vanish();
  world.loop.run_for(std::chrono::seconds(60));
  PGPROXY_ASSERT(world.sessions().client_count() <= 1);
  return 0;
}
