// What it costs to count a statement by its shape: prints nanoseconds per statement.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "canned.hpp"
#include "session/cycle_statistics.hpp"

#include "pgproxy/sql/shapes.hpp"

int main() {
  using namespace pgproxy;
  constexpr std::size_t shape_count = 200;
  constexpr std::size_t round_count = 10'000;
  sql::Shapes shapes;
  std::vector<sql::ShapeRef> known;
  for (std::size_t i = 0; i < shape_count; ++i) {
    known.push_back(
        shapes.find(std::string(bench::select_text) + "1, x" + std::to_string(i), true));
  }
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t round = 0; round < round_count; ++round) {
    for (const sql::ShapeRef& shape : known) {
      session::CycleStatistics cycle;
      cycle.note_statement(shape, shapes.unknown());
      cycle.bytes += 64;
      cycle.note_command("SELECT 1");
      cycle.count(Duration(100 + round % 100), false);
    }
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
  std::uint64_t counted = 0;
  for (const sql::ShapeRef& shape : known) counted += shape->counts.rows;
  if (counted != shape_count * round_count) {
    std::fputs("bench_statistics: some statements were not counted\n", stderr);
    return 1;
  }
  std::printf("%.1f\n", took.count() / static_cast<double>(counted));
  return 0;
}
