#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/base/log.hpp"
#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/io/loop.hpp"
#include "pgproxy/pool/capacity.hpp"
#include "pgproxy/pool/expected_replies.hpp"
#include "pgproxy/pool/reply_owner.hpp"
#include "pgproxy/pool/session_question.hpp"
#include "pgproxy/pool/session_state.hpp"
#include "pgproxy/pool/statements.hpp"

namespace pgproxy::pool {

class Cancellation;
class Pool;
class ServerHost;
class ServerLogin;
class ServerTask;

/// Of a login to a server that turned out not to be the primary.
inline constexpr std::string_view not_primary_sqlstate = "55000";

//  connecting -> authenticating -> preparing -> idle <-> active -> resetting -> idle
//                                               idle <-> testing;   any -> closing
enum class ServerState : std::uint8_t {
  connecting,
  authenticating,
  preparing,  ///< init_statements and connect_query run
  idle,
  active,     ///< held by a client
  testing,    ///< server_check_query runs
  resetting,  ///< what a client left behind is being removed
  closing,
};
std::string_view to_string(ServerState state);

/// One connection to a PostgreSQL server: logs in, relays what its holder sends, and gives each
/// reply to the owner that asked for it. Owned by its Pool; lives on the pool's loop.
class ServerConnection final : public io::Disposable,
                               public ListHook<ServerConnection>,
                               private io::TransportListener,
                               private io::ConnectListener,
                               private TimeoutListener {
 public:
  /// `is_attempt`: of the recovery of `host`, which hears how it ended.
  ServerConnection(Pool& pool, std::uint64_t id, Permit permit, ServerHost& host, bool is_attempt);
  ~ServerConnection() override;

  std::uint64_t id() const { return id_; }
  Pool& pool() { return pool_; }
  ServerState state() const { return state_; }

  // For the holder.

  /// Records that `owner` will be answered; call it for each message before send().
  void expect(ReplyOwner& owner, ReplyKind kind) { expected_.sent(owner, kind); }
  /// As expect(), for something that is sent in place of a client's message and surely fails: its
  /// ErrorResponse is replaced by `error`, so that transactions and pipelines go on as after any
  /// error.
  void expect_refused(ReplyOwner& owner, ReplyKind kind, const Error& error);
  /// Gives out the answers of ours whose turn it is (ReplyKind::local_parse, local_close), which
  /// otherwise go with the server's next reply: for a Flush.
  void answer_locals();
  /// Within on_reply_error: the message's body, and what its owner gets instead of the whole
  /// message;
  /// "": nothing.
  Bytes error_body() const { return error_body_; }
  void replace_error(std::string message) { instead_of_error_ = std::move(message); }
  void send(Bytes first, Bytes second = {});
  /// What SCRAM-SHA-256-PLUS binds to (RFC 5929, tls-server-end-point); empty: no TLS.
  std::string channel_binding() const;
  /// Sends a Query of `owner`'s own making.
  void query(ReplyOwner& owner, std::string_view sql);
  std::size_t queued_bytes() const { return transport_ ? transport_->queued_bytes() : 0; }
  void pause_reading();
  void resume_reading();
  ExpectedReplies& expected() { return expected_; }
  wire::TransactionStatus transaction_status() const { return status_; }
  /// True when the server may go to someone else: nothing outstanding, no transaction, no cancel
  /// under way, every count certain, and no residue.
  bool is_releasable();
  /// Nothing runs and nothing is on its way: the session may be asked what it holds.
  bool is_settled();

  /// Something was sent that may stay behind in the session. `is_hidden`: no question can show it.
  /// Only settle(), or DISCARD ALL and a clean answer, undo it.
  void note_residue(bool is_hidden) {
    residue_ = std::max(residue_, is_hidden ? Residue::hidden : Residue::possible);
  }
  bool may_have_residue() const { return residue_ != Residue::none; }
  bool has_hidden_residue() const { return residue_ == Residue::hidden; }
  /// Asks the session what it holds; the holder hears on_replies_done when it has answered.
  void ask_session(QuestionScope scope);
  bool is_asked() const { return question_ != nullptr; }
  /// The answer; nullopt: none that can be trusted.
  std::optional<SessionTruth> take_answer();
  /// The session holds `state` and nothing else, as a question told.
  void settle(StateRef state);
  /// The statements of clients that it has parsed.
  ServerStatements& statements();
  bool has_statements() const { return statements_ != nullptr && !statements_->empty(); }
  std::size_t statement_count() const { return statements_ != nullptr ? statements_->size() : 0; }
  /// There may be an unnamed statement of some client.
  bool may_have_unnamed() const { return may_have_unnamed_; }
  void set_may_have_unnamed(bool may) { may_have_unnamed_ = may; }
  const StateRef& session_state() const { return session_state_; }
  void set_session_state(StateRef state) { session_state_ = std::move(state); }
  std::uint32_t backend_pid() const { return backend_pid_; }
  /// How long connecting and logging in took; zero when asked again.
  Duration take_login_time() { return std::exchange(login_time_, Duration::zero()); }
  /// A message is half handed on: nothing else may be written to its owner's client.
  bool is_mid_message() const { return body_left_ > 0 && !drop_body_; }

  /// Sends a CancelRequest for what runs now, unless one is on its way already; `listener`
  /// (optional) hears when PostgreSQL is done with it. The server is not releasable until then.
  void cancel_running(CancelListener* listener);
  bool has_cancel_in_flight() const { return cancellation_ != nullptr; }

  // For the pool.

  ServerHost& host() const { return host_; }
  bool is_attempt() const { return is_attempt_; }
  /// Whether anything has come from the server since mark_progress().
  void mark_progress() { reads_at_mark_ = reads_; }
  bool has_progressed() const { return reads_ != reads_at_mark_; }
  /// Its server is not to be trusted any more: the holder hears `error`, and it is closed.
  void give_up(const Error& error) { lost(error); }
  void start();
  /// Moves between idle and active; `holder` hears about replies, nullptr for nobody.
  void set_holder(ReplyOwner* holder);
  ReplyOwner* holder() const { return holder_; }
  void go_idle(TimePoint now);
  TimePoint idle_since() const { return since_; }
  /// Runs `query` as server_check_query does; the pool hears the end.
  void run_check(const std::string& query);
  /// Cancels or drains what the client left running, rolls back, runs `reset_query` (DISCARD ALL).
  void run_reset(const std::string& reset_query, bool cancel_what_runs);
  /// Closes the socket and frees the permit. The object itself is the pool's to dispose of.
  void close(std::string_view reason);
  bool is_expired() const { return is_expired_; }
  /// RECONNECT: it is closed as soon as nobody uses it.
  /// Of an idle one: server_idle_timeout counts from now.
  void restart_idle_timeout();
  /// A limit was lowered, and this one is beyond it.
  bool is_in_excess() const { return permit_ && permit_->is_in_excess(); }
  void mark_outdated() { is_outdated_ = true; }
  bool is_outdated() const { return is_outdated_; }
  /// Nothing is read from it, or what its holder lets through again.
  void set_suspended(bool is_suspended);

  ConnectionRow describe() const;
  log::Subject subject() const;

 private:
  friend class Cancellation;
  friend class ServerLogin;
  friend class ServerTask;

  void on_connected(std::unique_ptr<io::Transport> transport) override;
  void on_connect_failed(const Error& error) override;
  void on_data(Bytes bytes) override;
  void on_drained() override;
  void on_closed(const std::string& reason) override;
  void on_timeout(Timeout& timeout) override;

  void move_to(ServerState next);
  void on_login_done(StateRef reported, std::uint32_t pid, Bytes secret);
  void on_login_failed(const Error& error);
  void on_task_done(bool ok);
  void start_cancelling();
  void stop_cancelling();
  void on_cancel_finished();
  void run_task(std::vector<std::string> queries, const ReplyOwner* client);
  std::vector<std::string> preparing_queries() const;
  StateRef as_told_to_clients(StateRef reported) const;
  std::string role_check() const;
  std::string verification() const;
  void notify_quiet();
  bool ask_again();

  // Reading replies (server_replies.cpp).
  struct ReadPass;
  void read_replies(Bytes in);
  bool skip_rows(ReadPass& pass);
  bool read_message(ReadPass& pass);
  bool complete_held(ReadPass& pass);
  bool must_be_whole(const wire::Header& header);
  void note_description(const wire::Header& header, Bytes body);
  bool hand_on(ReadPass& pass, const wire::Header& header, Bytes body, std::size_t there);
  void give_locals(ReadPass& pass);
  ReplyVerdict judge(char type, Bytes body);
  void judge_command(Bytes body);
  void refuse(const wire::ErrorFields& fields);
  bool is_refused();
  ReplyVerdict judge_error(Bytes body);
  ReplyVerdict judge_parameter(Bytes body);
  void in_doubt(char type);
  void lost(const Error& error);

  enum class Residue : std::uint8_t { none, possible, hidden };

  Pool& pool_;
  std::uint64_t id_;
  std::optional<Permit> permit_;
  ServerHost& host_;
  const io::ServerAddress address_;
  ServerState state_ = ServerState::connecting;
  wire::TransactionStatus status_ = wire::TransactionStatus::idle;
  Residue residue_ = Residue::none;
  std::uint8_t question_count_ = 0;   ///< how often the one at hand was asked
  bool needs_connect_query_ = false;  ///< behind the reset that runs
  bool is_expired_ = false;           ///< server_lifetime is over: close it when released
  bool is_outdated_ = false;
  bool is_suspended_ = false;
  bool fatal_forwarded_ = false;
  bool quiet_due_ = false;     ///< a ReadyForQuery came: tell when the read is dealt with
  bool progress_due_ = false;  ///< a message may wait for what was answered: likewise
  bool is_paused_ = false;     ///< not read, because the holder does not keep up
  bool may_have_unnamed_ = false;
  const bool is_attempt_;
  bool drop_body_ = false;       ///< the rest of the current message is not handed on
  std::uint32_t body_left_ = 0;  ///< bytes of the current message still to come
  std::uint32_t backend_pid_ = 0;
  std::uint32_t reads_ = 0;  ///< wraps around
  std::uint32_t reads_at_mark_ = 0;
  std::uint64_t cycle_ = 0;  ///< counts the times that everything was answered
  ReplyOwner* holder_ = nullptr;
  ReplyOwner* body_owner_ = nullptr;
  ExpectedReplies expected_;
  StateRef session_state_;
  std::string held_;  ///< front of a message that cannot be judged yet
  std::string backend_secret_;
  Error last_error_;
  Bytes error_body_;  ///< during on_reply_error
  std::optional<std::string> instead_of_error_;
  std::unique_ptr<ServerStatements> statements_;
  /// The error that message `number` is answered with.
  struct Refusal {
    std::uint32_t number;
    Error error;
  };
  std::unique_ptr<std::vector<Refusal>> refusals_;  ///< none: nullptr
  TimePoint since_{};                               ///< idle or active since
  WallTime connect_time_{};
  Duration login_time_{};
  std::unique_ptr<io::ConnectAttempt> attempt_;
  std::unique_ptr<io::Transport> transport_;
  std::unique_ptr<ServerLogin> login_;
  std::unique_ptr<ServerTask> task_;
  std::unique_ptr<SessionQuestion> question_;
  std::unique_ptr<Cancellation> cancellation_;
  Timeout deadline_;  ///< of connect, login, check, reset or question
  Timeout idle_timeout_;
  Timeout lifetime_;
  std::array<char, 16> recent_types_{};  ///< the last message types, for the log of a doubt
  std::size_t recent_count_ = 0;
};

}  // namespace pgproxy::pool
