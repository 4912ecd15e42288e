#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/base/bytes.hpp"
#include "pgproxy/base/result.hpp"

// Values on their way to and from a console, whose own are all texts.
namespace pgproxy::session {

/// Largest n of the parameters $n in `text`; none in quotes count. 0: it has none.
std::size_t count_parameters(std::string_view text);
/// `text` with literals in place of its parameters; nullopt is NULL. 54000: that is too long.
Result<std::string> put_parameters(std::string_view text,
                                   const std::vector<std::optional<std::string>>& values);
/// A parameter's value as text. `format`: 0 text, 1 binary. 0A000, 22P03: cannot be read.
Result<std::string> read_parameter(std::uint32_t type, std::uint16_t format, Bytes value);

/// Result columns as RowDescription has them.
struct ResultColumns {
  std::vector<std::uint32_t> types;
  std::vector<std::uint16_t> formats;  ///< that were asked for
};
/// Applies the formats of a Bind (none, one for all, or one each) to the columns of a
/// RowDescription's `body`. 08P01: wrong number.
Result<ResultColumns> read_columns(Bytes body, const std::vector<std::uint16_t>& formats);
/// RowDescription with these formats.
std::string with_formats(Bytes body, const ResultColumns& columns);
/// A DataRow, made of the text values in `body`. 0A000: there is no binary format for a value's
/// type; 22003: a number is out of its type's range.
Result<std::string> make_row(Bytes body, const ResultColumns& columns);

}  // namespace pgproxy::session
