#include "app/shutdown.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <systemd/sd-daemon.h>
#include <utility>

#include "pgproxy/base/log.hpp"

namespace pgproxy::app {
namespace {

/// Clients whose turn has come are asked so often.
constexpr Duration turn_period = std::chrono::milliseconds(20);

double seconds_of(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

Shutdown::Shutdown(io::Loop& loop, const config::Settings& settings, session::Sessions& sessions,
                   Actions actions)
    : loop_(loop),
      settings_(settings),
      sessions_(sessions),
      actions_(std::move(actions)),
      turn_(*this),
      end_(*this) {}

void Shutdown::drain(std::string_view asked_by) {
  const Duration limit = settings_.drain_timeout;
  asked_by_ = asked_by;
  close_doors(Stage::draining,
              limit == Duration::zero()
                  ? "clients leave when their transactions have ended (drain_timeout = 0)"
                  : fmt::format("clients leave when their transactions have ended, at the latest "
                                "after {} s (drain_timeout)",
                                seconds_of(limit)));
  if (limit > Duration::zero()) loop_.timeouts().queue(limit).arm(end_, loop_.now());
  ask_next();
}

void Shutdown::wait_for_servers(std::string_view asked_by) {
  asked_by_ = asked_by;
  close_doors(Stage::draining, "clients leave when their transactions have ended");
  sessions_.drain_next(sessions_.staying_count(), true);
}

void Shutdown::wait_for_clients(std::string_view asked_by) {
  asked_by_ = asked_by;
  close_doors(Stage::waiting_for_clients, "the program ends when the last client has left");
}

void Shutdown::now(std::string_view asked_by) {
  log::line(log::Level::log, "got {}, shutting down at once", asked_by);
  actions_.stop();
}

void Shutdown::close_doors(Stage stage, std::string_view what) {
  stage_ = stage;
  began_ = loop_.now();
  since_ = loop_.wall_now();
  log::line(log::Level::log, "got {}, shutting down: {} clients are connected; {}", asked_by_,
            sessions_.client_count(), what);
  sd_notifyf(0, "STOPPING=1\nSTATUS=shutting down: %s", std::string(what).c_str());
  actions_.stop_accepting();
  sessions_.close_doors(actions_.stop);
  client_count_ = sessions_.staying_count();
}

/// By `elapsed` of half of drain_timeout as large a share of the clients has been asked: who is
/// asked last still has the other half for a transaction.
void Shutdown::ask_next() {
  const Duration window = settings_.drain_timeout / 2;
  const Duration elapsed = loop_.now() - began_;
  const std::size_t asked = client_count_ - sessions_.staying_count();
  std::size_t due = client_count_;
  if (elapsed < window) {
    due = 1 + static_cast<std::size_t>(static_cast<double>(client_count_) * seconds_of(elapsed) /
                                       seconds_of(window));
  }
  const std::size_t left = sessions_.drain_next(due - std::min(due, asked), false);
  if (left > 0) loop_.timeouts().queue(turn_period).arm(turn_, loop_.now());
}

void Shutdown::end_drain() {
  turn_.disarm();
  const Error error{.sqlstate = "57P01",
                    .message = "drain_timeout: terminating connection: the pooler is shutting down",
                    .detail = fmt::format("It was still in use {} s after the shutdown began.",
                                          seconds_of(settings_.drain_timeout)),
                    .hint = "Make transactions shorter, or raise drain_timeout."};
  const std::size_t count = sessions_.fail_all(error);
  log::line(log::Level::warning,
            "drain_timeout: {} clients were closed though they had not come to the end of a "
            "transaction; raise drain_timeout above {} s, or make transactions shorter",
            count, seconds_of(settings_.drain_timeout));
  actions_.stop();
}

void Shutdown::on_timeout(Timeout& timeout) {
  if (&timeout == &turn_) return ask_next();
  end_drain();
}

void Shutdown::describe_health(std::vector<HealthRow>& rows) const {
  if (stage_ == Stage::none) return;
  rows.push_back(
      {.kind = "process",
       .name = "shutdown",
       .state = is_draining() ? "draining" : "waiting",
       .reason = fmt::format("{}: {} clients are left", asked_by_, sessions_.client_count()),
       .hint = "SHUTDOWN ends it at once.",
       .since = since_});
}

}  // namespace pgproxy::app
