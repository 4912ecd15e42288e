// What the proxy makes sure of before it lets anyone in.
#include <algorithm>

#include "app/proxy.hpp"

#include "pgproxy/pool/acquisition_test.hpp"

namespace pgproxy::app {
namespace {

std::string in_words(const std::vector<config::Problem>& problems) {
  std::string text;
  for (const config::Problem& problem : problems) {
    text += (text.empty() ? "" : "\npgproxy: ") + problem.message;
    if (&problem != &problems.back()) text += "\n  hint: " + problem.hint;
  }
  return text;
}

/// Serves the loop until `begin`'s argument is called, or a signal ends the start.
void wait_for(net::UvLoop& loop, const std::function<void(std::function<void()>)>& begin) {
  bool is_over = false;
  bool is_running = false;
  begin([&] {
    is_over = true;
    if (is_running) loop.stop();
  });
  is_running = true;
  if (!is_over) loop.run();
}

}  // namespace

Result<void> Proxy::check_capacity() {
  config::CapacityVerdict verdict;
  wait_for(loop_, [&](const std::function<void()>& over) {
    capacity_.ask([&, over](const config::CapacityVerdict& found) {
      verdict = found;
      over();
    });
  });
  const config::Settings& settings = loaded_.settings;
  for (const CapacityRow& row : verdict.rows) {
    if (row.state != "fits") continue;  // the guard has told
    log::line(log::Level::log, "capacity: {} {} {}: {}", row.kind, row.name, row.state,
              row.arithmetic);
  }
  if (verdict.problems.empty() || settings.check != config::CapacityCheck::enforce) return {};
  return std::unexpected(Error{.sqlstate = "53300",
                               .message = in_words(verdict.problems),
                               .hint = verdict.problems.back().hint});
}

/// Which servers are primaries; who is none yet is waited for by clients, not by the start.
Result<void> Proxy::find_roles() {
  wait_for(loop_, [&](const std::function<void()>& over) { clusters_.start(over); });
  return {};
}

Result<void> Proxy::coordinate() {
  if (loaded_.settings.coordination == config::Coordination::none) return {};
  coordination_ = std::make_unique<control::Coordination>(
      services(), loaded_.settings, config::plan_capacity(loaded_.settings),
      [this] { pools_.hold_growth(coordination_ != nullptr && coordination_->is_refused()); });
  Result<void> result;
  wait_for(loop_, [&](const std::function<void()>& over) {
    coordination_->acquire([&, over](const Result<void>& found) {
      result = found;
      over();
    });
  });
  return result;
}

namespace {

/// The pools that are known before anyone logs in: those of an entry's users. Where these are not
/// known they are guessed: everybody with a password of his own.
struct PoolToVerify {
  pool::PoolName name;
  bool is_guessed = false;
};

std::vector<PoolToVerify> pools_to_verify(const config::Settings& settings,
                                          const Clusters& clusters) {
  std::vector<PoolToVerify> pools;
  for (const config::Database& entry : settings.databases) {
    const auto known = pool_users(settings, entry);
    const std::size_t before = pools.size();
    for (const std::string& user : known.value_or(users_with_secrets(settings))) {
      const auto secret = settings.secrets.find(user);
      const bool is_verifier =
          secret != settings.secrets.end() && (secret->second.starts_with("SCRAM-SHA-256$"));
      if (!known && is_verifier) continue;
      pools.push_back({{entry.name, user}, !known});
      for (const std::string& replica : clusters.replicas_of(entry)) {
        pools.push_back({{entry.name, user, replica}, !known});
      }
    }
    if (pools.size() > before) continue;
    log::line(log::Level::warning,
              "verify_acquire: pools of {} are not verifiable before a first login: no user of it "
              "is known with a password for the server",
              entry.name);
  }
  return pools;
}

/// A user who was guessed need not be one of that database.
bool is_refusal(const Error& error) {
  return error.sqlstate.starts_with("28") || error.sqlstate == "42501" || error.sqlstate == "3D000";
}

double milliseconds(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

void log_report(const pool::AcquisitionReport& report) {
  const std::string name = report.pool.text();
  using enum pool::AcquisitionReport::Outcome;
  switch (report.outcome) {
    case passed:
      return log::line(
          log::Level::log,
          "verify_acquire: pool {}: {} connections, {} clients had one after {:.1f} ms "
          "(p50), {:.1f} ms (p99), {:.1f} ms (max)",
          name, report.opened, report.acquirers, milliseconds(report.p50), milliseconds(report.p99),
          milliseconds(report.max));
    case unverifiable:
      return log::line(
          log::Level::warning, "verify_acquire: pool {} is not verifiable before a first login: {}",
          name, report.error ? report.error->message : "no password for the server is known");
    case failed: return;  // the error tells
  }
}

}  // namespace

/// Fails with the first pool that did.
Result<void> Proxy::verify_acquire() {
  if (!loaded_.settings.verify_acquire) return {};
  const std::vector<PoolToVerify> pools = pools_to_verify(loaded_.settings, clusters_);
  std::vector<pool::PoolName> names;
  for (const PoolToVerify& pool : pools) names.push_back(pool.name);
  std::vector<pool::AcquisitionReport> reports;
  std::unique_ptr<pool::AcquisitionTest> test;
  wait_for(loop_, [&](const std::function<void()>& over) {
    test = std::make_unique<pool::AcquisitionTest>(
        pools_, names, [&, over](const std::vector<pool::AcquisitionReport>& found) {
          reports = found;
          over();
        });
    test->start();
  });
  using enum pool::AcquisitionReport::Outcome;
  for (std::size_t i = 0; i < reports.size(); ++i) {
    pool::AcquisitionReport& report = reports[i];
    const bool is_refused = report.outcome == failed && report.error && is_refusal(*report.error);
    if (is_refused && pools[i].is_guessed) report.outcome = unverifiable;
    log_report(report);
  }
  for (const pool::AcquisitionReport& report : reports) {
    if (report.outcome != failed) continue;
    Error error = report.error.value_or(Error{});
    error.message = "verify_acquire: " + error.message;
    return std::unexpected(error);
  }
  return {};
}

}  // namespace pgproxy::app
