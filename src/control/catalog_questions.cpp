#include "pgproxy/control/catalog_questions.hpp"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "control/control_target.hpp"

#include "pgproxy/base/log.hpp"

namespace pgproxy::control {
namespace {

/// Between two questions to one database, however often it is changed: one costs a server some ten
/// milliseconds.
constexpr Duration least_pause = std::chrono::milliseconds(500);

/// pg_get_viewdef() waits for who alters a table that its view reads: who waits behind our lock
/// shall not have to wait for long.
constexpr std::string_view bound_locks = "SET lock_timeout = '1s'";

Error bad_answer() {
  return {.sqlstate = "08P01", .message = "its answer about the catalog cannot be read"};
}

std::optional<std::vector<route::FunctionRow>> read_functions(const std::vector<Row>& rows) {
  std::vector<route::FunctionRow> functions;
  functions.reserve(rows.size());
  for (const Row& row : rows) {
    if (row.size() != 2 || !row[0]) return std::nullopt;
    functions.push_back({.name = *row[0], .is_volatile = row[1] != "f"});
  }
  return functions;
}

std::optional<std::vector<route::RelationRow>> read_relations(const std::vector<Row>& rows) {
  std::vector<route::RelationRow> relations;
  relations.reserve(rows.size());
  for (const Row& row : rows) {
    if (row.size() != 4 || !row[0] || !row[1]) return std::nullopt;
    relations.push_back(
        {.schema = *row[0], .name = *row[1], .is_table = row[2] == "t", .definition = row[3]});
  }
  return relations;
}

}  // namespace

/// A database whose catalog is wanted.
struct CatalogQuestions::Known {
  route::Cluster& cluster;
  std::vector<io::ServerAddress> servers;  ///< by place in the cluster's view
  std::string dbname;
  bool is_due = true;
  bool is_changed = false;  ///< since it was asked for last
  std::optional<TimePoint> asked_at;
  std::optional<Error> failure;  ///< of the last question
  WallTime failing_since{};
};

struct CatalogQuestions::Round {
  Known& known;
  std::string server;
  TimePoint began_at;
  std::unique_ptr<Connection> connection;
  std::vector<route::FunctionRow> functions;
  std::unique_ptr<io::PendingJob> reading;
};

/// Views are parsed: not for the loop's thread.
class CatalogQuestions::Reading final : public io::Job {
 public:
  Reading(CatalogQuestions& asker, std::vector<route::FunctionRow> functions,
          std::vector<route::RelationRow> relations)
      : asker_(asker),
        safe_functions_(asker.settings_.safe_functions),
        functions_(std::move(functions)),
        relations_(std::move(relations)) {}

  void run() override {
    catalog_ = std::make_shared<const route::Catalog>(functions_, relations_, safe_functions_);
  }
  void on_done() override { asker_.finish(catalog_); }

