// [capacity] of an imported configuration, from what its servers say.
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <utility>

#include "config/import_additions.hpp"
#include "config/text.hpp"

#include "pgproxy/base/text.hpp"
#include "pgproxy/config/password_hash.hpp"

namespace pgproxy::config {

namespace {

constexpr std::string_view kWhoMayAsk =
    "QUESTION. Which role may ask the servers for their limits? With control_user, "
    "control_password and control_dbname, and check = enforce, pgproxy --check tells term by term "
    "whether the pools fit.";
constexpr std::string_view kHowMany =
    "QUESTION. How many instances share these servers, and which load is expected? expected_rps "
    "and mean_transaction_ms may stand in each entry of [databases].";
constexpr std::string_view kOwnRole =
    "A role of pgproxy's own is better: CREATE ROLE pgproxy LOGIN PASSWORD '...'; GRANT "
    "pg_monitor TO pgproxy; then control_user = pgproxy with control_password.";
constexpr std::string_view kAnyDatabase = "postgres";  // initdb makes it, for such ends

/// Collects logins, each once.
class LoginList {
 public:
  explicit LoginList(const Settings& settings) : settings_(settings) {}

  /// With the password of auth_file when there is no other. control_dbname is one for all servers:
  /// what each of them has first, then what the login is for.
  void add(const std::string& user, const std::string& password, const std::string& dbname,
           const std::string& origin) {
    const auto secret = settings_.secrets.find(user);
    const bool is_of_file = password.empty() && secret != settings_.secrets.end();
    const std::string& given = is_of_file ? secret->second : password;
    // What a line of the new file cannot hold, control_password cannot be.
    if ((is_of_file && is_password_hash(given)) || trim(given) != given) return;
    for (const std::string& name : {std::string(kAnyDatabase), dbname}) {
      const bool is_known = std::ranges::any_of(logins_, [&](const ImportLogin& known) {
        return known.user == user && known.password == given && known.dbname == name;
      });
      if (!is_known && !name.empty()) logins_.push_back({user, given, name, origin});
    }
  }
  std::vector<ImportLogin> take() { return std::move(logins_); }

 private:
  const Settings& settings_;
  std::vector<ImportLogin> logins_;
};

/// What a server said, in one line.
std::string in_words(const ServerFacts& facts) {
  const std::string name = server_name(facts.host, facts.port);
  if (facts.max_connections == 0) {
    return fmt::format("{} could not be asked: {}", name,
                       facts.error ? facts.error->message : "it was not tried");
  }
  std::string text = fmt::format(
      "{}: max_connections {}, superuser_reserved_connections {}, reserved_connections {}", name,
      facts.max_connections, facts.superuser_reserved_connections, facts.reserved_connections);
  const auto add_limits = [&](const char* kind, const auto& limits) {
    for (const auto& [of, limit] : limits) {
      if (limit >= 0) text += fmt::format(", connection limit {} of {} {}", limit, kind, of);
    }
  };
  add_limits("role", facts.role_limits);
  add_limits("database", facts.database_limits);
  if (facts.error) return text + "; " + facts.error->message;
  return text +
         fmt::format("; roles that this file does not name hold {} connections", facts.others);
}

/// One way to fill in [capacity], and what --check would say of it.
struct Attempt {
  Additions additions;
  bool is_loaded = false;  ///< it is a configuration, whether the pools fit or not
  std::vector<Problem> problems;
  std::vector<CapacityRow> rows;
};

/// Tries values until they fit.
class Fitter {
 public:
  Fitter(const Settings& draft, const ImportAnswers& answers,
         const std::function<std::string(const Additions&)>& write)
      : draft_(draft),
        answers_(answers),
        login_(*answers.login),
        write_(write),
        known_users_(users_with_secrets(draft)) {}

