// Random worlds: the same seed is always the same world.
#include <array>
#include <cstdlib>
#include <deque>
#include <doctest/doctest.h>
#include <iostream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster_events.hpp"
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
  settings.checkout_order = static_cast<config::CheckoutOrder>(random.below(3));
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
  constexpr std::array<std::uint32_t, 4> counts = {0, 2, 3, 200};
  settings.max_prepared_statements = counts[random.below(counts.size())];
  settings.rerun_on.stale_plan = random.chance(50);
  if (random.chance(15)) settings.on_residue = config::OnResidue::error;
  if (random.chance(15)) settings.max_pinned_fraction = 0.5 * static_cast<double>(random.below(2));
  settings.query_timeout = seconds(30);
  settings.idle_transaction_timeout = seconds(40);
  return settings;
}

/// The client can rely on rerun_on: nothing keeps its server, and its cycles arrive whole.
bool must_rerun(const config::Settings& settings, const Temper& temper, const Weather& weather) {
  return settings.rerun_on.stale_plan && settings.max_prepared_statements > 0 &&
         settings.pool_mode == config::PoolMode::transaction && !temper.leaves_residue &&
         !temper.runs_code && !temper.names_statements && weather.split == Weather::Split::whole;
}

/// One world in so many has several servers.
constexpr std::uint64_t worlds_per_cluster = 4;

void stir(World& world) {
  if (world.random.chance(40)) world.postgres.terminate_one();
  if (world.random.chance(40)) world.postgres.cut_one(world.random.chance(50));
  if (world.random.chance(10)) world.postgres.black_hole_one();
  world.refuses_connections = world.random.chance(5);
}

/// Limits of the server, at the start and changing; with numbers of its own, so that the worlds
/// without any stay what they were.
class Limits {
 public:
  explicit Limits(std::uint64_t seed) : random_(seed * 1'000'003), changes_(random_.chance(15)) {}

  void apply(config::Settings& settings) {
    if (random_.chance(20)) settings.max_host_connections = some();
    if (random_.chance(50)) settings.on_overcommit = config::OnOvercommit::shrink;
  }
  void stir(World& world) {
    if (!changes_ || !random_.chance(20)) return;
    pool::GivenLimits limits;
    if (random_.chance(70)) limits.connections = pool::GivenLimit{.connections = some() - 1};
    if (random_.chance(30)) limits.roles["u"] = {.connections = some()};
    if (random_.chance(30)) limits.databases["db"] = {.connections = some()};
    world.pools().set_limits("10.0.0.1:5432", limits);
  }
  static void lift(World& world) { world.pools().set_limits("10.0.0.1:5432", {}); }

 private:
  std::uint32_t some() { return 1 + static_cast<std::uint32_t>(random_.below(4)); }
  Random random_;
  bool changes_;
};

/// What operators do, at any time; with numbers of its own.
class Operators {
 public:
  explicit Operators(std::uint64_t seed)
      : random_(seed * 1'000'033), are_there_(random_.chance(15)) {}

  void stir(World& world) {
    if (!are_there_ || !random_.chance(30)) return;
    pool::DatabaseEntry* database =
        random_.chance(50) ? world.pools().known_database("db") : nullptr;
    switch (random_.below(4)) {
      case 0: return world.pools().pause(database);
      case 1: return world.pools().resume(database);
      case 2: return world.pools().reconnect(database);
      default:
        if (random_.chance(50)) {
          world.sessions().suspend(true);
          world.pools().suspend();
        } else {
          go_on(world);
        }
    }
  }
  static void go_on(World& world) {
    world.pools().resume(world.pools().known_database("db"));
    world.pools().resume(nullptr);
    world.sessions().suspend(false);
  }

 private:
  Random random_;
  bool are_there_;
};

void complain_of_waiting(World& world, const std::deque<RandomClient>& clients) {
  for (const RandomClient& client : clients) {
    if (client.client() == nullptr || client.client()->is_closed()) continue;
    if (client.client()->is_content()) continue;
    world.complain("client " + std::to_string(client.client()->number()) + " still waits after " +
                   client.client()->received_text());
  }
}

