#include "control/cluster_slot.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "control/control_target.hpp"

#include "pgproxy/base/log.hpp"

namespace pgproxy::control {
namespace {

/// Tells the others who we are before there is a lock of ours. What keepalives do not see, an
/// answer on its way to a host that died, tcp_user_timeout bounds (PostgreSQL 12);
/// idle_session_timeout (14) is for those who forget to leave.
constexpr std::string_view introduce_sql = R"(
SELECT pg_catalog.pg_is_in_recovery()::pg_catalog.text,
       pg_catalog.pg_backend_pid()::pg_catalog.text,
       pg_catalog.set_config('application_name', $1, false),
       (SELECT pg_catalog.count(pg_catalog.set_config(name,
                 CASE name WHEN 'tcp_user_timeout' THEN $2 ELSE '0' END, false))
          FROM pg_catalog.pg_settings
         WHERE name OPERATOR(pg_catalog.=) ANY ('{tcp_user_timeout,idle_session_timeout}'
                                                ::pg_catalog.text[])))";

/// A row is looked at only when those before it were not locked, and none behind the first that
/// was.
constexpr std::string_view take_sql = R"(
SELECT slot::pg_catalog.text
  FROM pg_catalog.generate_series(1, $2::pg_catalog.int4) AS slot
 WHERE pg_catalog.pg_try_advisory_lock($1::pg_catalog.int4, slot)
 LIMIT 1)";

template <class T>
T number_in(const std::optional<std::string>& text) {
  T number = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), number);
  return number;
}

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

Duration question_interval(const config::Settings& settings) {
  const Duration one = settings.check_interval;
  const Duration other = settings.capacity_check_interval;
  if (one == Duration::zero() || other == Duration::zero()) return std::max(one, other);
  return std::min(one, other);
}

}  // namespace

std::string SlotHost::name() const {
  return server_name(host, port);
}

ClusterSlot::ClusterSlot(Services services, const config::Settings& settings,
                         std::vector<SlotHost> hosts, Owner owner)
    : services_(services),
      settings_(settings),
      hosts_(std::move(hosts)),
      owner_(std::move(owner)),
      since_(services.loop.wall_now()),
      without_since_(services.loop.now()),
      reason_("its server is being asked for the first time"),
      timer_(*this) {}

ClusterSlot::~ClusterSlot() = default;

std::string_view ClusterSlot::name_of(State state) {
  switch (state) {
    case State::acquiring: return "acquiring";
    case State::held: return "held";
    case State::lost: return "lost";
    case State::refused: return "refused";
  }
  return "";
}

std::string name_of_list(const std::vector<SlotHost>& hosts) {
  std::string name;
  for (const SlotHost& host : hosts) name.append(name.empty() ? "" : ",").append(host.name());
  return name;
}

std::string ClusterSlot::name() const {
  return name_of_list(hosts_);
}

HealthRow ClusterSlot::describe_health() const {
  return {.kind = "coordination",
          .name = name(),
          .state = std::string(name_of(state_)),
          .reason =
              attempts_ > 1 ? fmt::format("{} ({} attempts so far)", reason_, attempts_) : reason_,
          .hint = hint_,
          .since = since_};
}

std::size_t ClusterSlot::place_of(const SlotHost& host, const std::vector<SlotHost>& hosts) {
  const auto at = std::ranges::find(hosts, host.name(), &SlotHost::name);
  return static_cast<std::size_t>(at - hosts.begin());
}

bool ClusterSlot::is_for(const std::vector<SlotHost>& hosts) const {
  if (name() == name_of_list(hosts)) return true;
  return state_ == State::held && !takes_standby_ && place_of(host(), hosts) < hosts.size();
}

/// Without an interval there was no next question.
void ClusterSlot::replan(std::vector<SlotHost> hosts) {
  if (state_ == State::held) at_ = place_of(host(), hosts);
  hosts_ = std::move(hosts);
  if (state_ != State::held || timer_.is_armed()) return;
  services_.loop.timeouts().queue(question_interval(settings_)).arm(timer_, services_.loop.now());
}

void ClusterSlot::acquire(std::function<void(Result<void>)> done) {
  done_ = std::move(done);
  begin_attempt();
}

