#include "auth/saslprep.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <stringprep.h>

namespace pgproxy::auth {
namespace {

struct FreeText {
  void operator()(char* text) const { std::free(text); }
};

bool is_plain_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

std::string saslprep(std::string_view password) {
  std::string given(password);
  // Not even control characters are looked at there, nor could libidn take a zero byte.
  if (is_plain_ascii(given) || given.contains('\0')) return given;
  char* made = nullptr;
  const int status = stringprep_profile(given.c_str(), &made, "SASLprep", STRINGPREP_NO_UNASSIGNED);
  const std::unique_ptr<char, FreeText> prepared(made);
  // Nothing but what is mapped to nothing is no password.
  if (status != STRINGPREP_OK || prepared == nullptr || *prepared == '\0') return given;
  return prepared.get();
}

}  // namespace pgproxy::auth
