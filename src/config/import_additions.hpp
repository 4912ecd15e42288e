#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/config/import.hpp"

namespace pgproxy::config {

/// What an imported file gets beyond PgBouncer's settings and their defaults. Comments are text;
/// the file has them as comment lines, behind the word ADDED.
struct Additions {
  struct Value {
    std::string value;
    std::string comment;
  };
  std::vector<std::string> remarks;                    ///< at the head of [capacity]
  std::map<std::string, Value, std::less<>> settings;  ///< by name
  std::map<std::string, Value, std::less<>> entries;   ///< keys for entries of [databases]
  std::map<std::string, Value, std::less<>> users;     ///< lines for [users]
};

/// For servers that were not asked, or not all with one login: [capacity] as it is without them,
/// with the reasons.
Additions unanswered_additions(const ImportAnswers& answers);

/// For servers that all have answered to one login: the most that fits with check = enforce, else
/// check = report with what does not fit; off, when neither makes a configuration. `draft` is what
/// the file says without additions, `write` makes the text with some.
Additions answered_additions(const Settings& draft, const ImportAnswers& answers,
                             const std::function<std::string(const Additions&)>& write);

}  // namespace pgproxy::config
