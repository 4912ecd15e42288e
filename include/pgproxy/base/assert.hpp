#pragma once

namespace pgproxy {

/// Logs the failed condition to stderr and aborts. Never returns.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace pgproxy

/// Checks for bugs (never for bad input); on in release builds too.
#define PGPROXY_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::pgproxy::assertion_failed(#condition, __FILE__, __LINE__))
