#include "control/published_plan.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

namespace pgproxy::control {
namespace {

/// NAMEDATALEN - 1.
constexpr std::size_t max_text_bytes = 63;

/// Takes a number off the front, and `separator` behind it.
template <class T>
bool take_number(std::string_view& text, T& number, std::string_view separator, int base = 10) {
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (read.ec != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(read.ptr - text.data()));
  if (!text.starts_with(separator)) return false;
  text.remove_prefix(separator.size());
  return true;
}

bool take_word(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

struct Process {
  std::string_view host;
  std::string_view pid;  ///< with its colon
};
Process split(std::string_view instance) {
  const std::size_t at = std::min(instance.rfind(':'), instance.size());
  return {instance.substr(0, at), instance.substr(at)};
}

/// FNV-1a.
void add(std::uint32_t& hash, std::string_view text) {
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 16'777'619U;
  }
}

std::uint32_t number_in(const std::string& text) {
  std::uint32_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// The columns of holders_sql.
enum Column : std::uint8_t { standby, slot, pid, name, address, port, start, own, column_count };

Holder read_holder(const Row& row) {
  Holder holder{.slot = number_in(row[slot].value_or("")),
                .backend_pid = static_cast<std::int32_t>(number_in(row[pid].value_or(""))),
                .application_name = row[name].value_or(""),
                .from = "a unix socket",
                .since = row[start].value_or("unknown"),
                .is_own = row[own] == "true"};
  holder.plan = read_plan(holder.application_name);
  if (row[address]) holder.from = fmt::format("{}:{}", *row[address], row[port].value_or("?"));
  return holder;
}

}  // namespace

bool PublishedPlan::is_of(const PublishedPlan& other) const {
  const Process own = split(instance);
  const Process theirs = split(other.instance);
  return own.pid == theirs.pid &&
         (own.host.starts_with(theirs.host) || theirs.host.starts_with(own.host));
}

std::string PublishedPlan::describe() const {
  return fmt::format("instances = {}, {} connections (plan {:04x})", instances, total, digest);
}

std::string PublishedPlan::text() const {
  const std::string front =
      fmt::format("pgproxy {}/{} plan={:04x} total={} ", slot, instances, digest, total);
  const auto [host, pid] = split(instance);
  const std::size_t used = std::min(front.size() + pid.size(), max_text_bytes);
  return fmt::format("{}{}{}", front, host.substr(0, max_text_bytes - used), pid);
}

std::optional<PublishedPlan> read_plan(std::string_view text) {
  PublishedPlan plan;
  const bool is_plan = take_word(text, "pgproxy ") && take_number(text, plan.slot, "/") &&
                       take_number(text, plan.instances, " ") && take_word(text, "plan=") &&
                       take_number(text, plan.digest, " ", 16) && take_word(text, "total=") &&
                       take_number(text, plan.total, " ");
  if (!is_plan || text.empty()) return std::nullopt;
  plan.instance = text;
  return plan;
}

std::uint16_t digest_of(const std::map<std::string, std::uint32_t>& roles,
                        const std::map<std::string, std::uint32_t>& databases) {
  std::uint32_t hash = 2'166'136'261U;
  for (const auto* totals : {&roles, &databases}) {
    for (const auto& [of, total] : *totals) add(hash, fmt::format("{}={};", of, total));
    add(hash, "/");
  }
  return static_cast<std::uint16_t>(hash ^ (hash >> 16));
}

std::string Holder::describe() const {
  const std::string plans =
      plan ? fmt::format("{} ({})", plan->instance, plan->describe())
           : fmt::format("\"{}\" (no plan that can be read)", application_name);
  return fmt::format("slot {}: {} from {} since {}, backend {}", slot, plans, from, since,
                     backend_pid);
}

std::string describe(const std::vector<Holder>& holders) {
  std::string text;
  for (const Holder& holder : holders) {
    text.append(text.empty() ? "" : "; ").append(holder.describe());
  }
  return text;
}

const std::string_view holders_sql = R"(
SELECT me.standby, l.objid::pg_catalog.text, l.pid::pg_catalog.text, a.application_name,
       pg_catalog.host(a.client_addr), a.client_port::pg_catalog.text,
       a.backend_start::pg_catalog.timestamptz(0)::pg_catalog.text,
       (l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())::pg_catalog.text, me.name
  FROM (SELECT pg_catalog.pg_is_in_recovery()::pg_catalog.text AS standby,
               pg_catalog.set_config('application_name', $1, false) AS name) AS me
  LEFT JOIN pg_catalog.pg_locks AS l
    ON l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted
   AND l.database OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database
         WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
   AND l.classid OPERATOR(pg_catalog.=) $2::pg_catalog.oid
   AND l.objsubid OPERATOR(pg_catalog.=) 2
  LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid
 ORDER BY l.objid)";

Result<Holders> read_holders(const Answer& answer) {
  if (!answer) return std::unexpected(answer.error());
  Holders holders;
  for (const Row& row : *answer) {
    if (row.size() < column_count) break;
    holders.is_standby = row[standby] == "true";
    if (!row[slot]) continue;  // nobody holds any
    Holder holder = read_holder(row);
    if (holder.is_own) {
      holders.own_slot = holder.slot;
    } else {
      holders.others.push_back(std::move(holder));
    }
  }
  return holders;
}

Error all_slots_taken(const std::string& server, const PublishedPlan& own,
                      const std::vector<Holder>& others) {
  return {.sqlstate = "53400",
          .message = fmt::format("instances = {}, and {} already hold the slots of {}: {}",
                                 own.instances, others.size(), server, describe(others)),
          .hint = fmt::format("Raise instances to {} on all of them, or stop one. If one of them "
                              "is dead, the server frees its slot within {} s.",
                              std::max<std::size_t>(own.instances, others.size()) + 1,
                              dead_peer_seconds)};
}

std::optional<Error> find_conflict(const std::string& server, const PublishedPlan& own,
                                   const std::vector<Holder>& others) {
  const auto differs = [&](const Holder& holder) {
    return !holder.plan || !own.agrees_with(*holder.plan);
  };
  const auto found = std::ranges::find_if(others, differs);
  if (found == others.end()) return std::nullopt;
  Error error{.sqlstate = "F0000",
              .message = fmt::format("this instance plans {} at {}, and another one differs: {}",
                                     own.describe(), server, found->describe())};
  if (!found->plan) {
    error.hint =
        "Its application_name should have told its plan. GRANT pg_monitor to "
        "control_user; if that lock is not pgproxy's, end who holds it.";
    return error;
  }
  if (own.instances == found->plan->instances && own.total == found->plan->total) {
    error.detail = "The sums are the same, those of roles and databases are not.";
  }
  error.hint =
      "Give instances, and the sizes of pools in [databases] and [users], the same values "
      "in each of them. To change them, stop the others first.";
  return error;
}

}  // namespace pgproxy::control
