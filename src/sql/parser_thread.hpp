#pragma once

#include <functional>
#include <string>

struct PgQuery__ParseResult;

namespace pgproxy::sql {

/// Parses with libpg_query, on the one thread of the process that does this: its stack suffices
/// for whatever 16 KiB of text can nest, for parser, unpacking and freeing. `look` is called there
/// with the tree, or with nullptr if there is none; the tree is freed behind it. Blocks. Thread
/// safe. False: there is no thread to be had, and `look` was not called.
bool parse(const std::string& text,
           const std::function<void(const PgQuery__ParseResult* tree)>& look);

}  // namespace pgproxy::sql
