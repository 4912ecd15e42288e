#include <cstddef>
#include <cstdint>
#include <string>

#include "pgproxy/base/assert.hpp"
#include "pgproxy/sql/residue.hpp"

using pgproxy::sql::may_leave_residue;
using pgproxy::sql::Residue;

/// Whatever the text: the scanner ends, stays inside it, and where it says "none" it has not lost
/// its way in a string or comment, so that a SET behind the text is seen.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const bool backslashes_are_plain : {true, false}) {
    const Residue residue = may_leave_residue(text, backslashes_are_plain);
    const Residue with_set = may_leave_residue(text + "\n;SET x = 1", backslashes_are_plain);
    PGPROXY_ASSERT(with_set == Residue::unknown ||
                   with_set == (residue == Residue::none ? Residue::setting : residue));
  }
  return 0;
}
