#include "pgproxy/config/pattern.hpp"

#include <array>
#include <regex.h>
#include <vector>

#include "config/pattern_translation.hpp"

namespace pgproxy::config {

/// The C library's automaton; its functions are thread safe on one object.
struct Pattern::Compiled {
  regex_t regex{};
  bool is_compiled = false;

  Compiled() = default;
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;
  ~Compiled() {
    if (is_compiled) regfree(&regex);
  }
};

Result<Pattern> Pattern::compile(std::string_view text) {
  const auto translated = translate_pattern(text);
  if (!translated) return std::unexpected(translated.error());
  auto compiled = std::make_shared<Compiled>();
  // Where nothing is captured, only whether it matches is worked out, which is cheaper.
  const int flags = REG_EXTENDED | (translated->group == 0 ? REG_NOSUB : 0);
  const int status = regcomp(&compiled->regex, translated->text.c_str(), flags);
  if (status != 0) {
    std::array<char, 256> words{};
    regerror(status, &compiled->regex, words.data(), words.size());
    return std::unexpected(Error{.sqlstate = {}, .message = words.data()});
  }
  compiled->is_compiled = true;
  Pattern pattern;
  pattern.text_ = text;
  pattern.compiled_ = std::move(compiled);
  pattern.group_ = translated->group;
  pattern.is_group_repeated_ = translated->is_group_repeated;
  return pattern;
}

std::optional<Pattern::Match> Pattern::find(std::string_view subject) const {
  if (compiled_ == nullptr || subject.size() > max_subject_bytes || subject.contains('\0'))
    return {};
  const std::string text(subject);
  std::vector<regmatch_t> parts(group_ == 0 ? 0 : group_ + 1);
  if (regexec(&compiled_->regex, text.c_str(), parts.size(), parts.data(), 0) != 0) return {};
  Match match;
  if (group_ == 0 || parts[group_].rm_so < 0 || parts[group_].rm_so == parts[group_].rm_eo) {
    return match;
  }
  match.has_group = true;
  const auto begin = static_cast<std::size_t>(parts[group_].rm_so);
  match.group = text.substr(begin, static_cast<std::size_t>(parts[group_].rm_eo) - begin);
  return match;
}

}  // namespace pgproxy::config