void ClusterSlot::on_timeout(Timeout& /*timeout*/) {
  if (state_ == State::held) return ask_for_holders();
  begin_attempt();
}

void ClusterSlot::begin_attempt() {
  ++attempts_;
  next_ = 0;
  slot_ = 0;
  takes_standby_ = false;
  first_standby_.reset();
  failures_.clear();
  try_next_host();
}

/// In the list's order, so that all instances find the same one.
void ClusterSlot::try_next_host() {
  if (next_ < hosts_.size()) return connect_to(next_++);
  if (!failures_.empty() || !first_standby_) return fail_without_primary();
  takes_standby_ = true;
  connect_to(*first_standby_);
}

void ClusterSlot::connect_to(std::size_t host) {
  drop_connection();
  at_ = host;
  backend_pid_ = 0;
  connection_ = std::make_unique<Connection>(
      services_, control_target(settings_, hosts_[host].host, hosts_[host].port),
      [this](const Error& error) { lose(explain(error)); });
  connection_->ask(std::string(introduce_sql),
                   {plan().text(), std::to_string(dead_peer_seconds * 1000)},
                   [this](const Answer& answer) { on_introduced(answer); });
}

void ClusterSlot::on_introduced(const Answer& answer) {
  if (!answer) {
    failures_.push_back(explain(answer.error()));
    return try_next_host();
  }
  const Row& row = answer->at(0);
  backend_pid_ = number_in<std::int32_t>(row.at(1));
  const bool is_standby = row.at(0) == "true";
  if (!is_standby || takes_standby_) return take();
  if (!first_standby_) first_standby_ = at_;
  try_next_host();
}

void ClusterSlot::take() {
  connection_->ask(std::string(take_sql),
                   {std::to_string(lock_class), std::to_string(settings_.instances)},
                   [this](const Answer& answer) { on_taken(answer); });
}

void ClusterSlot::on_taken(const Answer& answer) {
  if (!answer) return fail(State::lost, explain(answer.error()));
  if (!answer->empty()) slot_ = number_in<std::uint32_t>(answer->front().at(0));
  ask_for_holders();
}

void ClusterSlot::ask_for_holders() {
  connection_->ask(std::string(holders_sql), {plan().text(), std::to_string(lock_class)},
                   [this](const Answer& answer) { on_holders(answer); });
}

void ClusterSlot::on_holders(const Answer& answer) {
  const auto holders = read_holders(answer);
  if (!holders) {
    const Error error = explain(holders.error());
    return state_ == State::held ? lose(error) : fail(State::lost, error);
  }
  if (state_ == State::held) {
    if (const auto loss = find_loss(*holders)) return lose(*loss);
    return succeed(*holders);
  }
  if (const auto refusal = find_refusal(*holders)) return fail(State::refused, *refusal);
  if (const auto loss = find_loss(*holders)) return fail(State::lost, *loss);
  succeed(*holders);
}

/// For a newcomer only: who holds a slot does not give it up because of one who is to be refused.
std::optional<Error> ClusterSlot::find_refusal(const Holders& holders) const {
  for (const Holder& holder : holders.others) {
    const std::string other = owner_.find_own(*this, holder.backend_pid);
    if (other.empty() || !holder.plan || !holder.plan->is_of(plan())) continue;
    return Error{.sqlstate = "F0000",
                 .message = fmt::format("{} and {} are the same server: what each of its names is "
                                        "planned for comes on top of the other",
                                        name(), other),
                 .hint = "Give it the same host and port in each entry of [databases]."};
  }
  if (slot_ == 0) return all_slots_taken(host().name(), plan(), holders.others);
  return find_conflict(host().name(), plan(), holders.others);
}

std::optional<Error> ClusterSlot::find_loss(const Holders& holders) const {
  if (holders.is_standby && !takes_standby_) {
    return Error{
        .sqlstate = "25006",
        .message = fmt::format("{} is a standby now", host().name()),
        .hint = "Nothing needs to be done when its successor is in the same list of hosts."};
  }
  if (holders.own_slot == slot_) return std::nullopt;
  return Error{.sqlstate = "55000",
               .message = fmt::format("{} does not know of the lock any more", host().name()),
               .hint = "Is something between pgproxy and the server that hands connections on?"};
}

