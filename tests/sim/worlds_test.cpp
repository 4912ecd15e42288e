// Random worlds: the same seed is always the same world.
#include <cstdlib>
#include <deque>
#include <doctest/doctest.h>

#include "random_client.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;
using std::chrono::seconds;

namespace {

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

Weather random_weather(Random& random) {
  using Split = Weather::Split;
  Weather weather;
  weather.split = random.chance(60)   ? Split::pieces
                  : random.chance(50) ? Split::whole
                                      : Split::bytes;
  weather.max_delay = Duration(random.below(400));
  if (weather.split == Split::bytes) weather.max_delay = Duration(random.below(3));
  if (random.chance(50)) weather.window_bytes = 256 << random.below(12);
  return weather;
}

config::Settings random_settings(Random& random) {
  config::Settings settings = plain_settings();
  settings.default_pool_size = 1 + static_cast<std::uint32_t>(random.below(4));
  settings.pool_mode =
      random.chance(80) ? config::PoolMode::transaction : config::PoolMode::session;
  settings.server_round_robin = random.chance(50);
  if (random.chance(30))
    settings.max_db_connections = 1 + static_cast<std::uint32_t>(random.below(4));
  if (random.chance(20)) settings.max_user_connections = 2;
  if (random.chance(20)) {
    settings.reserve_pool_size = 1;
    settings.reserve_pool_timeout = std::chrono::milliseconds(20);
  }
  if (random.chance(20)) settings.min_pool_size = 1;
  if (random.chance(20)) settings.server_lifetime = std::chrono::milliseconds(50);
  if (random.chance(20)) settings.server_idle_timeout = std::chrono::milliseconds(30);
  if (random.chance(20)) {
    settings.server_check_query = "select 'check'";
    settings.server_check_delay = Duration(random.below(2000));
  }
  if (random.chance(60)) {
    settings.max_prepared_statements = 1 + static_cast<std::uint32_t>(random.below(4));
  }
  settings.query_timeout = seconds(30);
  settings.idle_transaction_timeout = seconds(40);
  return settings;
}

void stir(World& world) {
  if (world.random.chance(40)) world.postgres.terminate_one();
  if (world.random.chance(40)) world.postgres.cut_one(world.random.chance(50));
  if (world.random.chance(10)) world.postgres.black_hole_one();
  world.refuses_connections = world.random.chance(5);
}

std::string run_world(std::uint64_t seed) {
  Random random(seed);
  const bool has_faults = random.chance(50);
  World world(random_settings(random), seed);
  world.client_weather = random_weather(random);
  world.server_weather = random_weather(random);
  const bool is_fine = world.client_weather.split == Weather::Split::bytes ||
                       world.server_weather.split == Weather::Split::bytes;
  const Temper temper{
      .leaves_residue = random.chance(50), .asks_for_much = !is_fine, .expects_faults = has_faults};
  std::deque<RandomClient> clients;
  for (auto count = 2 + random.below(10); count > 0; --count) clients.emplace_back(world, temper);
  for (int round = 0; round < 30 && world.violations().empty(); ++round) {
    world.loop.run_for(std::chrono::milliseconds(10));
    if (has_faults) stir(world);
  }
  world.refuses_connections = false;
  for (RandomClient& client : clients) {
    client.stop();
    if (client.client() != nullptr) const_cast<Client*>(client.client())->link().set_reading(true);
  }
  world.loop.run_for(seconds(200));
  for (const RandomClient& client : clients) {
    if (client.client() == nullptr || client.client()->is_closed()) continue;
    if (client.client()->is_content()) continue;
    world.complain("client " + std::to_string(client.client()->number()) + " still waits after " +
                   client.client()->received_text());
  }
  world.drain();
  return world.violation_text();
}

}  // namespace

TEST_CASE("nobody gets another's replies, settings or session in any world") {
  const std::uint64_t only = number_from_environment("PGPROXY_SIM_SEED", 0);
  const std::uint64_t first = only != 0 ? only : 1;
  const std::uint64_t count = only != 0 ? 1 : number_from_environment("PGPROXY_SIM_SEEDS", 300);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const std::string violations = run_world(seed);
    CHECK_MESSAGE(violations.empty(), "repeat with PGPROXY_SIM_SEED=" << seed << "\n"
                                                                      << violations);
  }
}
