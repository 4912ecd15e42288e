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
  struct Entry {
    pool::StatementRef statement = {};  ///< as find()
    /// What the client was told of the rows that it returns (pool::description_of); 0: nothing.
    std::uint64_t description = 0;
    bool is_outdated = false;
  };
  const Entry* find_entry(std::string_view name) const;
  /// It was told so, whatever it calls the statement.
  void described(std::uint64_t statement_number, std::uint64_t description);
  /// What it was told does not hold any more. True for the first time.
  bool note_outdated(std::string_view name);
  /// The message with `number` prepares it, or closes it.
  void add(std::string_view name, pool::StatementRef statement, std::uint32_t number);
  void remove(std::string_view name, std::uint32_t number);
  /// It is prepared; no server was asked.
  void add_answered(std::string_view name, pool::StatementRef statement);
  /// The client had this statement and closed it: it may know that it is to be parsed anew. True
  /// once; what was closed long ago is forgotten.
  bool take_closed(std::uint64_t statement_number);
  bool was_closed(std::uint64_t statement_number) const;
  /// The message with `number` makes the server have it under this very name.
  void make_own(std::string_view name, std::uint32_t number);
  /// The same text under other settings; what the client was told still has to hold.
  void replace(std::string_view name, pool::StatementRef statement) {
    by_name_.find(name)->second.statement = std::move(statement);
  }
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

  /// The statement was used where PostgreSQL may have read its literals by settings that do not
  /// last.
  struct ReadInDoubt {
    std::uint64_t statement_number = 0;
    std::string name = {};  ///< not empty: it is read once more behind the transaction
  };
  void note_read_in_doubt(ReadInDoubt read) { read_in_doubt_.push_back(std::move(read)); }
  std::vector<ReadInDoubt> take_read_in_doubt() { return std::exchange(read_in_doubt_, {}); }

  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& [name, entry] : by_name_) visit(name, entry.statement);
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
    Entry before = {};
  };

  std::unordered_map<std::string, Entry, Hash, std::equal_to<>> by_name_;
  /// What is closed is often prepared again soon, if ever.
  static constexpr std::size_t max_closed = 32;
  void note_closed(const pool::StatementRef& statement);

  std::vector<ReadInDoubt> read_in_doubt_;
  std::vector<std::uint64_t> closed_;  ///< numbers of statements, oldest first
  pool::Journal<Change> journal_;
  std::vector<std::pair<std::string, std::uint64_t>> gone_;  ///< by clear()
};

}  // namespace pgproxy::session
