#include "app/operations.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <utility>

#include "pgproxy/base/log.hpp"
#include "pgproxy/base/text.hpp"

namespace pgproxy::app {
namespace {

using Answer = Result<std::string_view>;

/// Facts are looked at, not counted: what is waited for can come about in many ways.
constexpr Duration poll_period = std::chrono::milliseconds(20);
/// What a command waits for is said again so often.
constexpr Duration word_period = std::chrono::seconds(10);
/// So many connections are named; of the others only how many they are.
constexpr std::size_t max_named = 5;

Error refusal(std::string message, std::string hint = {}) {
  return {.sqlstate = "08P01", .message = std::move(message), .hint = std::move(hint)};
}

/// "S-0x5 held by C-0x3 (pinned: temporary objects)"
std::string in_words(const ConnectionRow& server) {
  std::string text = fmt::format("S-{:#x} {}", server.id, server.state);
  if (server.link != 0) text += fmt::format(", held by C-{:#x}", server.link);
  if (!server.pin_reason.empty()) text += " (pinned: " + server.pin_reason + ")";
  return text;
}

}  // namespace

Operations::Operations(Parts parts) : parts_(std::move(parts)), poll_timer_(*this) {}

void Operations::run(const Command& command, CommandListener& listener) {
  if (const auto answer = start(command, &listener)) listener.on_command_done(*answer);
}

void Operations::run_for_signal(CommandKind kind, std::string_view signal) {
  const Command command{.kind = kind, .asked_by = std::string(signal)};
  const auto answer = start(command, nullptr);
  if (!answer || *answer) return;
  log::line(log::Level::warning, "got {}, but {}: nothing changed", signal,
            answer->error().message);
}

std::optional<Answer> Operations::start(const Command& command, CommandListener* listener) {
  const auto database = find(command);
  std::optional<Error> error;
  if (!database) {
    error = database.error();
  } else {
    log::line(log::Level::log, "{} command issued by {}", command.text(), command.asked_by);
    error = carry_out(command, *database);
  }
  if (error) {
    log::line(log::Level::warning, "{} by {} was refused: {}", command.text(), command.asked_by,
              error->message);
    return std::unexpected(*error);
  }
  switch (command.kind) {
    case CommandKind::pause:
    case CommandKind::suspend:
    case CommandKind::wait_close: return wait(command, *database, listener);
    case CommandKind::reload:
    case CommandKind::set: configure(command, listener); return std::nullopt;
    default: return to_string(command.kind);
  }
}

/// The entry that is meant; nullptr: all. What may come to life by the * line does, as in
/// PgBouncer, where that makes sense.
Result<pool::DatabaseEntry*> Operations::find(const Command& command) {
  const std::string& name = command.database;
  if (name.empty()) return nullptr;
  if (name == "pgbouncer" || name == "pgproxy") {
    return std::unexpected(
        refusal(fmt::format("cannot {} admin db: {}", lower_case(to_string(command.kind)), name)));
  }
  const bool is_about_the_past = command.kind == CommandKind::resume ||
                                 command.kind == CommandKind::enable ||
                                 command.kind == CommandKind::wait_close;
  pool::DatabaseEntry* found =
      is_about_the_past ? parts_.pools.known_database(name) : parts_.pools.find_database(name);
  if (found == nullptr) {
    return std::unexpected(refusal("no such database: " + name, "SHOW DATABASES lists them."));
  }
  return found;
}

std::optional<Error> Operations::carry_out(const Command& command, pool::DatabaseEntry* database) {
  switch (command.kind) {
    case CommandKind::pause: return pause(database);
    case CommandKind::resume: return resume(database);
    case CommandKind::suspend: return suspend();
    case CommandKind::kill: return kill(database);
    case CommandKind::kill_client: return kill_client(command.client_id);
    case CommandKind::reconnect: parts_.pools.reconnect(database); return std::nullopt;
    case CommandKind::disable:
    case CommandKind::enable:
      parts_.pools.disable(*database, command.kind == CommandKind::disable);
      return std::nullopt;
    case CommandKind::wait_close:
    case CommandKind::reload:
    case CommandKind::set: return std::nullopt;
    case CommandKind::shutdown: return shut_down(command);
  }
  std::unreachable();
}

/// Whoever asked may be gone when it is over.
void Operations::configure(const Command& command, CommandListener* listener) {
  const auto waiting = std::make_shared<IntrusiveList<CommandListener>>();
  if (listener != nullptr) waiting->push_back(*listener);
  std::string tag(to_string(command.kind));
  if (command.kind == CommandKind::set) {
    tag = fmt::format("SET {}={}", command.setting, command.value);
  }
  const auto done = [waiting, tag = std::move(tag)](const Result<std::vector<std::string>>& lines) {
    if (waiting->empty()) return;
    CommandListener& asker = waiting->front();
    asker.unlink();
    if (!lines) return asker.on_command_done(std::unexpected(lines.error()));
    for (const std::string& line : *lines) asker.on_command_notice(line);
    asker.on_command_done(tag);
  };
  if (command.kind == CommandKind::reload) {
    parts_.reload.reload(done);
  } else {
    parts_.reload.set(command.setting, command.value, done);
  }
}

std::optional<Error> Operations::pause(pool::DatabaseEntry* database) {
  if (parts_.shutdown.is_on()) return refusal("pooler is shutting down");
  const bool is_held = parts_.pools.is_paused() || parts_.pools.is_suspended();
  if (database == nullptr && is_held) {
    return refusal("already suspended/paused", "RESUME ends that.");
  }
  paused_since_ = parts_.loop.wall_now();
  parts_.pools.pause(database);
  return std::nullopt;
}

std::optional<Error> Operations::resume(pool::DatabaseEntry* database) {
  if (database != nullptr && !database->is_paused) {
    return refusal("database " + database->config.name + " is not paused");
  }
  if (database == nullptr && !parts_.pools.is_paused() && !parts_.pools.is_suspended()) {
    return refusal("pooler is not paused/suspended",
                   "A database that was paused by its name is resumed by its name.");
  }
  parts_.pools.resume(database);
  if (database == nullptr) parts_.sessions.suspend(false);
  poll();
  return std::nullopt;
}

std::optional<Error> Operations::suspend() {
  if (parts_.shutdown.is_on()) return refusal("pooler is shutting down");
  if (parts_.pools.is_paused() || parts_.pools.is_suspended()) {
    return refusal("already suspended/paused", "RESUME ends that.");
  }
  paused_since_ = parts_.loop.wall_now();
  parts_.sessions.suspend(true);
  parts_.pools.suspend();
  return std::nullopt;
}

/// Each database is paused by its name, as in PgBouncer: so is it resumed.
std::optional<Error> Operations::kill(pool::DatabaseEntry* database) {
  if (parts_.pools.is_paused() || parts_.pools.is_suspended()) {
    return refusal("already suspended/paused", "RESUME ends that.");
  }
  std::vector<pool::DatabaseEntry*> all;
  if (database != nullptr) {
    all.push_back(database);
  } else {
    parts_.pools.for_each_database([&](pool::DatabaseEntry& entry) { all.push_back(&entry); });
  }
  for (pool::DatabaseEntry* entry : all) {
    const Error error{.sqlstate = "57P01",
                      .message = "terminating connection: KILL of database " + entry->config.name,
                      .hint = "It is paused until RESUME is given on the console."};
    parts_.pools.pause(entry);
    parts_.pools.kill(entry, error);
    parts_.sessions.fail_all(*entry, error);
  }
  return std::nullopt;
}

std::optional<Error> Operations::kill_client(std::uint64_t id) {
  const Error error{.sqlstate = "57P01",
                    .message = "terminating connection: KILL_CLIENT was given on the console"};
  if (parts_.sessions.fail_one(id, error)) return std::nullopt;
  return refusal("client not found", "SHOW CLIENTS lists them, with their id.");
}

std::optional<Error> Operations::shut_down(const Command& command) {
  const std::string asked_by = fmt::format("{} of {}", command.text(), command.asked_by);
  if (command.shutdown != ShutdownMode::immediate && parts_.shutdown.is_on()) {
    return refusal("pooler is shutting down", "SHUTDOWN alone does not wait.");
  }
  switch (command.shutdown) {
    case ShutdownMode::immediate: parts_.shutdown.now(asked_by); break;
    case ShutdownMode::wait_for_servers: parts_.shutdown.wait_for_servers(asked_by); break;
    case ShutdownMode::wait_for_clients: parts_.shutdown.wait_for_clients(asked_by); break;
  }
  return std::nullopt;
}

std::optional<Answer> Operations::wait(const Command& command, pool::DatabaseEntry* database,
                                       CommandListener* listener) {
  const TimePoint now = parts_.loop.now();
  Waiting& waiting = waiting_.emplace_back();
  waiting.command = command;
  waiting.database = database;
  waiting.since = now;
  waiting.wall_since = parts_.loop.wall_now();
  if (is_done(waiting)) {
    waiting_.pop_back();
    return to_string(command.kind);
  }
  if (listener != nullptr) waiting.listener.push_back(*listener);
  say(waiting);
  parts_.loop.timeouts().queue(poll_period).arm(poll_timer_, now);
  return std::nullopt;
}

/// RESUME came in between.
bool Operations::is_undone(const Waiting& waiting) const {
  if (waiting.command.kind == CommandKind::suspend) return !parts_.pools.is_suspended();
  if (waiting.command.kind != CommandKind::pause) return false;
  return waiting.database != nullptr ? !waiting.database->is_paused : !parts_.pools.is_paused();
}

bool Operations::is_done(const Waiting& waiting) const {
  switch (waiting.command.kind) {
    case CommandKind::pause: return parts_.pools.server_count(waiting.database) == 0;
    case CommandKind::suspend:
      return parts_.pools.unflushed_count() == 0 && parts_.sessions.unflushed_count() == 0;
    default: return parts_.pools.outdated_count(waiting.database) == 0;
  }
}

std::string Operations::obstacles(const Waiting& waiting) const {
  if (waiting.command.kind == CommandKind::suspend) {
    return fmt::format("{} clients and {} servers that have not taken what was sent to them",
                       parts_.sessions.unflushed_count(), parts_.pools.unflushed_count());
  }
  const bool is_pause = waiting.command.kind == CommandKind::pause;
  std::string names;
  std::size_t count = 0;
  for (const ConnectionRow& server : parts_.servers()) {
    const bool is_other =
        waiting.database != nullptr && server.database != waiting.database->config.name;
    if (is_other || (!is_pause && !server.close_needed)) continue;
    if (++count > max_named) continue;
    names += (names.empty() ? "" : "; ") + in_words(server);
  }
  if (count > max_named) names += fmt::format("; and {} more", count - max_named);
  return fmt::format("{} server connections: {}", count, names);
}

void Operations::say(Waiting& waiting) {
  waiting.last_word = parts_.loop.now();
  const std::string text =
      fmt::format("{} waits for {}", waiting.command.text(), obstacles(waiting));
  log::line(log::Level::log, "{}", text);
  if (!waiting.listener.empty()) waiting.listener.front().on_command_notice(text);
}

void Operations::finish(Waiting& waiting, const Answer& tag) {
  if (waiting.listener.empty()) return;
  CommandListener& listener = waiting.listener.front();
  listener.unlink();
  listener.on_command_done(tag);
}

/// Whoever hears that it is done may give the next command at once: from a list of its own.
void Operations::poll() {
  std::list<Waiting> ended;
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const auto next = std::next(at);
    if (is_undone(*at) || is_done(*at)) ended.splice(ended.end(), waiting_, at);
    at = next;
  }
  const TimePoint now = parts_.loop.now();
  for (Waiting& waiting : waiting_) {
    const bool is_suspend = waiting.command.kind == CommandKind::suspend;
    const Duration limit = parts_.settings.suspend_timeout;
    if (is_suspend && limit > Duration::zero() && now - waiting.since >= limit) {
      parts_.sessions.fail_unflushed({.sqlstate = "57P01",
                                      .message = "suspend_timeout: terminating connection: it did "
                                                 "not take what was sent to it"});
    } else if (now - waiting.last_word >= word_period) {
      say(waiting);
    }
  }
  if (!waiting_.empty()) parts_.loop.timeouts().queue(poll_period).arm(poll_timer_, now);
  for (Waiting& waiting : ended) {
    const std::string text = waiting.command.text();
    if (is_undone(waiting)) {
      log::line(log::Level::log, "{} was ended by RESUME", text);
      finish(waiting,
             std::unexpected(Error{.sqlstate = "57014", .message = text + " was ended by RESUME"}));
    } else {
      log::line(log::Level::log, "{} is done after {:.3f} s", text,
                std::chrono::duration<double>(now - waiting.since).count());
      finish(waiting, to_string(waiting.command.kind));
    }
  }
}