std::string run_world(std::uint64_t seed) {
  Random random(seed);
  const bool has_faults = random.chance(50);
  const bool is_routed = seed % worlds_per_cluster == 0;
  config::Settings settings = random_settings(random);
  Limits limits(seed);
  limits.apply(settings);
  Operators operators(seed);
  ClusterEvents cluster(seed);
  if (is_routed) cluster.apply(settings);
  World world(settings, seed);
  world.client_weather = random_weather(random);
  world.server_weather = random_weather(random);
  const bool is_fine = world.client_weather.split == Weather::Split::bytes ||
                       world.server_weather.split == Weather::Split::bytes;
  Temper temper{.changes_settings = random.chance(80),
                .leaves_residue = random.chance(50) && !is_routed,
                .runs_code = random.chance(30) && !is_routed,
                .names_statements = random.chance(50) && !is_routed,
                .may_be_refused = settings.on_residue == config::OnResidue::error ||
                                  settings.max_pinned_fraction < 1,
                .resets_settings = settings.pool_mode != config::PoolMode::session,
                .asks_for_much = !is_fine,
                .expects_faults = has_faults || is_routed,
                .is_routed = is_routed};
  temper.must_rerun = must_rerun(settings, temper, world.client_weather);
  if (random.chance(50)) world.postgres.question_time = Duration(random.below(4000));
  if (is_routed) cluster.start(world);
  std::deque<RandomClient> clients;
  for (auto count = 2 + random.below(10); count > 0; --count) clients.emplace_back(world, temper);
  for (int round = 0; round < (is_routed ? 45 : 30) && world.violations().empty(); ++round) {
    world.loop.run_for(std::chrono::milliseconds(10));
    if (has_faults) stir(world);
    limits.stir(world);
    operators.stir(world);
    if (is_routed) cluster.stir(world);
    if (random.chance(20)) world.postgres.change_tables();
  }
  world.refuses_connections = false;
  Limits::lift(world);
  Operators::go_on(world);
  if (is_routed) cluster.heal(world);
  for (RandomClient& client : clients) {
    client.stop();
    if (client.client() != nullptr) const_cast<Client*>(client.client())->link().set_reading(true);
  }
  if (is_routed) {
    // Each has its server now, unless it is told nothing about the one that it had.
    world.loop.run_for(seconds(10));
    if (!world.postgres.has_black_hole()) complain_of_waiting(world, clients);
  }
  world.loop.run_for(seconds(200));
  complain_of_waiting(world, clients);
  if (is_routed) cluster.stop();
  world.drain();
  return world.violation_text();
}

/// In a process of its own: what goes by the order of addresses (which pool comes first) does not
/// hang on the worlds before, and one that aborts is named.
std::string run_apart(std::uint64_t seed) {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  std::cout.flush();
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const std::string violations = run_world(seed);
    const bool is_told = write(ends[1], violations.data(), violations.size()) >= 0;
    std::exit(is_told ? 0 : 1);
  }
  close(ends[1]);
  std::string violations;
  std::array<char, 4096> part{};
  for (ssize_t size = 1; size > 0;) {
    size = read(ends[0], part.data(), part.size());
    if (size > 0) violations.append(part.data(), static_cast<std::size_t>(size));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0) violations += "its process ended with status " + std::to_string(status) + "\n";
  return violations;
}

}  // namespace

TEST_CASE("nobody gets another's replies, settings or session in any world") {
  const std::uint64_t only = number_from_environment("PGPROXY_SIM_SEED", 0);
  const std::uint64_t first = only != 0 ? only : number_from_environment("PGPROXY_SIM_FIRST", 1);
  const std::uint64_t count = only != 0 ? 1 : number_from_environment("PGPROXY_SIM_SEEDS", 300);
  const std::uint64_t step = number_from_environment("PGPROXY_SIM_STEP", 1);
  for (std::uint64_t seed = first; seed < first + count; seed += step) {
    const std::string violations = only != 0 ? run_world(seed) : run_apart(seed);
    CHECK_MESSAGE(violations.empty(), "repeat with PGPROXY_SIM_SEED=" << seed << "\n"
                                                                      << violations);
  }
}
