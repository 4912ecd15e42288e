// Hostile bytes from a client, against the whole session over the simulated network. Whatever it
// sends, the next client must be served, by a server connection that is as new.
#include <cstddef>
#include <cstdint>
#include <string>

#include "world.hpp"

#include "pgproxy/base/assert.hpp"

using namespace pgproxy;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  config::Settings settings = sim::plain_settings();
  settings.default_pool_size = 1;
  settings.pool_mode =
      (data[0] & 1) != 0 ? config::PoolMode::session : config::PoolMode::transaction;
  sim::World world(settings, data[0]);
  world.client_weather.split =
      (data[0] & 2) != 0 ? sim::Weather::Split::pieces : sim::Weather::Split::whole;
  sim::Client& hostile = (data[0] & 4) != 0 ? world.client() : world.ready_client();
  hostile.is_hostile = true;
  const std::string_view input(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::size_t part = input.size() * data[1] / 256;
  hostile.send(input.substr(0, part));
  world.run();
  hostile.send(input.substr(part));
  world.run();
  hostile.vanish();
  world.loop.run_for(std::chrono::seconds(60));
  world.forget_violations();  // the model is not made for what a hostile client asks of it
  sim::Client& next = world.ready_client();
  sim::Script script(next.number());
  script.select();
  next.play(script);
  world.run();
  world.drain();
  PGPROXY_ASSERT(next.rows() == 1);
  PGPROXY_ASSERT(world.violations().empty());
  return 0;
}
