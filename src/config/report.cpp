#include "config/report.hpp"

#include <algorithm>
#include <cstddef>
#include <fmt/format.h>
#include <limits>
#include <map>
#include <ranges>
#include <utility>

namespace pgproxy::config {

void Report::problem(const Origin& at, std::string message, std::string hint) {
  problems_.push_back({at.file, at.line, std::move(message), std::move(hint)});
}

void Report::warning(const Origin& at, const std::string& text) {
  warnings_.push_back(at.line == 0 ? fmt::format("{}: {}", at.file, text)
                                   : fmt::format("{}:{}: {}", at.file, at.line, text));
}

std::vector<Problem> Report::sorted_problems(const std::vector<std::string>& files) const {
  std::multimap<std::pair<std::ptrdiff_t, int>, Problem> by_place;  // equal places keep their order
  for (const Problem& problem : problems_) {
    const auto file = std::ranges::find(files, problem.file) - files.begin();
    const int line = problem.line == 0 ? std::numeric_limits<int>::max() : problem.line;
    by_place.emplace(std::pair(file, line), problem);
  }
  const auto sorted = std::views::values(by_place);
  return {sorted.begin(), sorted.end()};
}

std::string format_problem(const Problem& problem) {
  std::string text = problem.file;
  if (problem.line != 0) text += fmt::format(":{}", problem.line);
  text += ": " + problem.message;
  if (!problem.hint.empty()) text += "\n  hint: " + problem.hint;
  return text;
}

}  // namespace pgproxy::config
