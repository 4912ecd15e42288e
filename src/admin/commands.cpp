#include "pgproxy/admin/commands.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include "admin/fake_settings.hpp"
#include "admin/words.hpp"

namespace pgproxy::admin {
namespace {

enum class Argument { none_or_database, database, client, none, mode };

struct Syntax {
  CommandKind kind;
  Argument argument;
};

constexpr Syntax all[] = {
    {CommandKind::pause, Argument::none_or_database},
    {CommandKind::resume, Argument::none_or_database},
    {CommandKind::suspend, Argument::none},
    {CommandKind::kill, Argument::none_or_database},
    {CommandKind::kill_client, Argument::client},
    {CommandKind::reconnect, Argument::none_or_database},
    {CommandKind::disable, Argument::database},
    {CommandKind::enable, Argument::database},
    {CommandKind::wait_close, Argument::none_or_database},
    {CommandKind::shutdown, Argument::mode},
    {CommandKind::reload, Argument::none},
};

Error invalid(std::string_view text) {
  return {.sqlstate = "08P01",
          .message = "invalid command '" + std::string(text) + "', use SHOW HELP;"};
}

/// As SHOW CLIENTS has it: `id`, or `ptr` in hexadecimal.
std::optional<std::uint64_t> client_id(std::string_view word) {
  const bool is_hex = word.starts_with("0x") || word.starts_with("0X");
  if (is_hex) word.remove_prefix(2);
  std::uint64_t id = 0;
  const auto [end, error] =
      std::from_chars(word.data(), word.data() + word.size(), id, is_hex ? 16 : 10);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return id;
}

std::optional<ShutdownMode> shutdown_mode(std::string_view word) {
  const std::string mode = folded(word, std::tolower);
  if (mode.empty()) return ShutdownMode::immediate;
  if (mode == "wait_for_servers") return ShutdownMode::wait_for_servers;
  if (mode == "wait_for_clients") return ShutdownMode::wait_for_clients;
  return std::nullopt;
}

/// Names of databases are as they are written: PgBouncer folds none either.
Result<Command> with_argument(const Syntax& syntax, std::string_view word) {
  Command command{.kind = syntax.kind};
  const std::string name(to_string(syntax.kind));
  switch (syntax.argument) {
    case Argument::none: break;
    case Argument::database:
      if (word.empty()) {
        return std::unexpected(Error{
            .sqlstate = "08P01", .message = "a database is required", .hint = name + " database"});
      }
      [[fallthrough]];
    case Argument::none_or_database: command.database = word; break;
    case Argument::client: {
      const auto id = client_id(word);
      if (!id) {
        return std::unexpected(Error{.sqlstate = "08P01",
                                     .message = "invalid client pointer supplied",
                                     .hint = "KILL_CLIENT takes what SHOW CLIENTS has as id."});
      }
      command.client_id = *id;
      break;
    }
    case Argument::mode: {
      const auto mode = shutdown_mode(word);
      if (!mode) {
        return std::unexpected(
            Error{.sqlstate = "08P01",
                  .message = "invalid shutdown mode: " + std::string(word),
                  .hint = "SHUTDOWN, SHUTDOWN WAIT_FOR_SERVERS or SHUTDOWN WAIT_FOR_CLIENTS."});
      }
      command.shutdown = *mode;
      break;
    }
  }
  return command;
}

/// "SET client_encoding …", which means the session, and is ignored.
bool sets_for_a_driver(std::string_view rest) {
  return find_fake_setting(folded(take_word(rest).value_or(""), std::tolower)) != nullptr;
}

Result<Command> with_rest(const Syntax& syntax, std::string_view text, std::string_view rest) {
  const std::string word = take_word(rest).value_or("");
  const bool is_too_much = !rest.empty() || (syntax.argument == Argument::none && !word.empty());
  if (is_too_much) return std::unexpected(invalid(text));
  return with_argument(syntax, word);
}

/// `rest` of "SET name = value" or "SET name TO value": the value may stand in quotes.
Result<Command> assignment(std::string_view text, std::string_view rest) {
  Command command{.kind = CommandKind::set};
  command.setting = folded(take_word(rest).value_or(""), std::tolower);
  if (rest.starts_with('=')) {
    rest = trimmed(rest.substr(1));
  } else if (folded(take_word(rest).value_or(""), std::tolower) != "to") {
    return std::unexpected(invalid(text));
  }
  if (command.setting.empty()) return std::unexpected(invalid(text));
  const bool is_quoted = rest.size() > 1 && rest.front() == '\'' && rest.back() == '\'';
  if (!is_quoted) {
    command.value = rest;
    return command;
  }
  for (std::size_t at = 1; at + 1 < rest.size(); ++at) {
    command.value += rest[at];
    if (rest[at] == '\'' && rest[at + 1] == '\'' && at + 2 < rest.size()) ++at;
  }
  return command;
}

}  // namespace

bool Commands::execute(std::string_view text, bool is_admin, std::string_view asked_by,
                       CommandListener& listener) const {
  std::string_view rest = without_end(text);
  const std::string name = folded(take_word(rest).value_or(""), std::toupper);
  const auto* const syntax =
      std::ranges::find(all, name, [](const Syntax& one) { return to_string(one.kind); });
  const bool is_set = name == to_string(CommandKind::set) && !sets_for_a_driver(rest);
  if (syntax == std::end(all) && !is_set) return false;
  if (!is_admin) {
    listener.on_command_done(
        std::unexpected(Error{.sqlstate = "42501",
                              .message = "admin access needed",
                              .hint = name + " is for users in admin_users."}));
    return true;
  }
  Result<Command> command = is_set ? assignment(text, rest) : with_rest(*syntax, text, rest);
  if (!command) {
    listener.on_command_done(std::unexpected(command.error()));
    return true;
  }
  command->asked_by = asked_by;
  target_.run(*command, listener);
  return true;
}

}  // namespace pgproxy::admin
