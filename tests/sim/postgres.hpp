#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "network.hpp"
#include "replication.hpp"
#include "session.hpp"

#include "pgproxy/base/result.hpp"
#include "pgproxy/wire/message.hpp"

namespace pgproxy::sim {

class Backend;

/// What goes wrong with the question about what a session holds.
enum class QuestionFault { error, timeout, garbage, death };

/// A PostgreSQL cluster that understands a handful of statements. Clients tag their statements with
/// 'c<client>.<number>'; beside each client's backends it runs a session that has PostgreSQL to
/// itself, and complains about each difference between the two.
class Postgres {
 public:
  Postgres(Loop& loop, Random& random, std::function<void(std::string)> violation);
  ~Postgres();

  /// `node`: whose backend it becomes; nullptr: there is one server only.
  void accept(std::shared_ptr<Link> link, Node* node = nullptr);
  /// All backends of `node` end, some without a word.
  void stop(const Node& node);
  /// Kills a random backend as an administrator would: FATAL 57P01, then EOF.
  void terminate_one();
  /// Cuts the connection of a random backend.
  void cut_one(bool by_reset);
  void black_hole_one();
  bool has_black_hole() const;

  /// DDL: statements of before it cannot be executed any more.
  void change_tables() { ++cluster_.table_version; }
  unsigned table_version() const { return cluster_.table_version; }

  void register_client(unsigned number, const std::string& user, const NameMap& startup);

  /// Backends whose connection is open at pgproxy's end.
  std::size_t open_count() const;
  /// Complains about each open backend that is not as new.
  void check_clean() const;
  void for_each(const std::function<void(Backend&)>& visit) const;

  Replication* replication = nullptr;         ///< what the servers are to one another
  std::optional<Error> login_error;           ///< every login ends with it
  bool is_password_wanted = false;            ///< AuthenticationCleartextPassword first
  bool is_silent_at_login = false;            ///< accepts and never answers
  bool is_mute = false;                       ///< reads queries and never answers
  std::deque<QuestionFault> question_faults;  ///< of the next questions
  Duration question_time{};                   ///< how long answering one takes
  unsigned questions_ever = 0;
  unsigned logins_ever = 0;
  unsigned cancels_ever = 0;

 private:
  friend class Backend;
  struct Reference {
    Reference(const std::string& user, const NameMap& startup) : session(cluster, user, startup) {}
    Cluster cluster;
    Session session;
    const Backend* place = nullptr;           ///< where its last transaction is, or was
    std::vector<route::WalPosition> written;  ///< by its transactions
  };
  Backend* random_ready();
  void cancel(std::uint32_t pid, std::string_view secret);

  Loop& loop_;
  Random& random_;
  std::function<void(std::string)> violation_;
  Cluster cluster_;
  std::map<unsigned, Reference> references_;  ///< by client
  std::vector<std::unique_ptr<Backend>> backends_;
};

/// One backend process.
class Backend final : public Peer {
 public:
  Backend(Postgres& postgres, std::shared_ptr<Link> link, std::uint32_t pid, Node* node);
  Link& link() { return *link_; }
  bool is_ready() const { return phase_ == Phase::ready && !is_gone_; }
  bool is_open() const { return !is_gone_ && phase_ != Phase::startup && link_->is_open_near(); }
  char status() const { return status_; }
  /// Once it has logged in.
  const Session& session() const { return *session_; }
  /// The question is being answered.
  bool is_questioned() const { return sleep_ && sleep_->is_question; }
  /// Statements that ran, cleaning up included.
  const std::vector<std::string>& history() const { return history_; }
  std::uint32_t pid() const { return pid_; }
  void fatal(std::string_view sqlstate, std::string_view message);
  void notify() { put('N', "SNOTICE\0VNOTICE\0C00000\0Mhello\0\0"); }
  void check_clean() const;
  /// The connection ends when that many more bytes were said.
  std::optional<std::size_t> cut_after_bytes;

