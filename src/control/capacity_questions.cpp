#include "pgproxy/control/capacity_questions.hpp"

#include <ranges>
#include <string>
#include <utility>

#include "control/capacity_answer.hpp"
#include "control/control_target.hpp"

namespace pgproxy::control {
namespace {

/// A connection takes one of the server's slots, a login costs it a process: below this, the login
/// is what costs more.
constexpr Duration short_interval = std::chrono::seconds(10);

bool keeps_connections(const config::Settings& settings) {
  return settings.capacity_check_interval > Duration::zero() &&
         settings.capacity_check_interval < short_interval;
}

std::vector<std::string> names_of(const std::map<std::string, config::CapacitySum>& sums) {
  std::vector<std::string> names;
  for (const std::string& name : std::views::keys(sums)) names.push_back(name);
  return names;
}

}  // namespace

struct CapacityQuestions::Server {
  CapacityQuestion question;
  Connection connection;
};

CapacityQuestions::CapacityQuestions(Services services, const config::Settings& settings,
                                     const config::CapacityPlan& plan)
    : settings_(settings) {
  for (const config::HostPlan& host : plan.hosts) {
    servers_.push_back(std::unique_ptr<Server>(
        new Server{.question = {.host = host.host,
                                .port = host.port,
                                .roles = names_of(host.roles),
                                .databases = names_of(host.databases)},
                   .connection{services, control_target(settings, host.host, host.port)}}));
  }
}

CapacityQuestions::~CapacityQuestions() = default;

void CapacityQuestions::ask(Done done) {
  if (servers_.empty()) return done({});
  waiting_.push_back(std::move(done));
  if (waiting_.size() > 1) return;
  facts_.assign(servers_.size(), {});
  pending_count_ = servers_.size();
  for (std::size_t index = 0; index < servers_.size(); ++index) {
    Server& server = *servers_[index];
    server.connection.ask(std::string(capacity_sql),
                          server.question.parameters(settings_.control_user),
                          [this, index](const Answer& answer) { finish(index, answer); });
  }
}

void CapacityQuestions::finish(std::size_t index, const Answer& answer) {
  Server& server = *servers_[index];
  if (!keeps_connections(settings_)) server.connection.hang_up();
  facts_[index] = read_capacity_answer(settings_, server.question, answer);
  if (--pending_count_ > 0) return;
  const std::vector<config::ServerFacts> facts = std::move(facts_);
  for (const Done& done : std::exchange(waiting_, {})) done(facts);
}

}  // namespace pgproxy::control
