#include "pgproxy/session/sessions.hpp"

#include <algorithm>
#include <utility>

#include "session/cancel_session.hpp"
#include "session/client_session.hpp"
#include "session/workload.hpp"

#include "pgproxy/auth/random.hpp"

namespace pgproxy::session {

namespace {

/// For SHOW SLOW_QUERIES and SHOW ERRORS; the log has them all.
constexpr std::size_t max_slow_queries = 100;
constexpr std::size_t max_errors = 100;
/// Buffers kept for reuse; more are rarely in use at once, and a large one is not kept.
constexpr std::size_t max_free_buffers = 256;
constexpr std::size_t max_kept_buffer_bytes = 16 * 1024;

/// In auth_file, or where auth_query finds users: servers keep SCRAM secrets as a rule.
bool has_verifiers(const config::Settings& settings) {
  const auto is_asked = [](const config::Database& entry) { return !entry.auth_user.empty(); };
  const auto is_verifier = [](const auto& entry) {
    return entry.second.starts_with("SCRAM-SHA-256$");
  };
  return !settings.auth_user.empty() || std::ranges::any_of(settings.databases, is_asked) ||
         (settings.auto_database && is_asked(*settings.auto_database)) ||
         std::ranges::any_of(settings.secrets, is_verifier);
}

/// Somebody may be asked for SCRAM.
bool asks_for_scram(const config::Settings& settings) {
  if (settings.auth_type != config::AuthType::hba) {
    return settings.auth_type == config::AuthType::scram_sha_256;
  }
  return std::ranges::any_of(settings.hba_lines, [](const config::HbaLine& line) {
    return line.method == config::AuthType::scram_sha_256;
  });
}

std::shared_ptr<auth::VerifierCache> make_verifiers(const config::Settings& settings) {
  return std::make_shared<auth::VerifierCache>(settings.scram_iterations, has_verifiers(settings));
}

}  // namespace

Sessions::Sessions(io::Loop& loop, const config::Settings& settings, pool::Pools& pools,
                   ConsoleTarget& console, io::SecretSource& secret_source)
    : loop_(loop),
      settings_(settings),
      pools_(pools),
      console_(console),
      secret_source_(secret_source),
      verifiers_(make_verifiers(settings)) {
  warm_up();
}

Sessions::~Sessions() {
  close_all();
}

void Sessions::on_accepted(std::unique_ptr<io::Transport> transport) {
  const std::uint64_t id = ++pools_.context().last_id;
  sessions_.emplace(id, std::make_unique<ClientSession>(*this, id, std::move(transport)));
}

Sessions::CancelKey Sessions::register_key(ClientSession& session, std::uint32_t wanted_pid) {
  std::uint32_t pid = wanted_pid;
  while (true) {
    const std::uint64_t random = auth::random_u64();
    if (pid != 0 && by_pid_.emplace(pid, &session).second) {
      return {pid, static_cast<std::uint32_t>(random)};
    }
    pid = static_cast<std::uint32_t>(random >> 33);  // 31 bits: clients print it signed
  }
}

void Sessions::cancel(std::unique_ptr<io::Transport> transport, std::uint32_t pid, Bytes secret) {
  const auto at = by_pid_.find(pid);
  if (at == by_pid_.end() || !at->second->has_cancel_secret(secret)) return;  // closed silently
  auto session = std::make_unique<CancelSession>(*this, std::move(transport));
  CancelSession& canceller = *session;
  cancels_.emplace(&canceller, std::move(session));
  at->second->cancel(canceller);
}

void Sessions::remove(ClientSession& session) {
  if (session.cancel_pid() != 0) by_pid_.erase(session.cancel_pid());
  const auto at = sessions_.find(session.id());
  PGPROXY_ASSERT(at != sessions_.end());
  loop_.destroy_later(std::move(at->second));
  sessions_.erase(at);
  note_if_empty();
}

void Sessions::note_if_empty() {
  if (!when_empty_) return;
  // Who has not said yet what it wants can only get to the console.
  const auto may_stay = [](const auto& entry) {
    return entry.second->state() == ClientState::console ||
           entry.second->state() == ClientState::startup;
  };
  if (std::ranges::all_of(sessions_, may_stay)) std::exchange(when_empty_, nullptr)();
}

void Sessions::remove(CancelSession& session) {
  const auto at = cancels_.find(&session);
  if (at == cancels_.end()) return;
  loop_.destroy_later(std::move(at->second));
  cancels_.erase(at);
}

void CancelSession::on_cancel_finished() {
  unlink();
  transport_.reset();
  sessions_.remove(*this);
}

void Sessions::close_doors(std::function<void()> when_empty) {
  draining_ = true;
  when_empty_ = std::move(when_empty);
  staying_.clear();
  for (const auto& [id, session] : sessions_) {
    if (session->state() != ClientState::console) staying_.push_back(id);
  }
  note_if_empty();
}

std::size_t Sessions::drain_next(std::size_t count, bool drops_waiting) {
  for (; count > 0 && !staying_.empty(); --count) {
    const auto at = sessions_.find(staying_.back());
    staying_.pop_back();
    if (at != sessions_.end()) at->second->drain(drops_waiting);
  }
  return staying_.size();
}

/// One may take others with it.
template <class Predicate>
std::size_t Sessions::fail_those(Predicate predicate, const Error& error) {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, session] : sessions_) {
    if (predicate(*session)) ids.push_back(id);
  }
  for (const std::uint64_t id : ids) fail_one(id, error);
  return ids.size();
}

