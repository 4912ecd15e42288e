#include "app/import_questions.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <utility>

#include "app/capacity_guard.hpp"

namespace pgproxy::app {
namespace {

/// A login that fails is a line in a server's log, and may be what locks an account.
constexpr std::size_t most_logins = 10;
/// PgBouncer's server_connect_timeout, where the file has none.
constexpr Duration patience = std::chrono::seconds(15);

bool is_answered(const config::ServerFacts& facts) {
  return !facts.error;
}

/// Another login would meet the same.
bool is_unreachable(const config::ServerFacts& facts) {
  return facts.error && facts.error->sqlstate.starts_with("08");
}

/// All that its limits are, if not who holds connections.
bool tells_limits(const config::ServerFacts& facts) {
  return facts.max_connections > 0;
}

/// With any database this password is refused, or the role may not see the others.
bool is_useless(const config::ServerFacts& facts) {
  return facts.error && (facts.error->sqlstate == "28P01" || tells_limits(facts));
}

class ImportQuestions {
 public:
  explicit ImportQuestions(const config::Settings& draft) : draft_(draft) {
    if (draft_.server_connect_timeout == Duration::zero()) draft_.server_connect_timeout = patience;
    draft_.check = config::CapacityCheck::report;
  }

  config::ImportAnswers ask() {
    const auto logins = config::import_logins(draft_);
    if (logins.empty()) {
      return {.login = {},
              .servers = {},
              .reason =
                  "the file has no password that logs in: no user= in [databases], and no "
                  "line of auth_file but with a hash, as md5 or SCRAM-SHA-256"};
    }
    std::size_t tried = 0;
    for (const config::ImportLogin& login : logins) {
      if (useless_.contains({login.user, login.password})) continue;
      if (tried == most_logins) {
        answers_.reason = fmt::format("{} logins of {} were tried", tried, logins.size());
        break;
      }
      ++tried;
      if (ask_as(login)) break;
    }
    return std::move(answers_);
  }

 private:
  /// True: no other login needs to be tried.
  bool ask_as(const config::ImportLogin& login) {
    draft_.control_user = login.user;
    draft_.control_password = login.password;
    draft_.control_dbname = login.dbname;
    const config::CapacityPlan whole = config::plan_capacity(draft_);
    config::CapacityPlan plan = whole;
    std::erase_if(plan.hosts, [&](const config::HostPlan& host) {
      const config::ServerFacts* known = find(host.host, host.port);
      return known != nullptr && is_unreachable(*known);
    });
    const std::vector<config::ServerFacts> said = ask_servers(draft_, plan);
    if (std::ranges::any_of(said, is_useless)) useless_.insert({login.user, login.password});
    const bool is_for_all = std::ranges::all_of(said, is_answered);
    if (is_for_all && said.size() == whole.hosts.size() && !said.empty()) {
      answers_.login = login;
      answers_.servers = said;
      return true;
    }
    for (const config::ServerFacts& facts : said) remember(facts);
    return is_for_all || std::ranges::all_of(answers_.servers, is_unreachable);
  }

  config::ServerFacts* find(const std::string& host, std::uint16_t port) {
    const auto found = std::ranges::find_if(answers_.servers, [&](const auto& known) {
      return known.host == host && known.port == port;
    });
    return found != answers_.servers.end() ? &*found : nullptr;
  }

  /// Keeps the best that a server has said.
  void remember(const config::ServerFacts& facts) {
    config::ServerFacts* known = find(facts.host, facts.port);
    if (known == nullptr) {
      answers_.servers.push_back(facts);
    } else if (is_answered(facts) || (tells_limits(facts) && !tells_limits(*known))) {
      *known = facts;
    }
  }

  config::Settings draft_;
  config::ImportAnswers answers_;
  std::set<std::pair<std::string, std::string>> useless_;  ///< user, password
};

}  // namespace

config::ImportAnswers ask_for_import(const config::Settings& draft) {
  if (config::plan_capacity(draft).hosts.empty()) {
    return {.login = {}, .servers = {}, .reason = "there is no server in [databases]"};
  }
  return ImportQuestions(draft).ask();
}

}  // namespace pgproxy::app
