#include <algorithm>
#include <cctype>

#include "admin/shows.hpp"

namespace pgproxy::admin {
namespace {

std::string upper(std::string_view word) {
  std::string out(word);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

std::vector<CommandHelp> all_commands(std::vector<std::string>& names) {
  names.reserve(shows().size());
  std::vector<CommandHelp> lines;
  for (const Show& show : shows()) {
    lines.push_back({names.emplace_back("SHOW " + upper(show.name)), show.access, show.help});
  }
  std::ranges::copy(other_commands(), std::back_inserter(lines));
  return lines;
}

}  // namespace

std::span<const CommandHelp> other_commands() {
  using enum Access;
  static constexpr CommandHelp all[] = {
      {"SHOW name WHERE column = value", stats,
       "some rows of any SHOW; also with AND, ORDER BY column [DESC], LIMIT n"},
      {"EXPLAIN ROUTE 'sql'", stats, "which server a statement would go to, and why"},
      {"PAUSE [database]", admin, "no transaction begins; answers when the last one has ended"},
      {"RESUME [database]", admin, "ends PAUSE, KILL and SUSPEND"},
      {"SUSPEND", admin, "nothing is read from clients; answers when all buffers are empty"},
      {"KILL [database]", admin, "ends its clients and server connections at once, and pauses it"},
      {"KILL_CLIENT id", admin, "ends a client; its id is in SHOW CLIENTS"},
      {"DISABLE database", admin, "no client logs in to it any more"},
      {"ENABLE database", admin, "ends DISABLE"},
      {"RECONNECT [database]", admin, "server connections are replaced as they become free"},
      {"WAIT_CLOSE [database]", admin, "answers when all that RECONNECT was for are closed"},
      {"RELOAD", admin, "puts the configuration file in place, as a whole or not at all"},
      {"SET setting = value", admin, "changes one setting until the next RELOAD"},
      {"SHUTDOWN [WAIT_FOR_SERVERS | WAIT_FOR_CLIENTS]", admin, "ends the program"},
  };
  return all;
}

ResultSet show_help(const StatusSource&, const config::Loaded&) {
  ResultSet set{.columns = {{"command"}, {"access"}, {"does"}}, .rows = {}};
  std::vector<std::string> names;
  for (const CommandHelp& line : all_commands(names)) {
    set.rows.push_back({std::string(line.usage), line.access == Access::admin ? "admin" : "stats",
                        std::string(line.help)});
  }
  return set;
}

std::string help_text() {
  std::string text = "\n\tSHOW ";
  for (const Show& show : shows())
    text += (show.name == shows().front().name ? "" : "|") + upper(show.name);
  for (const CommandHelp& line : other_commands()) text += "\n\t" + std::string(line.usage);
  return text;
}

}  // namespace pgproxy::admin