  void on_bytes(std::string_view bytes) override;
  void on_end() override;

 private:
  friend class Postgres;
  enum class Phase { startup, password, ready };
  enum class Outcome { done, failed, sleeping, copying };
  struct Portal {
    std::string text;
    std::string parameter;  ///< and what else its row tells
  };
  struct Sleep {
    std::string tag;
    bool is_simple = true;
    bool is_question = false;
  };

  bool take_startup();
  bool take_message();
  void log_in();
  void on_message(char type, std::string_view body);
  void on_simple();
  void on_copy_message(char type, std::string_view body);
  void on_parse(std::string_view body);
  void on_bind(std::string_view body);
  void on_describe(std::string_view body);
  void on_close(std::string_view body);
  std::optional<Prepared> find_statement(const std::string& name) const;
  void stale_plan();
  void on_sync();
  Outcome execute(const std::string& text, const std::string& parameter, bool is_simple);
  Outcome control(const std::string& text, bool is_simple);
  // As one of a cluster's servers (places.cpp).
  bool is_on_standby() const { return node_ != nullptr && node_->is_standby; }
  bool begins_by_default_read_only() const;
  void check_place(const std::string& text, Postgres::Reference& client);
  Outcome answer_role(const std::string& text);
  void write_commit();
  Outcome select(const std::string& text, const std::string& parameter, bool is_simple);
  std::optional<Outcome> run_in_session(const std::string& text, bool is_simple);
  /// The proxy's own questions (question.cpp).
  std::optional<Outcome> answer_question(const std::string& text);
  Outcome ask_objects();
  void answer_objects();
  void answer_functions(const std::string& text);
  void answer_settings();
  void finish_sleep(bool was_cancelled);
  bool commit();
  void roll_back();
  void error(std::string_view sqlstate, std::string_view message, bool is_simple);
  void ready();
  void begin_if_needed();
  void check_owner(const std::string& text, const std::string& parameter);
  void run_in_reference(const std::string& text, const Answer& answer);
  Session* reference();
  void report();
  void fall_silent();
  using Row = std::vector<std::optional<std::string>>;
  void row(const Row& values, bool is_simple);
  void complete(std::string_view tag);
  void put(char type, std::string_view body = {});
  template <std::size_t size>
  void put(char type, const char (&body)[size]) {
    put(type, std::string_view(body, size - 1));
  }
  void violation(const std::string& what) const { postgres_.violation_(what); }

  Postgres& postgres_;
  std::shared_ptr<Link> link_;
  std::uint32_t pid_;
  Node* node_;
  std::string secret_;
  Phase phase_ = Phase::startup;
  std::string input_;
  char status_ = 'I';
  bool is_implicit_ = false;  ///< a transaction that ends at the next Sync
  bool is_skipping_ = false;
  bool is_gone_ = false;
  std::optional<Session> session_;
  NameMap reported_;
  std::optional<std::string> unnamed_;
  std::map<std::string, Portal> portals_;
  std::vector<std::string> statements_;  ///< of the current Query, still to run
  std::optional<Sleep> sleep_;
  unsigned sleep_number_ = 0;
  std::optional<bool> copy_in_;  ///< whether by a Query
  bool is_copy_cancelled_ = false;
  bool has_deferred_error_ = false;
  // Of this transaction:
  bool has_written_ = false;
  bool is_read_only_ = false;
  bool is_begun_read_only_ = false;  ///< its BEGIN says so
  unsigned transaction_owner_ = 0;
  std::vector<std::string> history_;
};

/// A transaction that says that it is READ ONLY.
bool begins_read_only(std::string_view text);
/// The client number in 'c<number>.'; 0: the text has no tag.
unsigned owner_of(std::string_view text);
/// The tag itself, "c<number>.<sequence>".
std::string tag_of(std::string_view text);

}  // namespace pgproxy::sim
