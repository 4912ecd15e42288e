// ClientSession as a user of the console.
#include "session/client_login.hpp"
#include "session/console_command.hpp"
#include "session/console_session.hpp"

#include "pgproxy/session/sessions.hpp"
#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::session {

void ConsoleCommand::on_command_notice(std::string_view text) {
  std::string out;
  wire::put_error(out, wire::Severity::notice, {.sqlstate = "00000", .message = std::string(text)});
  session_.send_to_console(out);
}

void ConsoleCommand::on_command_done(const Result<std::string_view>& tag) {
  is_done_ = true;
  std::string out;
  if (is_extended_) {
    session_.console().end_command(tag, out);
  } else {
    if (tag) {
      wire::put_command_complete(out, *tag);
    } else {
      wire::put_error(out, wire::Severity::error, tag.error());
    }
    wire::put_ready_for_query(out, wire::TransactionStatus::idle);
  }
  session_.send_to_console(out);
  session_.on_console_command_done();
}

void ClientSession::send_to_console(std::string_view messages) {
  if (state_ == ClientState::console) send(messages);
}

/// What came while it waited is next.
void ClientSession::on_console_command_done() {
  if (console_command_ == nullptr) return;                      // at once: read_console() goes on
  sessions_.loop().destroy_later(std::move(console_command_));  // it is on the stack
  process_inbox();
}

/// True: `text` is a command that changes something, and its answer is sent, or comes.
bool ClientSession::run_console_command(std::string_view text, bool is_extended) {
  auto command = std::make_unique<ConsoleCommand>(*this, is_extended);
  const std::string user = login_->startup.user;
  const std::string asked_by = fmt::format("C-{:#x} {}@{}", id_, user, transport_->peer().text());
  if (!sessions_.console().command(text, console_access_, asked_by, *command)) return false;
  if (state_ == ClientState::console && !command->is_done()) {
    console_command_ = std::move(command);
  } else {
    sessions_.loop().destroy_later(std::move(command));
  }
  return true;
}

}  // namespace pgproxy::session
