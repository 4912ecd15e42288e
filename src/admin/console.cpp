#include "pgproxy/admin/console.hpp"

#include <algorithm>
#include <cctype>

#include "admin/shows.hpp"
#include "admin/words.hpp"

#include "pgproxy/wire/encode.hpp"

namespace pgproxy::admin {
namespace {

/// What drivers ask and set before their user gets a word in.
constexpr std::pair<std::string_view, std::string_view> fake_settings[] = {
    {"client_encoding", "UTF8"},
    {"default_transaction_isolation", "read committed"},
    {"standard_conforming_strings", "on"},
    {"datestyle", "ISO"},
    {"timezone", "GMT"},
};

// PgBouncer's commands that we do not have.
constexpr std::string_view missing_commands[] = {
    "reload",
    "set",
};
constexpr std::string_view missing_shows[] = {
    "active_sockets", "databases", "dns_hosts", "dns_zones", "fds",   "mem",
    "peer_pools",     "peers",     "sockets",   "state",     "users",
};

void put_invalid(std::string& out, std::string_view text) {
  wire::put_error(out, wire::Severity::error,
                  {.sqlstate = "08P01",
                   .message = "invalid command '" + std::string(text) + "', use SHOW HELP;"});
}

void put_missing(std::string& out, std::string_view command) {
  wire::put_error(out, wire::Severity::error,
                  {.sqlstate = "0A000",
                   .message = folded(command, std::toupper) + " is not in this version",
                   .hint = "SHOW HELP lists the commands that are."});
}

/// In PgBouncer's words.
void put_not_allowed(std::string& out, std::string_view command) {
  wire::put_error(out, wire::Severity::error,
                  {.sqlstate = "42501",
                   .message = "admin access needed",
                   .hint = folded(command, std::toupper) + " is for users in admin_users."});
}

void put_help(std::string& out) {
  std::string names = "SHOW HELP";
  for (const Show& show : shows()) names += "|" + folded(show.name, std::toupper);
  wire::put_error(out, wire::Severity::notice,
                  {.sqlstate = "00000", .message = "Console usage", .detail = "\n\t" + names});
  wire::put_command_complete(out, "SHOW");
}

const std::pair<std::string_view, std::string_view>* find_fake_setting(std::string_view name) {
  const auto* const found =
      std::ranges::find(fake_settings, name, [](auto& fake) { return fake.first; });
  return found == std::end(fake_settings) ? nullptr : found;
}

}  // namespace

void Console::execute(std::string_view text, bool is_admin, std::string& out) const {
  std::string_view rest = without_end(text);
  if (rest.empty()) {
    wire::put_message(out, 'I');  // EmptyQueryResponse
    return wire::put_ready_for_query(out, wire::TransactionStatus::idle);
  }
  const bool is_one = !rest.contains(';');
  const std::string command = folded(take_word(rest), std::tolower);
  const std::string name = folded(take_word(rest), std::tolower);
  if (is_one && (command == "show" || command == "select") && rest.empty()) {
    show(name, text, out);
  } else if (is_one && command == "set" && find_fake_setting(name) != nullptr) {
    wire::put_error(out, wire::Severity::notice, {.sqlstate = "00000", .message = "SET ignored"});
    wire::put_command_complete(out, "SET");
  } else if (is_one && std::ranges::find(missing_commands, command) != std::end(missing_commands)) {
    if (is_admin) {
      put_missing(out, command);
    } else {
      put_not_allowed(out, command);
    }
  } else {
    put_invalid(out, text);
  }
  wire::put_ready_for_query(out, wire::TransactionStatus::idle);
}

/// `text` is the whole command, for the error message.
void Console::show(std::string_view name, std::string_view text, std::string& out) const {
  if (name == "help") return put_help(out);
  if (const auto* const fake = find_fake_setting(name)) {
    return put_result_set(
        out, {.columns = {{std::string(fake->first)}}, .rows = {{std::string(fake->second)}}});
  }
  const auto all = shows();
  const auto found = std::ranges::find(all, name, &Show::name);
  if (found != all.end()) return put_result_set(out, found->answer(source_, loaded_));
  if (std::ranges::find(missing_shows, name) != std::end(missing_shows)) {
    return put_missing(out, "SHOW " + std::string(name));
  }
  put_invalid(out, text);
}

std::vector<std::pair<std::string, std::string>> Console::parameters() {
  return {
      {"server_version", "1.25.2/bouncer"},
      {"client_encoding", "UTF8"},
      {"server_encoding", "UTF8"},
      {"DateStyle", "ISO"},
      {"TimeZone", "GMT"},
      {"standard_conforming_strings", "on"},
      {"is_superuser", "on"},
  };
}

}  // namespace pgproxy::admin
