#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "admin/no_rows.hpp"
#include "session/console_session.hpp"

#include "pgproxy/admin/console.hpp"
#include "pgproxy/base/assert.hpp"
#include "pgproxy/wire/message.hpp"

namespace {

using namespace pgproxy;

/// A console that knows of nothing.
class EmptyConsole final : public session::ConsoleTarget {
 public:
  void execute(std::string_view text, session::ConsoleAccess, std::string& out) override {
    console_.execute(text, false, out);
  }
  void describe(std::string_view text, session::ConsoleAccess, std::string& out) override {
    console_.describe(text, false, out);
  }
  bool command(std::string_view, session::ConsoleAccess, std::string_view,
               CommandListener&) override {
    return false;
  }
  void cancel_command(CommandListener&) override {}
  std::vector<std::pair<std::string, std::string>> parameters() const override { return {}; }

 private:
  admin::NoRows source_;
  config::Loaded loaded_;
  admin::Console console_{source_, loaded_};
};

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
  std::string answer;
  console.execute(as_text(input), session::ConsoleAccess::stats, answer);
  PGPROXY_ASSERT(count(as_bytes(answer), 'Z') == 1);

  session::ConsoleSession session(console, session::ConsoleAccess::stats);
  Bytes rest = input;
  wire::Header header;
  while (wire::parse_header(rest, header) == wire::HeaderStatus::complete &&
         header.total_bytes() <= rest.size()) {
    std::string out;
    const Bytes body = rest.subspan(wire::header_bytes, header.body_bytes);
    if (!session.on_message(header.type, body, out)) break;
    PGPROXY_ASSERT(count(as_bytes(out), 'Z') == (header.type == 'S' ? 1U : 0U));
    PGPROXY_ASSERT(count(as_bytes(out), 'E') <= 1);
    rest = rest.subspan(header.total_bytes());
  }
  return 0;
}
