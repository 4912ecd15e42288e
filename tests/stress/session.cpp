#include "session.hpp"

#include <algorithm>

namespace stress {

Session Session::logged_in(Random& random, std::uint32_t owner, std::uint32_t login) {
  Session session;
  session.owner = owner;
  session.login = login;
  if (below(random, 3) == 0) session.startup.work_mem = below(random, 2) == 0 ? "5MB" : "6MB";
  if (below(random, 4) == 0) session.startup.statement_timeout = "77s";
  if (below(random, 4) == 0) session.startup.tenant = "first of " + std::to_string(owner);
  session.settings = session.startup;
  return session;
}

std::vector<std::string> Session::startup_parameters() const {
  std::vector<std::string> parameters{
      "user", "app", "database", "test", "application_name", application_name()};
  const Settings standard;
  if (startup.work_mem != standard.work_mem) {
    parameters.insert(parameters.end(), {"work_mem", startup.work_mem});
  }
  if (startup.statement_timeout != standard.statement_timeout) {
    parameters.insert(parameters.end(),
                      {"options", "-c statement_timeout=" + startup.statement_timeout});
  }
  if (!startup.tenant.empty()) {
    parameters.insert(parameters.end(), {"app.tenant", startup.tenant});
  }
  return parameters;
}

bool Session::is_pinned() const {
  return table || cursor || has_lock || listens ||
         std::ranges::any_of(statements,
                             [](const auto& statement) { return statement.second.is_from_sql; });
}

void Session::discard_all() {
  Session fresh;
  fresh.owner = owner;
  fresh.login = login;
  fresh.pid = pid;
  fresh.startup = startup;
  fresh.settings = startup;
  *this = std::move(fresh);
}

}  // namespace stress
