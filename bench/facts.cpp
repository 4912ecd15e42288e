// What it costs to know a statement that was seen before: prints nanoseconds per statement.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "canned.hpp"

#include "pgproxy/sql/shapes.hpp"

int main() {
  using namespace pgproxy;
  constexpr std::size_t text_count = 1000;
  constexpr std::size_t round_count = 2000;
  std::vector<std::string> texts;  // as bench_load sends them: another constant each time
  for (std::size_t i = 0; i < text_count; ++i) {
    texts.push_back(std::string(bench::select_text) + std::to_string(1'000'000 + 7919 * i));
  }
  sql::Shapes shapes;
  const sql::Shape* const known = shapes.find(texts.front(), true).get();
  std::size_t found_count = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t round = 0; round < round_count; ++round) {
    for (const std::string& text : texts) found_count += shapes.find(text, true).get() == known;
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
  if (found_count != text_count * round_count) {
    std::fputs("bench_facts: statements that differ in a constant have different shapes\n", stderr);
    return 1;
  }
  std::printf("%.1f\n", took.count() / static_cast<double>(found_count));
  return 0;
}