bool Sessions::fail_one(std::uint64_t id, const Error& error) {
  const auto at = sessions_.find(id);
  if (at == sessions_.end()) return false;
  at->second->fail(error);
  return true;
}

std::size_t Sessions::fail_all(const Error& error) {
  return fail_those(
      [](const ClientSession& session) { return session.state() != ClientState::console; }, error);
}

void Sessions::fail_all(const pool::DatabaseEntry& database, const Error& error) {
  fail_those(
      [&](const ClientSession& session) {
        return session.pool() != nullptr &&
               session.pool()->database().config.name == database.config.name;
      },
      error);
}

void Sessions::fail_unflushed(const Error& error) {
  fail_those([](const ClientSession& session) { return session.is_unflushed(); }, error);
}

void Sessions::suspend(bool is_suspended) {
  if (std::exchange(is_suspended_, is_suspended) == is_suspended) return;
  std::vector<std::uint64_t> ids;
  for (const auto& [id, session] : sessions_) ids.push_back(id);
  for (const std::uint64_t id : ids) {
    if (const auto at = sessions_.find(id); at != sessions_.end()) {
      at->second->on_suspension_changed();
    }
  }
}

std::size_t Sessions::unflushed_count() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      sessions_, [](const auto& entry) { return entry.second->is_unflushed(); }));
}

void Sessions::close_all() {
  draining_ = true;
  when_empty_ = nullptr;
  while (!sessions_.empty()) sessions_.begin()->second->shut_down();
}

void Sessions::warm_up() {
  warmup_.reset();
  if (!asks_for_scram(settings_)) return;
  warmup_ = std::make_unique<auth::VerifierWarmup>(loop_.executor(), verifiers_, settings_.secrets);
}

void Sessions::reload() {
  const bool is_other = verifiers_->iterations() != settings_.scram_iterations ||
                        verifiers_->has_verifiers() != has_verifiers(settings_);
  if (is_other) verifiers_ = make_verifiers(settings_);
  warm_up();
  for (const auto& [pool, work] : workloads_) {
    if (work->routing != nullptr && !pool->is_retired()) set_up_routing(*pool, *work);
  }
  std::vector<std::uint64_t> ids;
  for (const auto& [id, session] : sessions_) {
    if (session->pool() != nullptr && session->pool()->is_retired()) ids.push_back(id);
  }
  for (const std::uint64_t id : ids) {  // one may take others with it
    if (const auto at = sessions_.find(id); at != sessions_.end()) at->second->drain(true);
  }
}

void Sessions::forget(const pool::Pool& pool) {
  workloads_.erase(&pool);
}

Workload& Sessions::workload(const pool::Pool& pool) {
  auto& slot = workloads_[&pool];
  if (slot == nullptr) slot = std::make_unique<Workload>();
  return *slot;
}

void Sessions::forget_learned(const pool::Pool& pool) {
  for (const auto& [other, workload] : workloads_) {
    if (&other->database() == &pool.database()) workload->shapes.forget_learned();
  }
  const Routing* const routing = workload(pool).routing.get();
  if (routing != nullptr) routing->cluster->doubt_catalog(pool.server_database());
}

std::vector<PinRow> Sessions::describe_pins() const {
  std::vector<PinRow> rows;
  for (const auto& [id, session] : sessions_) {
    if (session->is_pinned()) rows.push_back(session->describe_pin());
  }
  return rows;
}

std::vector<PinTotalRow> Sessions::describe_pin_totals() const {
  std::vector<PinTotalRow> rows;
  for (const auto& [pool, workload] : workloads_) {
    if (pool->is_retired()) continue;  // another one may have its names
    for (std::size_t i = 0; i < sql::residue_count; ++i) {
      const Workload::Counts& counts = workload->counts[i];
      if (counts.pins == 0 && counts.refusals == 0) continue;
      rows.push_back({.database = pool->database().config.name,
                      .user = pool->user().name,
                      .reason = std::string(sql::to_string(static_cast<sql::Residue>(i))),
                      .pins = counts.pins,
                      .refusals = counts.refusals});
    }
  }
  return rows;
}

