#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pgproxy/pool/statements.hpp"

namespace pgproxy::session {

/// The named statements that a client has prepared, as PostgreSQL would have them: what an error
/// made the server skip did not happen.
class PreparedStatements {
 public:
  /// nullptr: there is none of this name; a null reference: its server has it under this very name.
  const pool::StatementRef* find(std::string_view name) const;
  /// The message with `number` prepares it, or closes it.
  void add(std::string_view name, pool::StatementRef statement, std::uint32_t number);
  void remove(std::string_view name, std::uint32_t number);
  /// It is prepared; no server was asked.
  void add_answered(std::string_view name, pool::StatementRef statement);
  /// The message with `number` makes the server have it under this very name.
  void make_own(std::string_view name, std::uint32_t number);
  /// A DEALLOCATE of it succeeded.
  void forget(std::string_view name);
  /// Whether there is one does not hang on messages of earlier cycles that are not answered yet.
  bool is_certain(std::string_view name, pool::ExpectedReplies& expected) const;
  /// So for all of them.
  bool is_certain(pool::ExpectedReplies& expected) const;
  /// What the client calls, or called when it sent what is not answered yet, the statement with
  /// this number; "": nothing.
  std::string_view name_of(std::uint64_t statement_number) const;

  /// An error took these messages back.
  void take_back(pool::ExpectedReplies::Skipped skipped);
  /// DISCARD ALL or DEALLOCATE ALL did its work; what was sent behind it is still to come.
  void clear(pool::ExpectedReplies& expected);
  /// Forgets what is answered.
  void settle(pool::ExpectedReplies& expected) {
    journal_.settle(expected.oldest_number());
    if (journal_.empty()) gone_.clear();
  }
  std::size_t size() const { return by_name_.size(); }

  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& [name, statement] : by_name_) visit(name, statement);
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const {
      return std::hash<std::string_view>{}(name);
    }
  };
  struct Change {
    std::string name;
    bool is_removal;
    pool::StatementRef before = {};
  };

  std::unordered_map<std::string, pool::StatementRef, Hash, std::equal_to<>> by_name_;
  pool::Journal<Change> journal_;
  std::vector<std::pair<std::string, std::uint64_t>> gone_;  ///< by clear()
};

}  // namespace pgproxy::session
