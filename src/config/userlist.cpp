#include "config/userlist.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include "config/text.hpp"

namespace pgproxy::config {

namespace {

/// Takes `"…"` off the front of `text`; nullopt when there is none, or no end to it.
std::optional<std::string> take_quoted(std::string_view& text) {
  if (!text.starts_with('"')) return {};
  std::string value;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      const bool doubled = i + 1 < text.size() && text[i + 1] == '"';
      if (!doubled) {
        text = trim(text.substr(i + 1));
        return value;
      }
      ++i;
    }
    value += text[i];
  }
  return {};
}

bool is_comment(std::string_view line) {
  return line.starts_with(';') || line.starts_with('#');
}

}  // namespace

Secrets parse_userlist(std::string_view text, const std::string& name, Report& report) {
  Secrets secrets;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // UTF-8 byte order mark
  for (Origin at{name, 1}; !text.empty(); ++at.line) {
    const std::string_view whole = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(whole.size() + 1, text.size()));
    std::string_view line = trim(whole);
    if (line.empty() || is_comment(line)) continue;
    const auto user = take_quoted(line);
    const auto secret = take_quoted(line);
    const bool ends_well = line.empty() || line.starts_with('"') || is_comment(line);
    if (!user || user->empty() || !secret || !ends_well || whole.contains('\0')) {
      report.problem(at, R"(want "user" "secret")",
                     "both in double quotes; a double quote within is written twice");
      continue;
    }
    if (secrets.contains(*user)) {
      report.warning(at, fmt::format("user {} again: this secret counts", in_quotes(*user)));
    }
    secrets.insert_or_assign(*user, *secret);
  }
  return secrets;
}

}  // namespace pgproxy::config
