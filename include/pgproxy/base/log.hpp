#pragma once

#include <cstdint>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <utility>

namespace pgproxy::log {

/// PgBouncer's level words.
enum class Level { debug, log, warning, error, fatal };

enum class Format { text, logfmt, json };

/// Whom a line is about; the views need to live for the call only.
struct Subject {
  char side = 0;  ///< 'C' client, 'S' server, 0 the process itself
  std::uint64_t id = 0;
  std::string_view database = {};  ///< empty: "(nodb)"
  std::string_view user = {};      ///< empty: "(nouser)"
  std::string peer = {};           ///< "host:port", "unix(pid):port"
};

struct Options {
  Format format = Format::text;
  Level least = Level::log;  ///< quieter lines are dropped
  std::string file = {};     ///< empty: none
  bool to_stderr = true;
};

/// Starts logging anew with these options; a file is opened again, so that one that was moved away
/// gets no more lines. False when it cannot be opened (logging then goes on to stderr). Thread
/// safe.
bool configure(const Options& options);

/// True when a line of this level would be written.
bool enabled(Level level);

/// Writes one line. Thread safe. Text is PgBouncer's shape:
/// `2026-11-23 07:00:58.129 UTC [PID] LOG C-0x1: db/user@host:port message`.
void write(Level level, const Subject& subject, std::string_view message);

template <class... Args>
void line(Level level, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(level)) write(level, Subject{}, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
void line(Level level, const Subject& subject, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(level)) write(level, subject, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace pgproxy::log
