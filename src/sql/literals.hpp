#pragma once

#include <optional>
#include <string>

#include "sql/lexer.hpp"

namespace pgproxy::sql {

/// What a string token stands for; nullopt if that depends on the database's encoding, or is more
/// than one wants to know here (U&'…').
std::optional<std::string> string_value(const Token& token);

/// What a word or quoted name is called: at most 63 bytes, the former in lower case. nullopt: it
/// is no such token, or the server would shorten it or fold letters that we cannot.
std::optional<std::string> name_value(const Token& token);

}  // namespace pgproxy::sql
