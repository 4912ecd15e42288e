#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace pgproxy::sim {

/// The tokens of one statement, to be taken one by one: names in lower case and with their
/// qualification ("pg_catalog.set_config"), constants without their quotes, comments left out.
class Tokens {
 public:
  explicit Tokens(std::string_view text);
  bool at_end() const { return at_ == texts_.size(); }
  /// The next one; "" at the end.
  std::string_view peek() const { return at_end() ? std::string_view{} : texts_[at_]; }
  std::string next() { return at_end() ? std::string{} : texts_[at_++]; }
  bool take(std::string_view text);
  /// All of them in this order, or none.
  bool take(std::initializer_list<std::string_view> texts);
  /// Moves behind the next `text`; false: there is none, and nothing moves.
  bool skip_to(std::string_view text);

 private:
  std::vector<std::string> texts_;
  std::size_t at_ = 0;
};

/// The statements of a Query; one empty one if there is nothing in it.
std::vector<std::string> split_statements(std::string_view text);

}  // namespace pgproxy::sim
