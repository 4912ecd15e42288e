// ClientSession's startup settings behind a RESET: they are the defaults that it goes back to.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "session/client_session.hpp"
#include "session/session_traces.hpp"

#include "pgproxy/base/text.hpp"
#include "pgproxy/session/sessions.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::session {

/// Of the startup settings: a RESET of the client's has taken it away.
bool ClientSession::is_to_be_restored(const pool::Setting& setting) const {
  const pool::Setting* standard = pool_->default_state()->find(setting.name);
  if (standard != nullptr && standard->value == setting.value) return false;
  if (pool::is_read_only_setting(setting.name)) return false;
  return std::ranges::any_of(traces_->resets, [&](const std::string& name) {
    if (name == "all") return setting.name != "role";
    return equals_ignoring_case(name, setting.name);
  });
}

/// A client is not told of defaults that are not its own: a driver may well give up at a
/// client_encoding that it did not ask for. What the server reports before it comes to the RESET
/// is the client's own.
bool ClientSession::takes_parameter(const wire::ParameterStatus& parameter) {
  if (traces_ == nullptr || traces_->resets.empty() || state_ != ClientState::active) return false;
  if (pool::is_before(server_->expected().oldest_number(), traces_->resets_from)) return false;
  const pool::Setting* setting = startup_state_->find(parameter.name);
  if (setting == nullptr || !is_to_be_restored(*setting)) return false;
  std::string out;
  wire::put_parameter_status(out, setting->name, setting->value);
  send(out);
  return true;
}

/// Behind a RESET, the client's startup settings are what it went back to. In the same transaction:
/// a rollback takes both back. True: the server was asked to.
bool ClientSession::restore_startup_settings() {
  if (traces_->resets.empty() || is_mid_message()) return false;
  traces_->before_restore = server_->session_state();
  const bool is_failed = server_->transaction_status() == wire::TransactionStatus::failed;
  std::string sql;
  for (const pool::Setting& setting : startup_state_->settings()) {
    if (!is_to_be_restored(setting)) continue;
    sql += (sql.empty() ? "SELECT " : ", ") + pool::set_sql(setting);
  }
  traces_->resets.clear();
  if (sql.empty() || is_failed) return false;
  if (server_->expected().is_uncertain()) {
    fail({.sqlstate = "0A000",
          .message = "RESET behind a COPY that failed with a Sync in it",
          .detail = "Whose the server's next answer is cannot be told, so that the settings of the "
                    "client's startup packet cannot be given again."});
    return true;
  }
  state_ = ClientState::restoring;
  note_own_query();
  has_server_error_ = false;
  server_->query(*this, sql);
  pool_->query_timeout_queue().arm(timer_, pool_->loop().now());
  return true;
}

/// An error takes back, or has prevented, what its cycle reset. What was reset in a cycle before is
/// given again already: nothing is sent behind a RESET until that is done.
void ClientSession::forget_failed_resets(std::uint32_t oldest) {
  if (!pool::is_before(oldest, traces_->resets_from)) traces_->resets.clear();
}

/// What is read behind a RESET must find the startup settings: it waits until they are there.
void ClientSession::hold_back_behind_reset() {
  if (traces_ != nullptr && !traces_->resets.empty()) waits_for_restore_ = true;
}

bool ClientSession::is_held_back() const {
  if (server_ == nullptr) return false;
  // The next transaction may belong to another server: it is sent when this one has ended.
  const bool is_next = is_on_replica() && in_cycle_ && body_left_ == 0 &&
                       cycle_from_ == server_->expected().next_number();
  return is_next || (waits_for_restore_ && !server_->expected().is_copying_in());
}

/// The client has seen what the RESET itself made of settings that the server reports.
void ClientSession::announce_restored() {
  std::string out;
  for (const pool::Setting& setting : server_->session_state()->settings()) {
    const pool::Setting* told = traces_->before_restore->find(setting.name);
    if (!setting.is_reported || (told != nullptr && told->value == setting.value)) continue;
    wire::put_parameter_status(out, setting.name, setting.value);
  }
  traces_->before_restore.reset();
  if (!out.empty()) send(out);
}

}  // namespace pgproxy::session