 private:
  CatalogQuestions& asker_;
  const std::vector<std::string> safe_functions_;
  const std::vector<route::FunctionRow> functions_;
  const std::vector<route::RelationRow> relations_;
  route::CatalogRef catalog_;
};

CatalogQuestions::CatalogQuestions(Services services, const config::Settings& settings)
    : services_(services), settings_(settings), timer_(*this), pause_(*this) {}

CatalogQuestions::~CatalogQuestions() = default;

void CatalogQuestions::ask(route::Cluster& cluster, const std::vector<io::ServerAddress>& servers,
                           const std::string& dbname) {
  const auto at = std::ranges::find_if(known_, [&](const auto& known) {
    return &known->cluster == &cluster && known->dbname == dbname;
  });
  if (at != known_.end()) {
    (*at)->is_due = (*at)->is_changed = true;
  } else {
    known_.push_back(
        std::make_unique<Known>(Known{.cluster = cluster, .servers = servers, .dbname = dbname}));
  }
  if (!timer_.is_armed()) {
    services_.loop.timeouts().queue(settings_.catalog_interval).arm(timer_, services_.loop.now());
  }
  ask_next();
}

void CatalogQuestions::on_primary() {
  ask_next();
}

void CatalogQuestions::clear() {
  end_round();
  known_.clear();
  timer_.disarm();
  pause_.disarm();
}

void CatalogQuestions::on_timeout(Timeout& timeout) {
  if (&timeout == &timer_) {
    services_.loop.timeouts().queue(settings_.catalog_interval).arm(timer_, services_.loop.now());
    for (const auto& known : known_) known->is_due = true;
  }
  ask_next();
}

/// Of those that may be asked by now.
CatalogQuestions::Known* CatalogQuestions::next_due() {
  const TimePoint now = services_.loop.now();
  for (const auto& known : known_) {
    if (!known->is_due) continue;
    const route::ClusterViewRef& view = known->cluster.view();
    if (view == nullptr || !view->primary) continue;
    if (!known->asked_at || now - *known->asked_at >= least_pause) return known.get();
    if (!pause_.is_armed()) services_.loop.timeouts().queue(least_pause).arm(pause_, now);
  }
  return nullptr;
}

void CatalogQuestions::ask_next() {
  if (round_ != nullptr) return;
  if (Known* const known = next_due()) start(*known, *known->cluster.view()->primary);
}

void CatalogQuestions::start(Known& known, std::size_t primary) {
  known.is_due = known.is_changed = false;
  known.asked_at = services_.loop.now();
  const io::ServerAddress& server = known.servers[primary];
  Target target = control_target(settings_, server.host, server.port);
  target.dbname = known.dbname;
  round_ = std::make_unique<Round>(
      Round{.known = known,
            .server = server_name(server.host, server.port),
            .began_at = services_.loop.now(),
            .connection = std::make_unique<Connection>(services_, std::move(target))});
  Connection& connection = *round_->connection;
  connection.ask(std::string(bound_locks), {}, [this](const Answer& answer) {
    if (!answer) return fail(answer.error());
    round_->connection->ask(std::string(route::functions_question()), {},
                            [this](const Answer& found) { on_functions(found); });
  });
}

void CatalogQuestions::on_functions(const Answer& answer) {
  if (!answer) return fail(answer.error());
  auto functions = read_functions(*answer);
  if (!functions) return fail(bad_answer());
  round_->functions = std::move(*functions);
  round_->connection->ask(std::string(route::relations_question()), {},
                          [this](const Answer& found) { on_relations(found); });
}

void CatalogQuestions::on_relations(const Answer& answer) {
  if (!answer) return fail(answer.error());
  auto relations = read_relations(*answer);
  if (!relations) return fail(bad_answer());
  services_.loop.destroy_later(std::move(round_->connection));
  round_->reading = services_.loop.executor().submit(
      std::make_unique<Reading>(*this, std::move(round_->functions), std::move(*relations)));
}

/// Not if it was changed since it was asked for.
void CatalogQuestions::finish(const route::CatalogRef& catalog) {
  Known& known = round_->known;
  const bool is_first = known.failure || known.cluster.want_catalog(known.dbname)->get() == nullptr;
  if (!known.is_changed) {
    known.cluster.set_catalog(known.dbname, catalog);
    log::line(is_first ? log::Level::log : log::Level::debug,
              "catalog of database \"{}\" at {}: {} functions and {} tables and views are known",
              known.dbname, round_->server, catalog->function_count(), catalog->relation_count());
    known.failure.reset();
  }
  end_round();
  ask_next();
}

void CatalogQuestions::fail(const Error& error) {
  Known& known = round_->known;
  const Error explained = explain_control_error(settings_, round_->server, known.dbname, error);
  if (!known.failure) known.failing_since = services_.loop.wall_now();
  if (!known.failure || known.failure->message != explained.message) {
    log::line(log::Level::warning,
              "catalog of {}; its queries go to the primary until that is known (routing = "
              "selects){}{}",
              explained.message, explained.hint.empty() ? "" : ". HINT: ", explained.hint);
  }
  known.failure = explained;
  known.cluster.set_catalog(known.dbname, nullptr);
  end_round();
  ask_next();
}

void CatalogQuestions::end_round() {
  if (round_ == nullptr) return;
  if (round_->connection != nullptr) {
    services_.loop.destroy_later(std::move(round_->connection));
  }
  round_.reset();
}

void CatalogQuestions::describe_health(std::vector<HealthRow>& rows) const {
  for (const auto& known : known_) {
    if (!known->failure) continue;
    rows.push_back({.kind = "catalog",
                    .name = known->dbname,
                    .state = "degraded",
                    .reason = known->failure->message,
                    .hint = known->failure->hint,
                    .since = known->failing_since});
  }
}

}  // namespace pgproxy::control