  Additions fit() const {
    // Who is known may have a pool in each entry: so many, or as many as there is room for.
    std::size_t pools = std::max<std::size_t>(1, known_users_.size());
    Attempt attempt = check(pools, "enforce");
    if (!attempt.problems.empty()) {
      std::size_t fitting = 0;
      while (pools - fitting > 1) {
        const std::size_t middle = fitting + (pools - fitting) / 2;
        (check(middle, "enforce").problems.empty() ? fitting : pools) = middle;
      }
      attempt = check(std::max<std::size_t>(1, fitting), "enforce");
    }
    if (attempt.problems.empty()) return finish(std::move(attempt));
    Attempt reporting = check(1, "report");
    if (!reporting.is_loaded) return without(reporting.problems);
    reporting.problems = attempt.problems;
    return finish(std::move(reporting));
  }

 private:
  /// The verdict of --check about the file with these additions.
  Attempt check(std::size_t pools, const char* how) const {
    Attempt attempt{.additions = additions(pools, how), .problems = {}, .rows = {}};
    const Loaded loaded = load_text(write_(attempt.additions), "the new file");
    attempt.is_loaded = loaded.problems.empty();
    const CapacityVerdict verdict =
        judge_capacity(loaded.settings, plan_capacity(loaded.settings), answers_.servers);
    attempt.problems = loaded.problems;
    attempt.problems.insert(attempt.problems.end(), verdict.problems.begin(),
                            verdict.problems.end());
    attempt.rows = verdict.rows;
    return attempt;
  }

  Additions additions(std::size_t pools, const char* how) const {
    Additions result;
    result.settings["check"] = {how, std::string(how) == "enforce"
                                         ? "The servers were asked, and have room."
                                         : "Not enforce, which would not start: see the NOTEs."};
    result.settings["control_user"] = {
        login_.user, fmt::format("The login that worked ({}). {}", login_.origin, kOwnRole)};
    result.settings["control_dbname"] = {login_.dbname, "Where that login worked."};
    const auto secret = draft_.secrets.find(login_.user);
    const std::string known = secret != draft_.secrets.end() ? secret->second : "";
    if (login_.password != known) {
      result.settings["control_password"] = {login_.password,
                                             fmt::format("As in {}.", login_.origin)};
    }
    // Who asks servers is not taken for a user of databases, but for a line that says so.
    if (wants_line()) {
      result.users[login_.user] = {
          "weight=1", "control_user, and a user of databases all the same: the pools count."};
    }
    const Settings settings = with_line_of_login();
    for (const Database& entry : draft_.databases) {
      if (!pool_users(settings, entry)) bound(result, entry, pools);
    }
    if (draft_.auto_database) bound_auto_database(result, *draft_.auto_database);
    return result;
  }

  /// The draft as it will be read again.
  Settings with_line_of_login() const {
    Settings settings = draft_;
    settings.control_user = login_.user;
    if (wants_line()) settings.users.push_back({.name = login_.user});
    return settings;
  }

  bool wants_line() const {
    return draft_.find_user(login_.user) == nullptr &&
           std::ranges::find(known_users_, login_.user) != known_users_.end();
  }

  /// The sum of its pools is not known: max_db_connections has to say it.
  void bound(Additions& result, const Database& entry, std::size_t pools) const {
    if (entry.max_db_connections.value_or(draft_.max_db_connections) != 0) return;
    const PoolSettings pool = effective_settings(draft_, entry, "");
    const std::uint32_t need = needed_connections(draft_, entry, "").connections;
    const auto limit = std::max(
        need, static_cast<std::uint32_t>(pools) * (pool.pool_size + pool.reserve_pool_size));
    result.entries[entry.name] = {
        fmt::format("max_db_connections={}", limit),
        fmt::format(
            "max_db_connections, as the users of {} are not all known: (pool_size {} + "
            "reserve_pool_size {}) * {} pool{} = {}, at least what the load needs: {}. PgBouncer "
            "had no limit; {}.",
            in_quotes(entry.name), pool.pool_size, pool.reserve_pool_size, pools,
            pools == 1 ? "" : "s", pools * (pool.pool_size + pool.reserve_pool_size), need,
            of_how_many(pools))};
  }

  std::string of_how_many(std::size_t pools) const {
    if (pools >= known_users_.size()) return "auth_file knows no more users";
    return fmt::format("auth_file knows {} users, and there is no room for a pool for each",
                       known_users_.size());
  }

