#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pgproxy::admin {

std::string_view trimmed(std::string_view text);
/// `word` with each character as `to_case` (std::tolower, std::toupper) has it.
std::string folded(std::string_view word, int (*to_case)(int));
/// Cuts the first word, plain, "quoted" or 'quoted' (as parameters come; a doubled quote stands for
/// one), off `rest`. nullopt, and `rest` keeps it: what comes next is nothing or something else,
/// as quotes with nothing between them, or without an end.
std::optional<std::string> take_word(std::string_view& rest);
/// A command without the blanks around it, and without the one ; that may end it.
std::string_view without_end(std::string_view text);

}  // namespace pgproxy::admin