void Operations::on_timeout(Timeout& /*timeout*/) {
  poll();
}

void Operations::cancel(CommandListener& listener) {
  const auto at = std::ranges::find_if(waiting_, [&](Waiting& waiting) {
    return !waiting.listener.empty() && &waiting.listener.front() == &listener;
  });
  if (at == waiting_.end()) return;
  std::list<Waiting> cancelled;
  cancelled.splice(cancelled.end(), waiting_, at);
  Waiting& waiting = cancelled.front();
  log::line(log::Level::log, "{} was cancelled by {}", waiting.command.text(),
            waiting.command.asked_by);
  Error error{.sqlstate = "57014", .message = "canceling statement due to user request"};
  if (waiting.command.kind != CommandKind::wait_close && !is_undone(waiting)) {
    resume(waiting.database);
    error.detail = waiting.command.text() + " was undone, as by RESUME.";
  }
  finish(waiting, std::unexpected(error));
}

void Operations::describe_health(std::vector<HealthRow>& rows) const {
  for (const Waiting& waiting : waiting_) {
    rows.push_back({.kind = "command",
                    .name = waiting.command.text(),
                    .state = "waiting",
                    .reason = "waits for " + obstacles(waiting),
                    .hint = "KILL_CLIENT ends a client that holds one; RESUME ends a PAUSE.",
                    .since = waiting.wall_since});
  }
  const bool is_paused = parts_.pools.is_paused();
  if (is_paused || parts_.pools.is_suspended()) {
    rows.push_back({.kind = "process",
                    .name = "all databases",
                    .state = is_paused ? "paused" : "suspended",
                    .reason = "clients wait",
                    .hint = "RESUME lets them go on.",
                    .since = paused_since_});
  }
  parts_.pools.for_each_database([&](const pool::DatabaseEntry& entry) {
    if (!entry.is_paused && !entry.is_disabled) return;
    rows.push_back(
        {.kind = "database",
         .name = entry.config.name,
         .state = entry.is_paused ? "paused" : "disabled",
         .reason = entry.is_paused ? "its clients wait" : "no client is let in",
         .hint = fmt::format("{} {}", entry.is_paused ? "RESUME" : "ENABLE", entry.config.name),
         .since = entry.changed_at});
  });
}

}  // namespace pgproxy::app
