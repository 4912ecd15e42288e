#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokens.hpp"

namespace pgproxy::sim {

using NameMap = std::map<std::string, std::string>;

class Session;

/// What the sessions of a cluster share.
struct Cluster {
  std::map<std::string, long> sequences;
  std::map<std::string, const Session*> locks;  ///< advisory ones, and who holds them
  unsigned table_version = 0;                   ///< of the tables that DDL changes now and then
};

/// A named prepared statement.
struct Prepared {
  std::string text;  ///< of one by PREPARE: the constant that it selects
  bool from_sql = false;
  std::string parsed_under;  ///< the settings that constants are read with
  std::string read_under;    ///< those at the last time that they were read
  unsigned table_version = 0;
  bool is_dated() const { return text.starts_with("select 'dated"); }
  /// What its row tells for `parameter` behind its own constant.
  std::string shown(const std::string& parameter) const {
    return parameter + (is_dated() ? "/" + read_under : "");
  }
};

/// What PostgreSQL answers to a statement.
struct Answer {
  std::string sqlstate;                         ///< of the error; "": none
  std::vector<std::optional<std::string>> row;  ///< the only one; empty: none
  std::string tag;
  /// As a client gets it: "E:42P01", or "D:value" (if there is a row) and "C:SELECT 1".
  std::vector<std::string> tokens() const;
};

/// What one session of PostgreSQL holds, and how statements that it depends on change it. Backends
/// have one each; so has each client, as if it had PostgreSQL to itself, to know what it must find.
class Session {
 public:
  /// `startup` is what the startup packet gave: what RESET goes back to.
  Session(Cluster& cluster, const std::string& user, const NameMap& startup);
  ~Session() { end(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  static const NameMap& defaults();
  /// The error that a startup setting meets: its SQLSTATE, or "".
  static std::string startup_error(const NameMap& startup);

  void begin();
  void commit();
  void roll_back();
  bool is_in_transaction() const { return before_.has_value(); }

  /// Runs `text`, inside a transaction; nullopt: the session has nothing to do with it.
  std::optional<Answer> run(std::string_view text);

  /// nullopt: there is no such setting.
  std::optional<std::string> setting(const std::string& name) const;
  /// Those of pg_show_all_settings() whose source is the session.
  std::vector<std::pair<std::string, std::string>> settings_of_session() const;
  /// The server is no standby, or no more.
  void leave_recovery() { startup_["in_hot_standby"] = "off"; }
  /// What the session has been told to report.
  NameMap reported() const;
  bool has_temporary_tables() const { return !now_.tables.empty(); }
  bool has_locks() const { return !locks_.empty(); }
  bool listens() const { return !now_.channels.empty(); }
  bool has_cursors() const { return !cursors_.empty(); }
  /// By PREPARE, and by Parse.
  bool has_statements() const { return statement_count(true) > 0; }
  std::size_t parsed_count() const { return statement_count(false); }
  /// nullptr: there is none of this name.
  const Prepared* statement(const std::string& name) const;
  /// It is about to be described or bound.
  void revalidate(const std::string& name);
  /// The SQLSTATE that a Parse of a text without mistakes meets, or "".
  std::string parse(const std::string& name, const std::string& text);
  void close(const std::string& name) { statements_.erase(name); }
  /// What constants are read with.
  std::string parse_settings() const;
  /// Its result is not what it was ("cached plan must not change result type").
  bool is_stale(const Prepared& statement) const;
  /// What is left besides settings, or "".
  std::string objects() const;
  /// What is otherwise than in `wanted`, or "". A custom setting may be '' instead of unset.
  std::string difference(const Session& wanted) const;
  /// The process is over: its locks are free.
  void end();

 private:
  /// What ROLLBACK takes back.
  struct Undoable {
    NameMap set;                           ///< by SET and set_config, until RESET
    NameMap local;                         ///< by SET LOCAL, until the end of the transaction
    NameMap tables;                        ///< temporary ones, and the text in their only row
    std::set<std::string> tables_to_drop;  ///< ON COMMIT DROP
    std::set<std::string> channels;
    std::vector<std::pair<bool, std::string>> listens;  ///< to be done at commit; false: UNLISTEN
    std::set<std::string> new_cursors;
    std::set<std::string> locks;  ///< that end with the transaction
  };
  enum class LockLife { session, transaction };

  // session.cpp
  Answer set_statement(Tokens& text);
  Answer reset_statement(Tokens& text);
  Answer discard(Tokens& text);
  Answer savepoint(Tokens& text, std::string_view word);
  Answer assign(const std::string& name, const std::string& value, bool is_local);
  void reset(const std::string& name);
  void reset_all();
  void forget_session();
  std::optional<Answer> set_config(Tokens& text);
  Answer current_setting(Tokens& text);
  void roll_back_to(const Undoable& before);

  // session_objects.cpp
  std::optional<Answer> select(Tokens& text);
  std::optional<Answer> call_function(std::string_view name, Tokens& text);
  std::optional<Answer> lock_function(std::string_view name, Tokens& text);
  std::optional<Answer> sequence_function(std::string_view name, Tokens& text);
  std::optional<Answer> own_function(std::string_view name, Tokens& text);
  std::optional<Answer> run_object(std::string_view word, Tokens& text);
  Answer create_table(Tokens& text);
  Answer drop_table(Tokens& text);
  Answer listen(std::string_view word, Tokens& text);
  std::optional<Answer> cursor(std::string_view word, Tokens& text);
  Answer prepared(std::string_view word, Tokens& text);
  Answer execute(Tokens& text);
  std::optional<Answer> run_block(Tokens& text);
  bool lock(const std::string& key, LockLife life);
  bool unlock(const std::string& key);
  std::size_t statement_count(bool from_sql) const;
  NameMap sql_statements() const;
  bool has_no_strange_statement(const Session& wanted) const;
  void release_locks();
  void release_if_free(const std::string& key);

  Cluster& cluster_;
  NameMap startup_;
  std::set<std::string> customs_;  ///< custom settings that have been set ever: '' from then on
  Undoable now_;
  std::optional<Undoable> before_;  ///< as at BEGIN
  std::vector<std::pair<std::string, Undoable>> savepoints_;
  NameMap cursors_;  ///< WITH HOLD, and the text in their only row
  std::map<std::string, Prepared> statements_;
  std::map<std::string, unsigned> locks_;  ///< of the session, and how often
  std::map<std::string, long> drawn_;      ///< what currval tells
  std::optional<long> last_value_;
  std::string seed_;  ///< by setseed
};

/// The constant that `text`, a SELECT, begins with; "": none.
std::string label_of(std::string_view text);

/// The source of a volatile function of the cluster, nullopt: there is none of that name.
std::optional<std::string> volatile_source(std::string_view name);

}  // namespace pgproxy::sim
