#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "pgproxy/base/bytes.hpp"
#include "pgproxy/base/intrusive_list.hpp"
#include "pgproxy/pool/journal.hpp"
#include "pgproxy/pool/session_state.hpp"

namespace pgproxy::pool {

/// A prepared statement as PostgreSQL would tell it from others: its text, its parameter types and
/// the settings that its parse analysis depends on. Shared by the clients of a pool that have it.
class Statement {
 public:
  /// `definition`: a Parse message behind the statement's name.
  Statement(std::uint64_t number, std::string_view definition, ParseStateRef parse_state,
            ReadingRef reading);

  std::uint64_t number() const { return number_; }
  /// What it is called on servers: "pgproxy_7".
  const std::string& name() const { return name_; }
  const std::string& definition() const { return definition_; }
  std::string_view query() const { return definition_.c_str(); }
  const ParseStateRef& parse_state() const { return parse_state_; }
  /// What its literals were read by; nullptr: it has none.
  const ReadingRef& reading() const { return reading_; }
  /// No other server than the one that parsed it can be given it.
  bool is_reading_unknown() const { return reading_ != nullptr && reading_->is_unknown; }
  std::size_t hash() const { return hash_; }
  /// A server that parsed another version must parse it anew.
  std::uint32_t version() const { return version_; }
  void outdate() {
    ++version_;
    is_proven_ = false;
  }
  /// Some server has parsed this version without an error.
  bool is_proven() const { return is_proven_; }
  void prove(std::uint32_t version) { is_proven_ |= version == version_; }
  /// True for the first time that it is run again.
  bool note_rerun() { return !std::exchange(was_rerun_, true); }
  /// What the sessions know of it; kept here, so that it is found with it.
  const std::shared_ptr<void>& known() const { return known_; }
  void set_known(std::shared_ptr<void> known) { known_ = std::move(known); }
  /// A Parse message that gives it `name` on a server.
  void put_parse(std::string& out, std::string_view name) const;

  static std::size_t hash_of(std::string_view definition, const ParseStateRef& parse_state);

 private:
  std::uint64_t number_;
  std::string name_;
  std::string definition_;
  ParseStateRef parse_state_;
  ReadingRef reading_;
  std::shared_ptr<void> known_;
  std::size_t hash_;
  std::uint32_t version_ = 0;
  bool is_proven_ = false;
  bool was_rerun_ = false;
};
using StatementRef = std::shared_ptr<Statement>;

/// Statement::name() of the statement with this number.
std::string statement_name(std::uint64_t number);
/// The number in a name that Statement::name() could be; 0: another name.
std::uint64_t statement_number(std::string_view name);

/// A hash of what a RowDescription tells that holds for any server; `body` is empty for NoData.
/// Never 0.
std::uint64_t description_of(Bytes body);

/// The statements of one pool: one object for equal ones. A look-up allocates nothing.
class Statements {
 public:
  StatementRef find_or_add(std::string_view definition, const ParseStateRef& parse_state,
                           const ReadingRef& reading);
  /// nullptr: there is none.
  StatementRef find(std::string_view definition, const ParseStateRef& parse_state,
                    const ReadingRef& reading) const;
  /// One that is shared with nobody.
  StatementRef add_unshared(std::string_view definition, const ReadingRef& reading);
  std::size_t size() const { return statements_.size(); }

 private:
  struct Key {
    std::string_view definition;
    const ParseStateRef& parse_state;
    const ReadingRef& reading;
    std::size_t hash;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(const StatementRef& statement) const { return statement->hash(); }
    std::size_t operator()(const Key& key) const { return key.hash; }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const StatementRef& a, const StatementRef& b) const { return a == b; }
    bool operator()(const Key& key, const StatementRef& statement) const {
      return key.definition == statement->definition() &&
             key.parse_state == statement->parse_state() && key.reading == statement->reading();
    }
    bool operator()(const StatementRef& statement, const Key& key) const {
      return (*this)(key, statement);
    }
  };

  std::unordered_set<StatementRef, Hash, Equal> statements_;
  std::size_t purge_at_ = 256;
  std::uint64_t last_number_ = 0;
};

