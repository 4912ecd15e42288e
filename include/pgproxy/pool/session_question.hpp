#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pgproxy/base/result.hpp"
#include "pgproxy/io/loop.hpp"
#include "pgproxy/pool/reply_owner.hpp"

namespace pgproxy::pool {

/// What to find out about the session of a server connection, besides what is always asked.
struct QuestionScope {
  /// Settings whose values are wanted, custom ones among them.
  std::vector<std::string> settings;
  /// Also every setting that the session has set; PostgreSQL does not list custom ones.
  bool all_settings = false;
  /// Functions to look up in pg_proc, by name without schema.
  std::vector<std::string> functions;
};

/// What a session holds between two transactions, as its server told.
struct SessionTruth {
  bool has_temporary_objects = false;
  bool has_advisory_locks = false;  ///< session level: no other can be left
  bool listens = false;
  bool has_cursors = false;         ///< WITH HOLD: no other can be left
  bool has_sql_statements = false;  ///< by PREPARE, not by Parse
  std::uint32_t parsed_statement_count = 0;
  std::string role;  ///< "none": as logged in
  /// Of QuestionScope::settings; nullopt: there is no such setting. With all_settings only custom
  /// ones, as the others are listed, and nullopt for those that a module has defined.
  std::vector<std::pair<std::string, std::optional<std::string>>> values;
  /// For all_settings: name and value of each.
  std::vector<std::pair<std::string, std::string>> session_settings;
  /// Volatile functions among those asked for that are not built in, and their sources.
  std::vector<std::pair<std::string, std::string>> volatile_functions;

  bool holds_objects() const {
    return has_temporary_objects || has_advisory_locks || listens || has_cursors ||
           has_sql_statements;
  }
};

/// The question that settles what a client left on a server connection: one Query in which every
/// name and operator is qualified and which no setting of the client can change. It is asked
/// between transactions only.
class SessionQuestion final : public io::Disposable, public ReplyOwner {
 public:
  SessionQuestion(ServerConnection& server, QuestionScope scope);

  void ask();
  /// The answer, once everything was answered; nullopt: an error, or an answer that makes no sense.
  std::optional<SessionTruth> answer() const;
  /// It was cut off by a very small statement_timeout: to be asked again.
  bool was_cancelled() const { return sqlstate_ == "57014"; }

 private:
  void on_reply(ServerConnection& server, Bytes first, Bytes second) override;
  void on_reply_error(ServerConnection& server, const wire::ErrorFields& fields) override;
  void on_replies_done(ServerConnection&) override {}
  void on_server_drained(ServerConnection&) override {}
  void on_server_lost(ServerConnection&, const Error&, bool) override {}

  ServerConnection& server_;
  QuestionScope scope_;
  std::string replies_;
  std::string sqlstate_;
  bool is_too_long_ = false;
};

/// The text of the question.
std::string question_sql(const QuestionScope& scope);
/// What the server's messages say, from the first result to ReadyForQuery; nullopt: they are not
/// the answer to this question.
std::optional<SessionTruth> read_answer(const QuestionScope& scope, Bytes replies);

}  // namespace pgproxy::pool
