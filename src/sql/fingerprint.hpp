#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace pgproxy::sql {

/// A text's tokens, unambiguous, with constants and parameters but for their kind left out, and
/// with equal neighbours in lists (behind IN, ARRAY) and among the rows of VALUES only once.
/// Constants that Facts depend on stay: those of DO, of SET search_path, and the names that
/// set_config is given.
struct Normalised {
  std::uint64_t fingerprint = 0;  ///< a hash of the tokens, with a secret of this process
  std::string_view tokens;        ///< in the scratch memory
  /// It has no constants: the same text is likely to come again.
  bool is_constant_free = true;
  /// A '…' that stays has an escape in it, because standard_conforming_strings is off: a parser
  /// that has it on would read another text.
  bool keeps_plain_escapes = false;
};

/// A hash of a text as it is, with a secret of this process.
std::uint64_t hash_of_text(std::string_view text, bool backslashes_are_plain);

/// Bytes of scratch memory that normalise() needs.
constexpr std::size_t scratch_bytes(std::size_t text_bytes) {
  return 2 * text_bytes + 1;
}
/// One pass, no allocation. nullopt: the text does not end properly, or is nested deeper than 250.
std::optional<Normalised> normalise(std::string_view text, bool backslashes_are_plain,
                                    std::span<char> scratch);

/// SQL with these tokens and with some constants for those left out, for a parser that has
/// standard_conforming_strings on. What is known of it holds for every text with the fingerprint.
std::string render(std::string_view tokens);

/// The same for people: ? for what is left out; at most `max_bytes` and an ellipsis.
std::string display(std::string_view tokens, std::size_t max_bytes);

}  // namespace pgproxy::sql
