#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "session/cycle_statistics.hpp"

#include "pgproxy/auth/client_auth.hpp"
#include "pgproxy/base/log.hpp"
#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/io/loop.hpp"
#include "pgproxy/io/secret_source.hpp"
#include "pgproxy/pool/pools.hpp"
#include "pgproxy/pool/reply_owner.hpp"
#include "pgproxy/route/cluster_view.hpp"
#include "pgproxy/session/console_target.hpp"
#include "pgproxy/sql/shapes.hpp"
#include "pgproxy/wire/startup.hpp"

namespace pgproxy::session {

class ConsoleSession;
class ConsoleCommand;
class PreparedStatements;
class Sessions;
struct SessionTraces;
struct SessionRouting;
struct Workload;

//  startup -> authenticating -> welcoming -> idle -> waiting -> [replaying ->] active -> idle
//             welcoming -> [replaying ->] active, in session mode
//             authenticating -> console;     idle -> [replaying ->] active;    any -> closing
//             active -> [restoring -> active] -> [asking ->] idle, or active when pinned
enum class ClientState : std::uint8_t {
  startup,
  authenticating,
  welcoming,  ///< waits for a server that tells what its settings look like, or that it keeps
  idle,       ///< no server connection
  waiting,    ///< in the pool's queue
  replaying,  ///< has a server, whose session state is being brought in line
  active,     ///< has a server
  restoring,  ///< its startup settings are given again behind a RESET
  asking,     ///< its server is asked what its transaction left there
  console,
  closing,
};

/// One client from accept to close: login, relay of its messages and replies, its session state.
/// Owned by Sessions. An idle one holds no buffer.
class ClientSession final : public io::Disposable,
                            public pool::PoolClient,
                            private io::TransportListener,
                            private TimeoutListener {
 public:
  ClientSession(Sessions& sessions, std::uint64_t id, std::unique_ptr<io::Transport> transport);
  ~ClientSession() override;

  std::uint64_t id() const { return id_; }
  ClientState state() const { return state_; }
  pool::Pool* pool() const { return pool_; }
  /// The server connection stays with this client between transactions.
  bool is_pinned() const;
  PinRow describe_pin() const;
  /// nullopt: it does not wait for a server connection.
  std::optional<WaitRow> describe_wait() const;
  std::uint32_t cancel_pid() const { return cancel_pid_; }
  bool has_cancel_secret(Bytes secret) const;

  /// The client asked to cancel what it runs. A queued request is answered with 57014; a running
  /// one is cancelled at its server. `listener` hears when that is over, at once if there is
  /// nothing.
  void cancel(pool::CancelListener& listener);
  /// No more transactions: 57P01 now, or when the current transaction ends. One that has not begun
  /// because it waits for a server still counts, unless `drops_waiting`.
  void drain(bool drops_waiting);
  /// 57P01 at once.
  void shut_down();
  /// As if the session had come to this error by itself.
  void fail(const Error& error);
  /// What is known of the servers of its database has changed.
  void on_cluster_changed();
  /// SUSPEND has begun or ended.
  void on_suspension_changed() { update_back_pressure(); }
  /// Something that was read is not yet with its receiver.
  bool is_unflushed() const;

  // For its ConsoleCommand.
  void send_to_console(std::string_view messages);
  ConsoleSession& console() { return *console_; }
  void on_console_command_done();
  ConnectionRow describe() const;
  /// Memory of what waits to be dealt with.
  std::size_t inbox_bytes() const { return inbox_ != nullptr ? inbox_->capacity() : 0; }

 private:
  struct Login;
  struct Pass;
  struct NamingQuery;
  enum class Step : std::uint8_t {
    forward,
    drop,
    wait,  ///< for a server, for more of the message, or for answers: tried again then
    stop,
  };
  struct UnnamedStatement {
    std::string parse;  ///< the message
    sql::ShapeRef shape;
    pool::ReadingRef reading = {};  ///< what its literals, if any, were read by
    bool is_reading_unknown = false;
    std::string_view query() const { return parse.c_str() + wire::header_bytes + 1; }
  };
  /// The message with this number changes the unnamed statement; what it was before.
  struct UnnamedChange {
    std::uint32_t number;
    std::unique_ptr<UnnamedStatement> before;
  };
  /// What the server's unnamed statement is.
  enum class UnnamedThere : std::uint8_t { strangers, none, ours };
  enum class Discard : std::uint8_t { nothing, one_message, until_sync };

  // What the world tells us.
  void on_data(Bytes bytes) override;
  void on_drained() override;
  void on_established() override;
  void on_closed(const std::string& reason) override;
  void on_timeout(Timeout& timeout) override;
  void on_reply(pool::ServerConnection& server, Bytes first, Bytes second) override;
  void on_reply_error(pool::ServerConnection& server, const wire::ErrorFields& fields) override;
  bool takes_parameter(const wire::ParameterStatus& parameter) override;
  void on_notification(pool::ServerConnection& server, Bytes body) override;
  void on_replies_done(pool::ServerConnection& server) override;
  void on_cycle_done(pool::ServerConnection& server) override;
  void on_deallocated_all(pool::ServerConnection& server) override;
  void on_described(pool::ServerConnection& server, std::uint64_t statement,
                    std::uint64_t description) override;
  void on_server_drained(pool::ServerConnection& server) override;
  void on_server_lost(pool::ServerConnection& server, const Error& error, bool was_told) override;
  void on_server_granted(pool::ServerConnection& server) override;
  void on_server_refused(const Error& error) override;

  // Login (client_login.cpp).
  void on_login_data(Bytes bytes);
  bool read_startup();
  // Encryption (client_encryption.cpp).
  bool answer_encryption_request(wire::StartupKind kind);
  bool may_use_tls() const;
  bool begins_with_tls() const;
  bool is_shaking_hands() const;
  void start_tls(Bytes received);
  void start_direct_tls();
  std::optional<Error> encryption_error() const;
  std::string tls_text() const;

  void begin_authentication();
  void decide_login();
  void begin_proof();
  void on_peer_name(std::optional<std::string> name);
  void on_secret(const io::FoundSecret& found);
  void start_authentication(const std::string* secret);
  bool read_password_message();
  void on_password_checked(std::unique_ptr<auth::ClientAuth> auth,
                           auth::ClientAuth::Outcome outcome, const std::string& out);
  void on_authentication(auth::ClientAuth::Outcome outcome, const std::string& out);
  void note_refused_login(const std::string& reason) const;
  void on_authenticated();
  void enter_console();
  bool count_client(pool::DatabaseEntry& database, pool::UserEntry& user);
  void welcome();
  pool::StateRef with_application_name(pool::StateRef state) const;
  pool::StateRef welcome_target() const;
  void finish_welcome();
  void finish_login(pool::ServerConnection* kept);
  bool keeps_server_for_good() const;
  bool has_wait_limit() const { return pool_->wait_queue().duration() > Duration::zero(); }
  std::size_t read_console(Bytes in);
  bool answer_console(char type, Bytes body);
  bool run_console_command(std::string_view text, bool is_extended);

  // Relay of the client's messages (client_relay.cpp).
  void process_inbox();
  std::size_t process(Bytes in);
  bool skip_copy_data(Pass& pass);
  bool process_one(Pass& pass);
  Step on_message(Pass& pass, const wire::Header& header, Bytes body);
  Step on_query(Bytes body, bool is_whole);
  Step on_parse(Pass& pass, Bytes message, bool is_whole);
  std::optional<Error> objection_to_parse(const sql::ShapeRef& shape, const wire::Parse& parse);
  Step on_bind(Pass& pass, const wire::Header& header, Bytes body);
  Step on_target(Pass& pass, const wire::Header& header, Bytes body);
  Step on_copy_message(char type);
  Step on_sync();
  Step ask(pool::ReplyKind kind);
  bool discard_one(Pass& pass, const wire::Header& header, std::size_t there);
  void provide_unnamed(bool is_used);
  bool is_unnamed_certain() const;
  void remember_unnamed(Bytes message, const sql::ShapeRef& shape);
  bool note_unnamed_change();
  void restore_skipped_unnamed();
  void put_in_front(std::string_view bytes);
  void flush_pass();
  void stash(Bytes bytes);
  bool may_process() const;
  Step wait_or_stop() const;
  void update_back_pressure();

  // What statements leave behind (client_residue.cpp).
  const sql::ShapeRef& shape_of(std::string_view text) const;
  bool tracks_residue() const;
  /// The message that brings a statement. A Parse runs nothing yet.
  enum class Bringer : std::uint8_t { query, parse, bind };
  std::optional<Error> admit(const sql::ShapeRef& shape, std::string_view text, Bringer bringer);
  std::optional<Error> examine(const sql::ShapeRef& shape, std::string_view text, Bringer bringer);
  void admit_unseen();
  std::optional<Error> admit_unnamed();
  void pin_for_good(std::uint64_t fingerprint = 0);
  bool may_pin_for_literals() const;
  std::optional<Error> objection(const sql::Shape& shape, sql::ResidueSet leaves);
  std::optional<Error> objection_to_sequence_state(const sql::Shape& shape);
  bool is_cap_reached() const;
  bool keeps_draws() const;
  void note_code(const sql::ShapeRef& shape);
  void note_resets(const sql::Facts& facts);
  void note_names(std::vector<std::string> names);
  void note_values(Bytes part);
  bool take_constant(const sql::Shape& shape, std::string_view text, Bringer bringer);
  void demote_constant();
  void apply_constant();
  void note_residue(sql::ResidueSet leaves, std::uint64_t fingerprint);
  bool has_own_names() const;
  void note_own_query();
  void forget_sequences();
  SessionTraces& traces();
  void pin(sql::ResidueSet reasons, std::uint64_t fingerprint);
  void unpin();
  void drop_traces();
  bool restore_startup_settings();
  void announce_restored();
  bool is_to_be_restored(const pool::Setting& setting) const;
  void forget_failed_resets(std::uint32_t oldest);
  bool is_held_back() const;
  /// A message is half sent to the server: nothing of ours may come between.
  bool is_mid_message() const { return body_left_ > 0 && !drop_body_; }
  void hold_back_behind_reset();
  bool ask_what_is_left();
  void on_answer();
  bool needs_another_question(const pool::SessionTruth& truth);
  pool::StateRef state_from(const pool::SessionTruth& truth) const;
  void learn_from(const pool::SessionTruth& truth, bool is_clean);
  void refuse(pool::ReplyKind kind, const Error& error);
  // Named statements (client_prepared.cpp).
  bool maps_names() const;
  bool is_name_certain(std::string_view name) const;
  Step on_named_parse(Pass& pass, Bytes message, const wire::Parse& parse);
  bool answer_parse(std::string_view name, Bytes message);
  Step on_own_parse(std::string_view name);
  Step on_named_bind(Pass& pass, const wire::Header& header, const wire::BindNames& names);
  Step on_named_describe(Pass& pass, std::string_view name);
  Step on_named_close(std::string_view name);
  PreparedStatements& prepared();
  bool may_answer() const;
  void put_close(std::string_view name);
  void make_room(const pool::StatementRef& statement, bool is_there);
  void provide(const pool::StatementRef& statement);
  void put_parse(const pool::StatementRef& statement, bool is_there);
  Step hold_to_description(std::string_view name, const pool::StatementRef& statement,
                           std::uint64_t told, pool::ReplyKind kind);
  pool::ReplyKind portal_describe(std::string_view portal);
  void refuse_outdated(const pool::StatementRef& statement, pool::ReplyKind kind);
  void put_own(std::string_view name, std::string_view definition, const pool::ReadingRef& reading);
  void make_duplicate(std::string_view name);
  void let_be_unknown(std::string_view name);
  void on_statement_error(pool::ServerConnection& server, const wire::ErrorFields& fields);
  void keep_cycle(const Pass& pass);
  bool may_run_again(pool::ServerConnection& server, const pool::Statement& statement) const;
  void run_again();

  // What their literals mean (client_literals.cpp).
  enum class Recovery : std::uint8_t { none, by_value, by_savepoint, impossible };
  /// Whether the server is in a transaction block when what is sent now comes to it.
  enum class Block : std::uint8_t {
    as_told,         ///< by its last ReadyForQuery
    goes_on,         ///< SAVEPOINT, RELEASE, ROLLBACK TO were sent since
    may_have_ended,  ///< COMMIT or ROLLBACK were
  };
  void note_doubt(const sql::Facts& facts, sql::ResidueSet leaves, std::string_view text,
                  Bringer bringer);
  void note_transaction_control(const sql::Facts& facts, std::string_view text);
  void note_execute();
  void doubt_everything();
  void doubt_literals();
  void settle_doubt();
  void end_doubt();
  void forget_doubt();
  void doubt_reset();
  pool::ReadingRef server_reading() const;
  pool::ReadingRef current_reading() const;
  void read_once_more(std::string_view name, std::uint64_t statement_number);
  pool::ReadingRef reading_now(std::string_view text);
  bool is_reading_certain(std::string_view text);
  Recovery recovery_of(const pool::ReadingRef& reading);
  bool is_recovery_certain(const pool::ReadingRef& reading);
  std::optional<Error> objection_to_reading(const pool::ReadingRef& reading);
  bool is_there(const pool::Statement& statement);
  bool is_provision_certain(const pool::Statement& statement);
  std::optional<Error> objection_to_provision(const pool::Statement& statement);
  bool is_unnamed_provision_certain();
  std::optional<Error> objection_to_unnamed();
  pool::ReadingRef unnamed_reading() const;
  void remember_reading(UnnamedStatement& statement);
  pool::StatementRef as_of_now(std::string_view name, pool::StatementRef statement);
  void note_reading(std::string_view name, const pool::Statement& statement);
  Recovery begin_reading(const pool::ReadingRef& reading);
  void end_reading(Recovery recovery, const pool::ReadingRef& reading);
  void put_own_statement(std::string_view text);

  // SQL that names prepared statements (client_sql_names.cpp).
  static bool names_prepared(const sql::Facts& facts);
  Step name_in_query(const sql::Facts& facts, std::string_view text);
  void note_sql_prepare();
  bool may_have_sql_statements() const;
  Step name_as_asked(NamingQuery& naming);
  Step name_one(NamingQuery& naming);
  Step name_all(NamingQuery& naming);
  bool only_deallocates(const sql::Facts& facts, std::string_view text) const;
  bool unnamed_deallocates() const;
  void bind_deallocation(std::string_view text);
  void end_binding(bool is_executed);
  std::optional<Error> name_in_parse(const sql::Facts& facts, std::string_view text);
  std::optional<Error> objection_to_names(std::string_view only = {});
  bool make_names_own();
  bool are_names_certain(const sql::ShapeRef& shape) const;
  bool may_name(const sql::ShapeRef& shape) const;
  std::optional<Error> name_in_bind(const sql::ShapeRef& shape, std::string_view text);
  void clear_server();
  void put_sync();
  void note_naming_error(pool::ServerConnection& server);
  void settle_naming(pool::ServerConnection& server);
  bool finish_naming();

  // Which server a transaction goes to (client_routing.cpp).
  void begin_routing();
  struct Beginning;
  bool choose_target(Pass& pass, const wire::Header& header, Bytes body);
  Beginning read_beginning(const Pass& pass, const wire::Header& header, Bytes body) const;
  bool find_replica();
  bool needs_fence() const;
  std::optional<route::WalPosition> fence();
  bool is_on_replica() const { return target_ != pool_; }
  bool refuses_primary();
  void count_undecided();
  void keep_for_primary(Pass& pass);
  bool hold_reply(Bytes first, Bytes second);
  bool may_run_on_primary(pool::ServerConnection& server) const;
  void note_replica_error(pool::ServerConnection& server, const wire::ErrorFields& fields);
  void take_back(Bytes cycle);
  void run_on_primary();
  bool may_write_unseen(const sql::Shape& shape) const;
  void look_again();
  Error no_replica_error() const;
  bool is_kept_out() const;
  static Error objection_on_replica(bool is_lock);
  bool is_behind_end(char type) const;
  void end_cycle_early();
  void note_early_end();
  void note_write_end();
  bool refuse_waiting(const Error& error);
  pool::StateRef as_on_replica(const pool::SessionState& model, pool::StateRef state) const;

  // Its loss (client_loss.cpp).
  bool survives_loss(pool::ServerConnection& server) const;
  void outlive(pool::ServerConnection& server, const Error& error);
  std::string former_settings(const pool::SessionState& there) const;
  void answer_for(pool::ServerConnection& server, const Error& told);
  void forget_transaction(pool::ServerConnection& server);
  void go_on_later();
  void tell_loss();
  void note_block(const sql::Facts& facts);
  bool goes_on_after_loss(const Pass& pass, const wire::Header& header, Bytes body);
  wire::TransactionStatus status_without_server() const;

  // Server connection: getting, keeping, giving back (client_session.cpp).
  bool attach();
  bool take(pool::ServerConnection& server);
  bool replay(const pool::StateRef& wanted);
  void finish_replay();
  void start_cycle();
  // Statistics (client_statistics.cpp).
  void note_statement(const sql::ShapeRef& shape);
  void on_command(std::string_view tag) override;
  void pause_server(pool::ServerConnection& server);
  void resume_server();
  void note_cycle_end(TimePoint now);
  void note_slow_query(Duration execution, Duration replay);

  bool is_between_transactions() const;
  void wait_in_transaction(TimePoint now);
  bool warn_of_leak();
  void release_if_possible();
  void detach();
  void give_up_server(pool::ServerConnection& server);

  void send(std::string_view bytes) { transport_->write(as_bytes(bytes)); }
  void leave(std::string_view reason);
  void close(std::string_view reason, const Error* error, bool gracefully);
  void note_error(const Error& error);
  log::Subject subject() const;
  std::string_view state_word() const;

  Sessions& sessions_;
  std::uint64_t id_;
  std::unique_ptr<io::Transport> transport_;
  std::unique_ptr<Login> login_;                     ///< until logged in
  std::unique_ptr<std::string> inbox_;               ///< bytes that could not be dealt with yet
  std::unique_ptr<ConsoleCommand> console_command_;  ///< that it waits for; none: nullptr
  std::unique_ptr<UnnamedStatement> unnamed_;
  std::unique_ptr<std::vector<UnnamedChange>> unnamed_changes_;  ///< that may yet be skipped
  std::unique_ptr<PreparedStatements> prepared_;                 ///< none: nullptr
  std::unique_ptr<NamingQuery> naming_;                          ///< none: nullptr
  /// What the client sent since the Bind that began this cycle, as long as it may be run again.
  std::unique_ptr<std::string> cycle_copy_;
  std::unique_ptr<ConsoleSession> console_;  ///< of a console: extended protocol; none: nullptr
  Pass* pass_ = nullptr;                     ///< while process() runs
  pool::Pool* pool_ = nullptr;
  pool::Pool* target_ = nullptr;  ///< whose server it has, waits for, or will ask for next
  std::unique_ptr<SessionRouting> routing_;  ///< nullptr: all servers are alike
  pool::UserEntry* user_ = nullptr;          ///< whom the client logged in as
  pool::ServerConnection* server_ = nullptr;
  pool::StateRef session_state_;
  pool::StateRef startup_state_;  ///< what RESET goes back to
  Workload* workload_ = nullptr;
  std::unique_ptr<SessionTraces> traces_;  ///< null: nothing may be left on the server
  /// The last Bind: number of its statement, when the client was not told what that returns, else
  /// 0; and the name of its portal, hashed.
  std::uint64_t bound_statement_ = 0;
  std::size_t bound_portal_ = 0;
  std::uint32_t cancel_pid_ = 0;
  std::uint32_t cancel_secret_ = 0;
  std::uint32_t unnamed_number_ = 0;   ///< of the message that made the server's unnamed one ours
  std::uint32_t cycle_bind_ = 0;       ///< number of the Bind that cycle_copy_ begins with
  std::uint32_t describe_number_ = 0;  ///< of the Describe of ours that a message waits for
  std::uint32_t doubt_number_ = 0;     ///< of the last message for which literals are in doubt
  std::uint32_t cycle_from_ = 0;       ///< number of what comes behind the last Query or Sync sent
  std::uint32_t body_left_ = 0;        ///< of the client's current message, still to come
  ClientState state_ = ClientState::startup;
  Discard discard_ = Discard::nothing;
  ConsoleAccess console_access_ = ConsoleAccess::stats;  ///< of a console
  UnnamedThere unnamed_there_ = UnnamedThere::strangers;
  Block block_ = Block::as_told;
  bool is_counted_ : 1 = false;  ///< in Sessions::counted_clients
  bool drop_body_ : 1 = false;   ///< the rest of the current message is not forwarded
  bool in_cycle_ : 1 = false;    ///< something was sent that is not fully answered
  bool is_paused_ : 1 = false;   ///< the client is not read
  bool is_draining_ : 1 = false;
  bool maps_names_ : 1 = false;
  bool is_kept_ : 1 = false;         ///< cycle_copy_ is complete so far
  bool is_describing_ : 1 = false;   ///< describe_number_ is set
  bool is_rerun_due_ : 1 = false;    ///< the cycle failed and is to be run again
  bool names_in_doubt_ : 1 = false;  ///< something was sent that may deallocate
  /// SQL of the client names statements on this server, which stays: it prepares under its own
  /// names.
  bool names_pass_ : 1 = false;
  bool has_terminated_ : 1 = false;     ///< left by Terminate: what it asked for still counts
  bool waits_for_restore_ : 1 = false;  ///< behind a RESET: what follows needs what it goes back to
  bool has_server_error_ : 1 = false;   ///< the replay failed
  bool must_scrub_ : 1 = false;         ///< code ran here that is not known to be clean
  bool settings_in_doubt_ : 1 = false;  ///< the transaction may have changed some
  // Likewise, what the server reports of settings that literals are read by is still to come; or it
  // does not report it; or it may be search_path.
  bool literals_in_doubt_ : 1 = false;
  bool unreported_in_doubt_ : 1 = false;
  bool path_in_doubt_ : 1 = false;
  bool is_path_another_ : 1 = false;     ///< what changed it named it
  bool is_reset_sent_ : 1 = false;       ///< a RESET ALL is the last change of what is not reported
  bool is_at_startup_ : 1 = false;       ///< likewise, and it is done: settings are as at startup
  bool is_reading_changed_ : 1 = false;  ///< this transaction may have changed what it is read by
  bool is_doubt_bound_ : 1 = false;      ///< what set literals_in_doubt_ is perhaps only bound
  bool changes_code_ : 1 = false;        ///< the transaction may have
  bool may_have_written_ : 1 = false;    ///< likewise
  bool has_drawn_ : 1 = false;           ///< from a sequence, since it has this server
  bool is_leak_known_ : 1 = false;       ///< leak_warning has come in this transaction
  CycleStatistics cycle_;
  WallTime connect_time_{};
  TimePoint request_at_{};
  TimePoint attached_at_{};
  TimePoint transaction_at_{};          ///< start of the current or last one
  std::uint64_t last_fingerprint_ = 0;  ///< of the last statement; 0: it was not looked at
  Timeout timer_;                       ///< the one that the state asks for
  Timeout transaction_timer_;
};

}  // namespace pgproxy::session
