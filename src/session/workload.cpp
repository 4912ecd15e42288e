#include "session/workload.hpp"

#include "pgproxy/base/log.hpp"

namespace pgproxy::session {
namespace {

/// Shapes remembered as logged; with more, each may be logged again.
constexpr std::size_t max_logged = 10'000;

/// What to do instead.
std::string_view advice(sql::Residue reason) {
  switch (reason) {
    case sql::Residue::setting:
    case sql::Residue::any_setting: return "use SET LOCAL, or startup settings";
    case sql::Residue::temporary_object: return "use ON COMMIT DROP, or drop it in time";
    case sql::Residue::listen: return "listen on a connection of its own";
    case sql::Residue::advisory_lock: return "use pg_advisory_xact_lock";
    case sql::Residue::cursor: return "use a cursor without HOLD";
    case sql::Residue::prepared_statement: return "prepare by the protocol, not by SQL";
    case sql::Residue::sequence_state: return "use INSERT … RETURNING";
    case sql::Residue::hidden:
    case sql::Residue::code: break;
  }
  return "give such clients a database entry with pool_mode = session";
}

}  // namespace

void Workload::log_once(const pool::Pool& pool, std::uint64_t fingerprint, sql::Residue reason,
                        std::string_view what_happened) {
  if (logged.size() >= max_logged) logged.clear();
  if (!logged.insert(fingerprint).second) return;
  log::line(log::Level::log,
            "pool {}/{}: {} because of: {}, statement {:#x} (first time; counted from now on, "
            "see SHOW PINS and SHOW PIN_TOTALS). Advice: {}.",
            pool.database().config.name, pool.user().name, what_happened, sql::to_string(reason),
            fingerprint, advice(reason));
}

}  // namespace pgproxy::session
