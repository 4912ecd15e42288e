#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sql/fingerprint.hpp"
#include "sql/lexer.hpp"

#include "pgproxy/base/assert.hpp"
#include "pgproxy/sql/route_hint.hpp"
#include "pgproxy/sql/shapes.hpp"

using namespace pgproxy::sql;

namespace {

/// The text with another integer for each, and other blanks; empty if that may matter.
std::string with_other_constants(std::string_view text, bool backslashes_are_plain) {
  std::string other;
  Lexer lexer(text, backslashes_are_plain);
  const char* behind = text.data();
  for (Token token = lexer.next(); token.kind != TokenKind::end; token = lexer.next()) {
    for (const std::string_view telling : {"set", "do", "set_config", "uescape"}) {
      if (token.is_word(telling)) return {};
    }
    if (token.kind == TokenKind::unicode_name || token.text == "\"set_config\"") return {};
    other += token.text.data() == behind ? "" : "/* b */\t";
    other += token.kind == TokenKind::integer ? std::string_view("42") : token.text;
    behind = token.text.data() + token.text.size();
  }
  return other;
}

/// What is rendered has the same tokens, and what is known of it covers what is known of the text.
void check_rendering(std::string_view text, const Normalised& normalised, const Facts& facts) {
  const std::string rendered = render(normalised.tokens);
  std::vector<char> scratch(scratch_bytes(rendered.size()));
  const auto again = normalise(rendered, true, scratch);
  PGPROXY_ASSERT(again && again->tokens == normalised.tokens);

  const Facts of_text = analyse(text);
  if (of_text.kind == StatementKind::unknown) return;
  PGPROXY_ASSERT((of_text.leaves - facts.leaves).empty());
  PGPROXY_ASSERT(facts.kind == of_text.kind || facts.kind == StatementKind::unknown);
  if (facts.kind == StatementKind::unknown) return;
  PGPROXY_ASSERT(facts.starts_transaction == of_text.starts_transaction);
  PGPROXY_ASSERT(facts.is_plain_query == of_text.is_plain_query);
  PGPROXY_ASSERT(facts.speaks_of_server == of_text.speaks_of_server);
  PGPROXY_ASSERT(facts.all_functions == of_text.all_functions);
  PGPROXY_ASSERT(facts.relations == of_text.relations);
}

void check(std::string_view text, bool backslashes_are_plain) {
  static Shapes shapes(64);
  const ShapeRef shape = shapes.find(text, backslashes_are_plain);
  PGPROXY_ASSERT(shapes.find(text, backslashes_are_plain) == shape);
  PGPROXY_ASSERT(shapes.size() <= 64);

  const auto constant = set_constant(text, backslashes_are_plain);
  if (constant && shape->facts.kind != StatementKind::unknown) {
    PGPROXY_ASSERT(shape->facts.kind == StatementKind::set);
    PGPROXY_ASSERT(shape->facts.settings == std::vector<std::string>{constant->name});
  }
  PGPROXY_ASSERT(settings_named(text, backslashes_are_plain).size() <= 32);
  // A comment is all that a hint is read from.
  const std::string_view start = text.substr(0, text.find_first_not_of(" \t\n\v\f\r") + 2);
  PGPROXY_ASSERT(!route_hint(text) || start.ends_with("/*") || start.ends_with("--"));

  std::vector<char> scratch(scratch_bytes(text.size()));
  const auto normalised = normalise(text, backslashes_are_plain, scratch);
  PGPROXY_ASSERT(normalised.has_value() == (shape != shapes.unknown()));
  if (!normalised) return;
  const std::string other = with_other_constants(text, backslashes_are_plain);
  if (!other.empty()) {
    PGPROXY_ASSERT(shapes.find(other, backslashes_are_plain) == shape);
  }
  if (backslashes_are_plain) check_rendering(text, *normalised, shape->facts);
}

}  // namespace

/// Whatever the text: nothing crashes, what is found does not depend on constants, and our lexer
/// does not see less than libpg_query does.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(text, true);
  check(text, false);
  return 0;
}