std::vector<QueryRow> Sessions::describe_queries() const {
  std::vector<QueryRow> rows;
  for (const auto& [pool, workload] : workloads_) {
    if (pool->is_retired()) continue;
    const auto add = [&](const sql::Shape& shape) {
      if (shape.counts.calls == 0 && shape.counts.time == 0) return;
      rows.push_back({.database = pool->database().config.name,
                      .user = pool->user().name,
                      .fingerprint = shape.fingerprint,
                      .text = shape.text,
                      .counts = shape.counts});
    };
    workload->shapes.for_each(add);
    add(*workload->several);
  }
  std::ranges::sort(rows, std::greater<>(), [](const QueryRow& row) { return row.counts.time; });
  return rows;
}

std::vector<SlowQueryRow> Sessions::describe_slow_queries() const {
  return {slow_queries_.rbegin(), slow_queries_.rend()};
}

void Sessions::remember_slow_query(SlowQueryRow row) {
  if (slow_queries_.size() >= max_slow_queries) slow_queries_.pop_front();
  slow_queries_.push_back(std::move(row));
}

std::vector<WaitRow> Sessions::describe_waits() const {
  std::vector<WaitRow> rows;
  for (const auto& [id, session] : sessions_) {
    if (auto row = session->describe_wait()) rows.push_back(std::move(*row));
  }
  std::ranges::sort(rows, std::greater<>(), &WaitRow::wait);
  return rows;
}

std::vector<ErrorRow> Sessions::describe_errors() const {
  return {errors_.rbegin(), errors_.rend()};
}

void Sessions::remember_error(ErrorRow row) {
  if (errors_.size() >= max_errors) errors_.pop_front();
  errors_.push_back(std::move(row));
}

void Sessions::describe_memory(std::vector<MemoryRow>& rows) const {
  rows.push_back({.name = "client_cache",
                  .size = sizeof(ClientSession),
                  .used = sessions_.size(),
                  .free = 0,
                  .total = sessions_.size() * sizeof(ClientSession)});
  MemoryRow buffers{.name = "iobuf_cache", .free = free_buffers_.size()};
  for (const auto& buffer : free_buffers_) buffers.total += buffer->capacity();
  for (const auto& [id, session] : sessions_) {
    const std::size_t bytes = session->inbox_bytes();
    buffers.used += bytes > 0 ? 1 : 0;
    buffers.total += bytes;
  }
  const std::uint64_t count = buffers.used + buffers.free;
  if (count > 0) buffers.size = buffers.total / count;
  rows.push_back(std::move(buffers));
}

std::unique_ptr<std::string> Sessions::take_buffer() {
  if (free_buffers_.empty()) return std::make_unique<std::string>();
  std::unique_ptr<std::string> buffer = std::move(free_buffers_.back());
  free_buffers_.pop_back();
  return buffer;
}

void Sessions::give_back(std::unique_ptr<std::string> buffer) {
  if (free_buffers_.size() >= max_free_buffers || buffer->capacity() > max_kept_buffer_bytes)
    return;
  buffer->clear();
  free_buffers_.push_back(std::move(buffer));
}

std::vector<ConnectionRow> Sessions::describe() const {
  std::vector<ConnectionRow> rows;
  rows.reserve(sessions_.size());
  for (const auto& [id, session] : sessions_) rows.push_back(session->describe());
  return rows;
}

void Sessions::describe_pools(std::vector<PoolRow>& rows) const {
  std::unordered_map<std::string, PoolRow*> by_name;
  const auto key = [](const std::string& database, const std::string& user) {
    return database + '\0' + user;
  };
  for (PoolRow& row : rows) {
    if (row.replica.empty()) by_name[key(row.database, row.user)] = &row;
  }
  for (const auto& [id, session] : sessions_) {
    const pool::Pool* pool = session->pool();
    if (pool == nullptr) continue;
    const auto at = by_name.find(key(pool->database().config.name, pool->user().name));
    if (at == by_name.end()) continue;
    const ClientState state = session->state();
    // PgBouncer's cl_active: linked to a server, or idle with nothing to ask.
    at->second->cl_active += state != ClientState::waiting && state != ClientState::welcoming;
    at->second->cl_idle += state == ClientState::idle;
    at->second->sv_pinned += session->is_pinned();
  }
}

ListCounts Sessions::count() const {
  ListCounts counts;
  for (const auto& [id, session] : sessions_) {
    const bool is_login = session->state() == ClientState::startup ||
                          session->state() == ClientState::authenticating ||
                          session->state() == ClientState::welcoming;
    ++(is_login ? counts.login_clients : counts.used_clients);
  }
  return counts;
}

}  // namespace pgproxy::session