void ClusterSlot::succeed(const Holders& holders) {
  services_.loop.timeouts().queue(question_interval(settings_)).arm(timer_, services_.loop.now());
  reason_ = fmt::format("slot {} of {} at {}{}; others: {}", slot_, settings_.instances,
                        host().name(), takes_standby_ ? ", a standby: there is no primary" : "",
                        holders.others.empty() ? "none" : describe(holders.others));
  if (state_ == State::held) return;
  hint_.clear();
  ++counts_.acquisitions;
  log::line(log::Level::log, "coordination: acquired {} (attempt {}, after {:.1f} s)", reason_,
            attempts_, seconds(services_.loop.now() - without_since_));
  enter(State::held);
  report({});
}

/// An attempt has ended. What it met is logged when that is something else than before.
void ClusterSlot::fail(State state, Error error) {
  drop_connection();
  slot_ = 0;
  ++counts_.failed_attempts;
  services_.loop.timeouts().queue(settings_.attempt_interval).arm(timer_, services_.loop.now());
  const bool is_news = state != state_ || error.message != reason_;
  reason_ = error.message;
  hint_ = error.hint;
  if (is_news) {
    log::line(log::Level::error,
              "coordination: no slot of {} (attempt {}): {}{}{}; it is tried again every {:g} s. "
              "HINT: {}",
              name(), attempts_, error.message,
              error.detail.empty() ? "" : " DETAIL: ", error.detail,
              seconds(settings_.attempt_interval), error.hint);
  }
  if (state != state_) enter(state);
  report(std::unexpected(std::move(error)));
}

void ClusterSlot::fail_without_primary() {
  // A server that refuses us is what can be mended here. There is one failure at least, or a
  // standby was taken.
  const auto refusal = std::ranges::find_if(
      failures_, [](const Error& error) { return !error.sqlstate.starts_with("08"); });
  if (refusal != failures_.end()) std::rotate(failures_.begin(), refusal, refusal + 1);
  Error error = std::move(failures_.front());
  if (hosts_.size() > 1) {
    for (std::size_t i = 1; i < failures_.size(); ++i) {
      error.detail.append(error.detail.empty() ? "" : "; ").append(failures_[i].message);
    }
    if (const std::size_t standbys = hosts_.size() - failures_.size(); standbys > 0) {
      error.detail += fmt::format("{}standbys: {}", error.detail.empty() ? "" : "; ", standbys);
    }
    error.message = fmt::format("no primary among {}: {}", name(), error.message);
  }
  error.hint += " coordination = none is for a single instance that nobody starts twice.";
  fail(State::lost, std::move(error));
}

/// What was held, or was about to be, is so no more.
void ClusterSlot::lose(Error error) {
  if (state_ != State::held) return fail(State::lost, std::move(error));
  ++counts_.losses;
  attempts_ = 0;
  without_since_ = services_.loop.now();
  log::line(log::Level::error,
            "coordination: slot {} of {} at {} is lost: {}; it is tried again at once and then "
            "every {:g} s. The pools go on: instances = {} bounds them. HINT: {}",
            slot_, settings_.instances, host().name(), error.message,
            seconds(settings_.attempt_interval), settings_.instances, error.hint);
  drop_connection();
  reason_ = std::move(error.message);
  hint_ = std::move(error.hint);
  timer_.disarm();
  enter(State::lost);
  begin_attempt();
}

void ClusterSlot::enter(State state) {
  state_ = state;
  since_ = services_.loop.wall_now();
  if (state == State::held) attempts_ = 0;
  owner_.on_change();
}

void ClusterSlot::report(const Result<void>& result) {
  if (const auto done = std::exchange(done_, {})) done(result);
}

/// It may be on the stack.
void ClusterSlot::drop_connection() {
  if (connection_ == nullptr) return;
  connection_->hang_up();
  services_.loop.destroy_later(std::move(connection_));
}

PublishedPlan ClusterSlot::plan() const {
  PublishedPlan plan = host().plan;
  plan.slot = slot_;
  return plan;
}

Error ClusterSlot::explain(const Error& error) const {
  return explain_control_error(settings_, host().name(), error);
}

}  // namespace pgproxy::control
