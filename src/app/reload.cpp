#include "app/reload.hpp"

#include <set>
#include <utility>

#include "pgproxy/base/log.hpp"
#include "pgproxy/base/text.hpp"

namespace pgproxy::app {
namespace {

/// The first with its hint, and how many there are.
Error in_short(const std::vector<config::Problem>& problems) {
  const config::Problem& first = problems.front();
  const std::string place =
      first.file.empty() ? "" : fmt::format("{}:{}: ", first.file, first.line);
  Error error{.sqlstate = "F0000", .message = place + first.message, .hint = first.hint};
  if (problems.size() > 1) {
    error.detail = fmt::format("{} problems in all; the log has each of them.", problems.size());
  }
  return error;
}

std::set<std::string> servers_of(const config::CapacityPlan& plan) {
  std::set<std::string> names;
  for (const config::HostPlan& host : plan.hosts) names.insert(host.name());
  return names;
}

}  // namespace

/// Reads a configuration with everything that it names.
class Reload::ReadJob final : public io::Job {
 public:
  using Read = std::function<config::Loaded()>;
  ReadJob(Reload& owner, Read read) : owner_(owner), read_(std::move(read)) {}

  void run() override {
    loaded_ = read_();
    tls_ = load_tls(loaded_);
  }
  void on_done() override { owner_.on_read(std::move(loaded_), std::move(tls_)); }

 private:
  Reload& owner_;
  Read read_;
  config::Loaded loaded_;
  Tls tls_;
};

Reload::Reload(Parts parts) : parts_(std::move(parts)) {}
Reload::~Reload() = default;

/// What is under way may have read the file before it was changed.
void Reload::reload(Done done) {
  if (is_on()) return next_.push_back(std::move(done));
  begin(std::make_unique<ReadJob>(*this, [path = parts_.path] { return config::load(path); }),
        "RELOAD", std::move(done));
}

/// The job has a copy of what runs.
void Reload::set(std::string_view name, std::string_view value, Done done) {
  const auto read = [running = parts_.running, name = std::string(name),
                     value = std::string(value)] {
    return config::with_setting(running, name, value);
  };
  begin(std::make_unique<ReadJob>(*this, read), fmt::format("SET {}", name), std::move(done));
}

void Reload::begin(std::unique_ptr<ReadJob> job, std::string_view what, Done done) {
  if (is_on()) {
    return done(std::unexpected(Error{.sqlstate = "55006",
                                      .message = "a reload is under way already",
                                      .hint = "Try again when it is over."}));
  }
  what_ = what;
  done_ = std::move(done);
  pending_ = parts_.services.loop.executor().submit(std::move(job));
}

void Reload::on_read(config::Loaded loaded, Tls tls) {
  pending_.reset();
  for (const std::string& warning : loaded.warnings) {
    log::line(log::Level::warning, "{}", warning);
  }
  if (!loaded.problems.empty()) {
    for (const config::Problem& problem : loaded.problems) {
      log::line(log::Level::error, "{}", config::format_problem(problem));
    }
    return refuse(in_short(loaded.problems));
  }
  accepted_ = std::make_unique<Accepted>(Accepted{
      .change = config::plan_reload(parts_.running, std::move(loaded)), .tls = std::move(tls)});
  const config::Settings& next = accepted_->change.next.settings;
  accepted_->plan = config::plan_capacity(next);
  if (next.check == config::CapacityCheck::off) return on_asked({});
  if (next.control_user.empty() || next.control_dbname.empty()) {  // the file's wait for a restart
    return refuse({.sqlstate = "F0000",
                   .message = "check is not off, but control_user and control_dbname, which it "
                              "needs, cannot be changed while pgproxy runs",
                   .hint = "Restart, or leave check = off until then."});
  }
  questions_ = std::make_unique<control::CapacityQuestions>(parts_.services, next, accepted_->plan);
  questions_->ask([this](const std::vector<config::ServerFacts>& facts) { on_asked(facts); });
}

void Reload::on_asked(const std::vector<config::ServerFacts>& facts) {
  const config::Settings& next = accepted_->change.next.settings;
  const auto running = servers_of(config::plan_capacity(parts_.running.settings));
  accepted_->verdict = config::judge_capacity(next, accepted_->plan, facts, running);
  const bool is_enforced = next.check == config::CapacityCheck::enforce;
  const auto& problems = accepted_->verdict.problems;
  if (is_enforced && !problems.empty()) {
    for (const config::Problem& problem : problems) {
      log::line(log::Level::error, "{} HINT: {}", problem.message, problem.hint);
    }
    return refuse(in_short(problems));
  }
  std::vector<std::string> lines = accepted_->change.lines();
  if (lines.empty()) lines.emplace_back("nothing has changed");
  for (const std::string& line : lines) log::line(log::Level::log, "{}: {}", what_, line);
  parts_.apply(std::move(*accepted_));
  log::line(log::Level::log, "{}: the configuration is in place", what_);
  finish(lines);
}

void Reload::refuse(Error error) {
  log::line(log::Level::error, "{} refused, the configuration stays as it was: {}", what_,
            error.message);
  finish(std::unexpected(std::move(error)));
}

/// The questions may be on the stack.
void Reload::finish(const Result<std::vector<std::string>>& result) {
  if (questions_ != nullptr) parts_.services.loop.destroy_later(std::move(questions_));
  accepted_.reset();
  std::exchange(done_, nullptr)(result);
  if (next_.empty() || is_on()) return;
  reload([waiting = std::exchange(next_, {})](const Result<std::vector<std::string>>& next) {
    for (const Done& done : waiting) done(next);
  });
}

}  // namespace pgproxy::app
