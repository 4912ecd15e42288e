#include <cstddef>
#include <cstdint>
#include <string_view>

#include "pgproxy/config/load.hpp"

/// Whatever a configuration file holds, reading it ends with settings or with problems.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // %include and auth_file could name a device whose reading blocks.
  if (text.find("/dev") != std::string_view::npos) return 0;
  const auto loaded = pgproxy::config::load_text(text, "fuzz.ini");
  for (const auto& problem : loaded.problems) pgproxy::config::format_problem(problem);
  pgproxy::config::describe(loaded);
  return 0;
}
