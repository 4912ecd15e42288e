// Where statements run that a cluster's servers get, and what must hold there.
#include <cstdlib>
#include <utility>

#include "postgres.hpp"

namespace pgproxy::sim {
namespace {

std::string text_of(const route::WalPosition& position) {
  return std::to_string(position.timeline) + "/" + std::to_string(position.lsn);
}

bool defaults_to_read_only(const Session& session) {
  return session.setting("default_transaction_read_only") == "on";
}

}  // namespace

bool begins_read_only(std::string_view text) {
  return (text.starts_with("begin") || text.starts_with("start")) && text.contains("read only");
}

/// The transaction that begins now, unless it says itself.
bool Backend::begins_by_default_read_only() const {
  return is_on_standby() || defaults_to_read_only(*session_);
}

/// `client` runs `text` here; its transaction, if there is one, does so as well.
void Backend::check_place(const std::string& text, Postgres::Reference& client) {
  if (node_ == nullptr) return;
  const Replication& servers = *postgres_.replication;
  if (client.session.is_in_transaction() && client.place != this) {
    violation(text + " ran on another server than its transaction began on");
  }
  client.place = this;
  const bool only_reads =
      is_begun_read_only_ || begins_read_only(text) || defaults_to_read_only(client.session);
  if (!only_reads && node_->is_standby) violation(text + " ran on a standby");
  const bool is_outdated =
      !node_->is_standby && node_->position.timeline < servers.announced_timeline;
  // What was under way when the connection was closed is beyond anybody's reach.
  if (!only_reads && is_outdated && link_->is_open_near()) {
    violation(text + " ran on a primary that another one had taken the place of");
  }
  if (!servers.promises_own_writes) return;
  for (const route::WalPosition& own : client.written) {
    if (servers.has(*node_, own) || servers.is_lost(own)) continue;
    violation(text + " does not find what its client wrote at " + text_of(own) +
              " on a server at " + text_of(node_->position));
  }
}

/// What is asked at the login to a primary.
Backend::Outcome Backend::answer_role(const std::string& text) {
  constexpr std::string_view before = "OPERATOR(pg_catalog.<) '";
  const std::size_t at = text.find(before) + before.size();
  const auto wanted =
      static_cast<std::uint32_t>(std::strtoul(text.substr(at, 8).c_str(), nullptr, 16));
  if (node_->is_standby || node_->position.timeline < wanted) {
    error("22P02", "the server is a standby, or on a timeline before that of the primary", true);
    return Outcome::failed;
  }
  row({"0"}, true);
  complete("SELECT 1");
  return Outcome::done;
}

/// The transaction commits.
void Backend::write_commit() {
  if (!std::exchange(has_written_, false) || node_ == nullptr) return;
  const route::WalPosition position = postgres_.replication->write(*node_);
  const auto at = postgres_.references_.find(transaction_owner_);
  if (at != postgres_.references_.end()) at->second.written.push_back(position);
}

}  // namespace pgproxy::sim
