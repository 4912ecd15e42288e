#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// What both programs know, so that the load can check every row it gets.
namespace pgproxy::bench {

// As long as pgbench's: a proxy that looks into statements shall have something to look at.
inline constexpr std::string_view select_text =
    "SELECT abalance FROM pgbench_accounts WHERE aid = ";

/// The statement that each client of a prepared load has parsed. A server that was asked for it
/// elsewhere has it all the same: a proxy that passes names on untracked cannot do without.
inline constexpr std::string_view prepared_name = "P0_1";

/// One column of text that every row of `SELECT 'bulk', N` and of the COPY has.
inline constexpr std::uint32_t bulk_row_bytes = 100;
inline const std::string bulk_text(bulk_row_bytes, 'x');

/// `count` copies of one message, back to back: large sends at no cost per row.
inline std::string repeated(const std::string& message, std::size_t count) {
  std::string block;
  block.reserve(message.size() * count);
  while (count-- > 0) block += message;
  return block;
}

}  // namespace pgproxy::bench
