#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "admin/no_rows.hpp"
#include "session/console_session.hpp"

#include "pgproxy/admin/commands.hpp"
#include "pgproxy/admin/console.hpp"
#include "pgproxy/base/assert.hpp"
#include "pgproxy/wire/message.hpp"

namespace {

using namespace pgproxy;

/// Carries out nothing, at once.
class NoOperations final : public CommandTarget {
 public:
  void run(const Command& command, CommandListener& listener) override {
    listener.on_command_done(to_string(command.kind));
  }
  void cancel(CommandListener&) override {}
};

/// Puts the end of a command into the answer of `session`.
class Listener final : public CommandListener {
 public:
  Listener(session::ConsoleSession& session, std::string& out) : session_(session), out_(out) {}
  void on_command_notice(std::string_view) override {}
  void on_command_done(const Result<std::string_view>& tag) override {
    session_.end_command(tag, out_);
  }

 private:
  session::ConsoleSession& session_;
  std::string& out_;
};

/// A console that knows of nothing.
class EmptyConsole final : public session::ConsoleTarget {
 public:
  void execute(std::string_view text, session::ConsoleAccess, std::string& out) override {
    console_.execute(text, false, out);
  }
  void describe(std::string_view text, session::ConsoleAccess, std::string& out) override {
    console_.describe(text, false, out);
  }
  bool command(std::string_view text, session::ConsoleAccess, std::string_view asked_by,
               CommandListener& listener) override {
    return commands_.execute(text, true, asked_by, listener);
  }
  void cancel_command(CommandListener&) override {}
  std::vector<std::pair<std::string, std::string>> parameters() const override { return {}; }

 private:
  admin::NoRows source_;
  config::Loaded loaded_;
  admin::Console console_{source_, loaded_};
  NoOperations operations_;
  admin::Commands commands_{operations_};
};

/// As a client's session has a message answered.
bool answer(EmptyConsole& console, session::ConsoleSession& session, char type, Bytes body,
            std::string& out) {
  const std::string* text = type == 'E' ? session.begin_command(body) : nullptr;
  Listener listener(session, out);
  if (text != nullptr &&
      console.command(std::string(*text), session::ConsoleAccess::stats, "", listener)) {
    return true;
  }
  return session.on_message(type, body, out);
}

/// Counts the messages with this type in an answer, which is made of whole messages.
std::size_t count(Bytes answer, char type) {
  std::size_t found = 0;
  wire::Header header;
  while (!answer.empty()) {
    PGPROXY_ASSERT(wire::parse_header(answer, header) == wire::HeaderStatus::complete);
    PGPROXY_ASSERT(header.total_bytes() <= answer.size());
    found += header.type == type ? 1 : 0;
    answer = answer.subspan(header.total_bytes());
  }
  return found;
}

}  // namespace

/// Whatever a client sends, and whatever text it asks: whole messages come back, and one
/// ReadyForQuery for each Query or Sync.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes input(data, size);
  EmptyConsole console;
  std::string shown;
  console.execute(as_text(input), session::ConsoleAccess::stats, shown);
  PGPROXY_ASSERT(count(as_bytes(shown), 'Z') == 1);

  session::ConsoleSession session(console, session::ConsoleAccess::stats);
  Bytes rest = input;
  wire::Header header;
  while (wire::parse_header(rest, header) == wire::HeaderStatus::complete &&
         header.total_bytes() <= rest.size()) {
    std::string out;
    const Bytes body = rest.subspan(wire::header_bytes, header.body_bytes);
    if (!answer(console, session, header.type, body, out)) break;
    PGPROXY_ASSERT(count(as_bytes(out), 'Z') == (header.type == 'S' ? 1U : 0U));
    PGPROXY_ASSERT(count(as_bytes(out), 'E') <= 1);
    rest = rest.subspan(header.total_bytes());
  }
  return 0;
}
