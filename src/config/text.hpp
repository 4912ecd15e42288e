#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/base/text.hpp"
#include "pgproxy/base/time.hpp"

namespace pgproxy::config {

std::string_view trim(std::string_view text);

/// As strtol with base 0 (0x is hexadecimal, a leading 0 octal); the whole text must be the number.
std::optional<std::int64_t> parse_integer(std::string_view text);

/// 1/0, yes/no, true/false, on/off.
std::optional<bool> parse_flag(std::string_view text);

/// Seconds with decimals, "1.5". nullopt: not a number, negative, over `most_seconds`, or so small
/// that it would become zero, which means off.
std::optional<Duration> parse_seconds(std::string_view text, std::int64_t most_seconds);
std::string print_seconds(Duration duration);

/// Words separated by commas or blanks.
std::vector<std::string> parse_list(std::string_view text);
std::string join(const std::vector<std::string>& words, std::string_view separator);

/// For messages: in double quotes, control bytes replaced, long text cut.
std::string in_quotes(std::string_view text);

/// As comment lines of an ini file, of at most 100 columns where words allow.
std::string as_comment(std::string_view text);

/// Finds what somebody who typed `wanted` may have meant.
class NearestName {
 public:
  explicit NearestName(std::string_view wanted);
  void offer(std::string_view name);
  /// `did you mean "…"?`, or empty when nothing offered comes near.
  std::string hint() const;

 private:
  std::string_view wanted_;
  std::string best_;
  std::size_t best_distance_;
};

}  // namespace pgproxy::config
