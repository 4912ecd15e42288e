#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/base/bytes.hpp"
#include "pgproxy/base/result.hpp"
#include "pgproxy/session/console_target.hpp"

namespace pgproxy::session {

/// The extended query protocol in front of a console, which itself knows only texts and their
/// answers: statements and portals are kept here, parameters put into the text, the messages of the
/// answer given out as Describe and Execute ask for them (PostgreSQL docs 55.2.3). One per client
/// that uses it; what it keeps is bounded. A portal lives until Sync, as outside of transactions.
class ConsoleSession {
 public:
  ConsoleSession(ConsoleTarget& target, ConsoleAccess access) : target_(target), access_(access) {}

  /// Deals with a Parse, Bind, Describe, Execute, Close, Sync or Flush; appends the answer to
  /// `out`. False: it is none of these, or its body is broken.
  bool on_message(char type, Bytes body, std::string& out);
  /// The text that this Execute is about; nullptr: nothing is to be run for it. If that is a
  /// command which changes something, it is run elsewhere and end_command() ends the Execute;
  /// else on_message() takes it.
  const std::string* begin_command(Bytes execute_body);
  void end_command(const Result<std::string_view>& tag, std::string& out);
  /// A Query was answered: the unnamed statement is gone, and every portal.
  void forget_unnamed() {
    statements_.erase("");
    portals_.clear();
  }
  /// Everything up to Sync goes unanswered, because of an error.
  bool is_skipping() const { return is_skipping_; }

 private:
  struct Statement {
    std::string text;
    std::vector<std::uint32_t> types;  ///< oids of its parameters
  };
  struct Portal {
    std::string text;  ///< parameters put in
    std::vector<std::uint16_t> formats;
    bool has_run = false;
    std::vector<std::string> rows;  ///< DataRow messages, not sent yet; the next one last
    std::string end;                ///< the message behind the last row
  };

  bool parse(Bytes body, std::string& out);
  bool bind(Bytes body, std::string& out);
  bool describe(Bytes body, std::string& out);
  bool execute(Bytes body, std::string& out);
  bool close(Bytes body, std::string& out);
  void describe_statement(const Statement& statement, std::string& out);
  void describe_portal(const Portal& portal, std::string& out);
  bool run(Portal& portal, std::string& out);
  void fail(std::string& out, const Error& error);

  ConsoleTarget& target_;
  ConsoleAccess access_;
  std::map<std::string, Statement, std::less<>> statements_;
  std::map<std::string, Portal, std::less<>> portals_;
  std::string command_portal_;  ///< of begin_command()
  bool is_skipping_ = false;
};

}  // namespace pgproxy::session
