#include "pgproxy/wire/message.hpp"

#include <cstring>

namespace pgproxy::wire {

bool Cursor::take(std::size_t count) {
  if (!ok_ || rest_.size() < count) {
    ok_ = false;
    return false;
  }
  taken_ = rest_.data();
  rest_ = rest_.subspan(count);
  return true;
}

std::string_view Cursor::c_string() {
  if (!ok_ || rest_.empty()) {
    ok_ = false;
    return {};
  }
  const void* nul = std::memchr(rest_.data(), 0, rest_.size());
  if (nul == nullptr) {
    ok_ = false;
    return {};
  }
  const auto length =
      static_cast<std::size_t>(static_cast<const std::uint8_t*>(nul) - rest_.data());
  const std::string_view text = as_text(rest_.first(length));
  rest_ = rest_.subspan(length + 1);
  return text;
}

}  // namespace pgproxy::wire
