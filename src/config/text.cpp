#include "config/text.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <numeric>
#include <utility>

namespace pgproxy::config {

namespace {

constexpr std::string_view kBlanks = " \t\r\v\f";

/// Levenshtein's distance, upper and lower case being the same.
std::size_t edit_distance(std::string_view left, std::string_view right) {
  std::vector<std::size_t> row(right.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < left.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < right.size(); ++j) {
      const std::size_t replaced = diagonal + (to_lower(left[i]) == to_lower(right[j]) ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  const std::string terminated(text);
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(terminated.c_str(), &end, 0);
  if (text.empty() || errno != 0 || end != terminated.c_str() + terminated.size()) return {};
  return value;
}

std::optional<bool> parse_flag(std::string_view text) {
  for (const std::string_view yes : {"1", "yes", "true", "on"}) {
    if (equals_ignoring_case(text, yes)) return true;
  }
  for (const std::string_view no : {"0", "no", "false", "off"}) {
    if (equals_ignoring_case(text, no)) return false;
  }
  return {};
}

std::optional<Duration> parse_seconds(std::string_view text, std::int64_t most_seconds) {
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || end != text.data() + text.size()) return {};
  // Written so that a NaN is refused too.
  if (!(seconds >= 0 && seconds <= static_cast<double>(most_seconds))) return {};
  const Duration rounded{std::llround(seconds * 1e6)};
  if (seconds > 0 && rounded == Duration::zero()) return {};
  return rounded;
}

std::string print_seconds(Duration duration) {
  if (duration.count() % 1'000'000 == 0) return std::to_string(duration.count() / 1'000'000);
  std::string text =
      fmt::format("{}.{:06}", duration.count() / 1'000'000, duration.count() % 1'000'000);
  text.erase(text.find_last_not_of('0') + 1);
  return text;
}

std::vector<std::string> parse_list(std::string_view text) {
  constexpr std::string_view separators = ", \t";
  std::vector<std::string> words;
  for (;;) {
    const auto first = text.find_first_not_of(separators);
    if (first == std::string_view::npos) return words;
    text.remove_prefix(first);
    words.emplace_back(text.substr(0, text.find_first_of(separators)));
    text.remove_prefix(words.back().size());
  }
}

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  return fmt::format("{}", fmt::join(words, separator));
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 60;
  std::string result = "\"";
  for (const char c : text.substr(0, longest)) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    result += control ? '?' : c;
  }
  result += text.size() > longest ? "...\"" : "\"";
  return result;
}

std::string as_comment(std::string_view text) {
  constexpr std::size_t widest = 98;
  std::string result;
  while (text.size() > widest) {
    auto blank = text.rfind(' ', widest);
    if (blank == std::string_view::npos) blank = text.find(' ');
    if (blank == std::string_view::npos) break;
    result += fmt::format("# {}\n", text.substr(0, blank));
    text.remove_prefix(blank + 1);
  }
  return result + fmt::format("# {}\n", text);
}

NearestName::NearestName(std::string_view wanted)
    : wanted_(wanted.substr(0, 100)), best_distance_(wanted_.size() / 3 + 2) {}

void NearestName::offer(std::string_view name) {
  const std::size_t distance = edit_distance(wanted_, name);
  if (distance >= best_distance_) return;
  best_ = name;
  best_distance_ = distance;
}

std::string NearestName::hint() const {
  return best_.empty() ? "" : fmt::format("did you mean \"{}\"?", best_);
}

}  // namespace pgproxy::config