/// What one server connection has parsed, as far as we have asked it to: the least recently used of
/// ours, and names of clients' own that are to be closed. It follows what the server skips.
class ServerStatements {
 public:
  /// What has to go in front of a Bind or Describe.
  enum class Need : std::uint8_t {
    nothing,
    parse,
    close_and_parse,  ///< whether it is there, or is up to date, is not known
  };
  /// Looks for a statement that is going to be used, which makes it the most recently used one.
  Need use(const Statement& statement, ExpectedReplies& expected);
  /// The message with `number` parses `statement`, or closes it.
  void parsed(const StatementRef& statement, std::uint32_t number);
  void closed(std::uint64_t statement_number, std::uint32_t number);
  /// The statement to be closed before `statement` is parsed, so that no more than `max_count` are
  /// there; nullptr: none.
  StatementRef to_evict(const Statement& statement, std::size_t max_count);
  /// The message with `number` uses the statement: an error at it is about that.
  void note_use(std::uint32_t number, const Statement& statement, ExpectedReplies& expected);
  /// The number of the statement that the message used; 0: none of ours.
  std::uint64_t used_by(std::uint32_t number) const;
  /// The message with `number` described a statement: that is the result. Returns its number; 0:
  /// none of ours.
  std::uint64_t described(std::uint32_t number, std::uint64_t description);
  /// What the rows of the statement look like here; 0: that was not asked.
  std::uint64_t description(const Statement& statement) const;
  /// nullptr: the server does not have it.
  StatementRef find(std::uint64_t statement_number) const;
  /// PostgreSQL may have read its literals anew, by other settings than those that it has to have.
  void mistrust(std::uint64_t statement_number);
  /// The server does not have it, whatever we thought.
  void forget(const Statement& statement);

  /// Names of a client's own, which the message with `number` makes or closes.
  void own_parsed(std::string_view name, std::uint32_t number);
  void own_closed(std::string_view name, std::uint32_t number);
  /// The DEALLOCATE with `number` did its work; what was sent behind it may be answered or not.
  void own_deallocated(std::string_view name, std::uint32_t number);
  /// Those that are there, or may be: a Close may yet be skipped.
  std::vector<std::string> own_names(ExpectedReplies& expected) const;
  bool has_own_name(std::string_view name, ExpectedReplies& expected) const;
  /// The numbers of the statements that it has, or may have.
  std::vector<std::uint64_t> numbers(ExpectedReplies& expected) const;
  /// For sure neither our statements nor clients' own names.
  bool empty() const { return by_number_.empty() && own_names_.empty() && journal_.empty(); }

  /// An error took these messages back.
  void take_back(ExpectedReplies::Skipped skipped);
  /// DISCARD ALL or DEALLOCATE ALL did its work; what was sent behind it is still to come.
  void clear(ExpectedReplies& expected);
  /// Forgets what is answered.
  void settle(ExpectedReplies& expected);
  std::size_t size() const { return by_number_.size(); }

 private:
  struct Parsed : ListHook<Parsed> {
    StatementRef statement;
    std::uint32_t version = 0;
    std::uint32_t message = 0;      ///< number of the Parse
    std::uint64_t description = 0;  ///< description_of() what it returns; 0: not known
  };
  struct OwnName {
    std::string name;
    std::uint32_t message;  ///< number of the Parse
  };
  /// A Parse or Close of one of our statements, or of a name of a client's own.
  struct Change {
    /// What was there before.
    struct Before {
      StatementRef statement = {};  ///< nullptr: under a client's own name
      std::uint32_t version = 0;
      std::uint32_t message = 0;
      std::uint64_t description = 0;
    };
    std::uint64_t statement_number = 0;  ///< 0: `name` tells
    std::string name = {};
    StatementRef parsed = {};  ///< nullptr: a Close, or no statement of ours
    std::uint32_t version = 0;
    std::optional<Before> before = {};  ///< nullopt: nothing

    bool is_of_same(const Change& other) const {
      return statement_number == other.statement_number && name == other.name;
    }
  };
  Parsed& insert(const StatementRef& statement, std::uint32_t version, std::uint32_t message);
  std::optional<Change::Before> now(std::uint64_t statement_number) const;
  std::optional<Change::Before> now(std::string_view own_name) const;
  void restore(const Change& change);
  template <class Visit>
  void for_each_in_doubt(ExpectedReplies& expected, Visit visit) const;

  std::unordered_map<std::uint64_t, std::unique_ptr<Parsed>> by_number_;
  IntrusiveList<Parsed> by_use_;    ///< front is the most recently used
  std::vector<OwnName> own_names_;  ///< no name twice
  Journal<Change> journal_;
  /// Of messages that are not answered yet: number of the message, of the statement.
  std::vector<std::pair<std::uint32_t, std::uint64_t>> uses_;
};

}  // namespace pgproxy::pool
