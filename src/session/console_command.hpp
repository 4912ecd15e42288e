#pragma once

#include "pgproxy/base/commands.hpp"
#include "pgproxy/io/loop.hpp"

namespace pgproxy::session {

class ClientSession;

/// A command that a console session gave: hands its answer to the session. Owned by it; gone with
/// it, while the command goes on.
class ConsoleCommand final : public io::Disposable, public CommandListener {
 public:
  /// `is_extended`: it was given by an Execute.
  ConsoleCommand(ClientSession& session, bool is_extended)
      : session_(session), is_extended_(is_extended) {}
  bool is_done() const { return is_done_; }

 private:
  void on_command_notice(std::string_view text) override;
  void on_command_done(const Result<std::string_view>& tag) override;

  ClientSession& session_;
  const bool is_extended_;
  bool is_done_ = false;
};

}  // namespace pgproxy::session