  /// All of its databases at a server may have what the server allows.
  void bound_auto_database(Additions& result, const Database& entry) const {
    bound(result, entry, 1);
    if (draft_.max_host_connections != 0) return;
    std::uint32_t least = UINT32_MAX;
    for (const ServerFacts& facts : answers_.servers) {
      const std::uint32_t kept = facts.superuser_reserved_connections + facts.reserved_connections;
      const double usable = facts.max_connections > kept ? facts.max_connections - kept : 0;
      const double allowed = std::floor(usable * draft_.safety_margin + 1e-9) / draft_.instances;
      least = std::min(least, static_cast<std::uint32_t>(allowed));
    }
    result.settings["max_host_connections"] = {
        std::to_string(std::max(1U, least)),
        fmt::format("How many databases \"*\" stands for is not known: the least that a server "
                    "allows, (max_connections - reserved) * safety_margin {:g}.",
                    draft_.safety_margin)};
  }

  /// The arithmetic, and what is wrong with it, as comments.
  Additions finish(Attempt attempt) const {
    auto& remarks = attempt.additions.remarks;
    remarks.push_back(fmt::format("ADDED. The servers were asked as {} in database {}; they said:",
                                  login_.user, login_.dbname));
    for (const ServerFacts& facts : answers_.servers) remarks.push_back(in_words(facts));
    for (const CapacityRow& row : attempt.rows) {
      if (row.kind == "pool") continue;
      remarks.push_back(
          fmt::format("{} {}: {}: {}", row.kind, row.name, row.state, row.arithmetic));
      if (row.state == "crowded") remarks.push_back("NOTE. " + row.hint);
    }
    for (const Problem& problem : attempt.problems) {
      remarks.push_back(fmt::format("NOTE. {}. What would fit: {}", problem.message, problem.hint));
    }
    remarks.emplace_back(kHowMany);
    return std::move(attempt.additions);
  }

  Additions without(const std::vector<Problem>& problems) const {
    ImportAnswers answers = answers_;
    answers.login.reset();
    for (const Problem& problem : problems) {
      answers.reason += fmt::format("{}{}; {}", answers.reason.empty() ? "" : ". ", problem.message,
                                    problem.hint);
    }
    return unanswered_additions(answers);
  }

  const Settings& draft_;
  const ImportAnswers& answers_;
  const ImportLogin& login_;
  const std::function<std::string(const Additions&)>& write_;
  const std::vector<std::string> known_users_;  ///< of auth_file
};

}  // namespace

std::vector<ImportLogin> import_logins(const Settings& settings) {
  LoginList list(settings);
  const std::string first =
      settings.databases.empty() ? "" : settings.databases.front().server_dbname();
  for (const Database& entry : settings.databases) {
    if (entry.user.empty()) continue;
    list.add(entry.user, entry.password, entry.server_dbname(),
             fmt::format("user= of entry {}", entry.name));
  }
  if (!settings.auth_user.empty()) {
    const Database* asked = settings.find_database(settings.auth_dbname);
    list.add(settings.auth_user, "", asked != nullptr ? asked->server_dbname() : first,
             "auth_user");
  }
  for (const auto& [user, secret] : settings.secrets) list.add(user, "", first, "auth_file");
  return list.take();
}

Additions unanswered_additions(const ImportAnswers& answers) {
  Additions additions;
  std::string question(kWhoMayAsk);
  if (!answers.reason.empty()) question += fmt::format(" Not found out: {}.", answers.reason);
  additions.remarks.push_back(std::move(question));
  for (const ServerFacts& facts : answers.servers) {
    if (facts.error) {
      additions.remarks.push_back(
          fmt::format("QUESTION. {}. {}", in_words(facts), facts.error->hint));
    } else {
      additions.remarks.push_back("Answered has " + in_words(facts) + ".");
    }
  }
  additions.remarks.emplace_back(kHowMany);
  return additions;
}

Additions answered_additions(const Settings& draft, const ImportAnswers& answers,
                             const std::function<std::string(const Additions&)>& write) {
  return Fitter(draft, answers, write).fit();
}

}  // namespace pgproxy::config
