#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "network.hpp"
#include "postgres.hpp"

namespace pgproxy::sim {

/// Builds messages and, beside them, what PostgreSQL answers: one token per message, as "1",
/// "D:text", "C:SELECT 1", "E:22012", "Z:I". Knows the transaction status that they lead to.
class Script {
 public:
  explicit Script(unsigned client) : client_(client) {}
  std::string bytes;
  std::vector<std::string> replies;
  char status = 'I';

  std::string tag() { return "c" + std::to_string(client_) + "." + std::to_string(++number_); }
  /// Where the next statement's tag counts from.
  void go_on_from(unsigned number) { number_ = number; }
  unsigned number() const { return number_; }

  void query(const std::string& text, std::vector<std::string> answers);
  void select();
  void failing_query();
  void begin();
  void end(bool commits);
  /// Parse (unless `text` is empty: the unnamed statement is there already), Bind, Describe,
  /// Execute.
  void extended(const std::string& text, std::vector<std::string> answers, bool parses = true);
  /// Messages of the extended protocol for the statement called `name`, with their answers.
  void parse(const std::string& name, const std::string& text, const char* error = nullptr);
  void describe(const std::string& name, const std::string& text);
  /// `describes`: the portal, in between.
  void bind_and_execute(const std::string& name, const std::string& text,
                        std::vector<std::string> answers, bool describes = true);
  /// A Bind that fails, whatever the transaction is.
  void failing_bind(const std::string& name, const std::string& sqlstate);
  void close(const std::string& name);
  /// The answer is an ErrorResponse.
  void fail(const std::string& sqlstate);
  void sync();
  void message(char type, std::string_view body = {});
  void expect(std::initializer_list<const char*> tokens);
  /// An error came: what follows up to the Sync goes unanswered.
  bool is_skipping = false;

 private:
  void put_bind(const std::string& name, const std::string& parameter);
  unsigned client_;
  unsigned number_ = 0;
};

/// The error with which pgproxy refuses a transaction that it has no server for.
bool is_refusal(std::string_view token);

/// A client of pgproxy: sends what it is told, checks each reply against what it expects.
class Client final : public Peer {
 public:
  Client(std::shared_ptr<Link> link, unsigned number, std::function<void(std::string)> violation);
  ~Client() { link_->set_peer(nullptr); }

  unsigned number() const { return number_; }
  void start(const std::string& user, const std::string& database, const NameMap& settings);
  /// Sends the script and expects its replies.
  void play(const Script& script);
  void send(std::string_view bytes) { link_->send(bytes); }
  void expect(std::vector<std::string> tokens);
  /// Instead of what is expected up to the next ReadyForQuery, 57014 may come.
  void allow_cancel(bool is_allowed) { may_be_cancelled_ = is_allowed; }
  /// What comes up to the next ReadyForQuery is not looked at but kept.
  void collect() {
    collected_.clear();
    is_collecting_ = true;
  }
  const std::vector<std::string>& collected() const { return collected_; }
  /// Leaves without a word, whatever is under way.
  void vanish(bool by_reset = false);
  void terminate();
  Link& link() { return *link_; }

  bool is_logged_in() const { return is_logged_in_; }
  bool is_closed() const { return is_closed_; }
  /// Everything that was expected has come.
  bool is_content() const { return expected_.empty() && !is_collecting_; }
  /// pgproxy may end the connection with a FATAL, or by closing it, at any time.
  bool may_lose_connection = false;
  /// There may be no server for it: it leaves when it is told so.
  bool may_be_refused = false;
  /// What it gets is not looked at.
  bool is_hostile = false;
  const std::vector<std::string>& received() const { return received_; }
  std::string received_text() const;
  const NameMap& parameters() const { return parameters_; }
  std::string_view fatal() const { return fatal_; }
  char status() const { return status_; }
  std::uint32_t pid() const { return pid_; }
  const std::string& secret() const { return secret_; }
  std::size_t rows() const;

  void on_bytes(std::string_view bytes) override;
  void on_end() override;

 private:
  void on_message(char type, std::string_view body);
  void on_token(const std::string& token);

  std::shared_ptr<Link> link_;
  unsigned number_;
  std::function<void(std::string)> violation_;
  std::string input_;
  std::deque<std::string> expected_;
  std::vector<std::string> received_;
  std::vector<std::string> collected_;
  NameMap parameters_;
  std::string fatal_;
  std::string secret_;
  std::uint32_t pid_ = 0;
  char status_ = 'I';
  bool is_logged_in_ = false;
  bool is_closed_ = false;
  bool may_be_cancelled_ = false;
  bool is_collecting_ = false;
};

}  // namespace pgproxy::sim
