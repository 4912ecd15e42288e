#include "pgproxy/base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace pgproxy {

void assertion_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "PANIC: assertion failed: %s (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace pgproxy
