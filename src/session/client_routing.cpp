// Which of its cluster's servers a client's next transaction goes to.
#include <algorithm>

#include "session/beginning.hpp"
#include "session/client_pass.hpp"
#include "session/prepared_statements.hpp"
#include "session/routing.hpp"
#include "session/workload.hpp"

#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::session {
namespace {

using config::OnNoReplica;
using config::ReadConsistency;
using route::Reason;
using route::Target;

/// The messages from `in` on up to the first Sync run once what the first of them names, and
/// nothing else, and are all there.
bool is_one_statement(Bytes in) {
  std::size_t parses = 0;
  std::size_t binds = 0;
  std::size_t executes = 0;
  std::string_view parsed;
  std::string_view bound;
  wire::Header header;
  while (wire::parse_header(in, header) == wire::HeaderStatus::complete &&
         header.total_bytes() <= in.size()) {
    const Bytes body = in.subspan(wire::header_bytes, header.body_bytes);
    switch (header.type) {
      case 'P':
        ++parses;
        parsed = wire::Cursor(body).c_string();
        break;
      case 'B': {
        const auto names = wire::decode_bind_names(body);
        if (!names) return false;
        ++binds;
        bound = names->statement;
        break;
      }
      case 'E': ++executes; break;
      case 'D':
      case 'C': break;
      case 'S':
        return binds == 1 && executes == 1 && (parses == 0 || (parses == 1 && parsed == bound));
      default: return false;
    }
    in = in.subspan(header.total_bytes());
  }
  return false;
}

/// Longest head of a reply that is held back; it is the description of the columns.
constexpr std::size_t max_held_bytes = 16 * 1024;

/// `reply` has nothing but what comes before the first row: it is the same on every server.
bool is_head(Bytes reply) {
  if (reply.size() > max_held_bytes) return false;
  wire::Header header;
  while (wire::parse_header(reply, header) == wire::HeaderStatus::complete) {
    switch (header.type) {
      case '1':
      case '2':
      case 'n':
      case 't':
      case 'T': break;
      default: return false;
    }
    reply = reply.subspan(std::min(reply.size(), header.total_bytes()));
  }
  return true;
}

/// It may be that way for the moment only: what stands in the way of its replay a standby ends with
/// 40001, or 40P01 for a lock on a buffer; and what was made a moment ago it does not have yet.
bool is_for_now(std::string_view sqlstate) {
  static constexpr std::string_view states[] = {
      "3F000",  // invalid_schema_name
      "40001",  // serialization_failure
      "40P01",  // deadlock_detected
      "42703",  // undefined_column
      "42704",  // undefined_object
      "42883",  // undefined_function
      "42P01",  // undefined_table
  };
  return std::ranges::find(states, sqlstate) != std::end(states);
}

/// A standby refuses what writes (25006), tables that are not replicated, and everything in
/// sessions that are serializable by default.
bool is_by_standby(const wire::ErrorFields& fields) {
  if (fields.is_fatal()) return false;
  if (fields.sqlstate == "25006" || is_for_now(fields.sqlstate)) return true;
  return fields.sqlstate == "0A000" && (fields.routine == "get_relation_info" ||
                                        fields.routine == "GetSerializableTransactionSnapshot");
}

}  // namespace

void ClientSession::begin_routing() {
  Routing* const shared = sessions_.routing(*pool_);
  TimeoutListener& self = *this;
  if (shared != nullptr) routing_ = std::make_unique<SessionRouting>(*shared, self);
}

ClientSession::Beginning ClientSession::read_beginning(const Pass& pass, const wire::Header& header,
                                                       Bytes body) const {
  if (body.size() < header.body_bytes) return {};
  const Bytes cycle = pass.in.subspan(pass.pos);
  switch (header.type) {
    case 'Q': {
      const auto text = wire::decode_query(body);
      if (!text) return {};
      return {.shape = shape_of(*text).get(), .text = *text, .is_alone = true};
    }
    case 'P': {
      const auto parse = wire::decode_parse(body);
      if (!parse) return {};
      return {.shape = shape_of(parse->query).get(),
              .text = parse->query,
              .is_alone = is_one_statement(cycle)};
    }
    case 'B': {
      const auto names = wire::decode_bind_names(body);
      if (!names) return {};
      if (names->statement.empty()) {
        if (unnamed_ == nullptr || unnamed_->shape == nullptr) return {};
        return {.shape = unnamed_->shape.get(),
                .text = unnamed_->query(),
                .is_alone = is_one_statement(cycle)};
      }
      const pool::StatementRef* found =
          prepared_ != nullptr ? prepared_->find(names->statement) : nullptr;
      if (found == nullptr || *found == nullptr) return {};
      return {.shape = static_cast<sql::Shape*>((*found)->known().get()),
              .text = (*found)->query(),
              .is_alone = is_one_statement(cycle)};
    }
    default: return {};
  }
}

/// To be called with the first message of each transaction. False: the client waits for a replica,
/// or was refused one.
bool ClientSession::choose_target(Pass& pass, const wire::Header& header, Bytes body) {
  target_ = pool_;
  const bool hears_of_loss = routing_->is_block_lost || routing_->loss != nullptr;
  if (hears_of_loss && !goes_on_after_loss(pass, header, body)) return false;
  routing_->is_waiting = routing_->may_rerun = is_kept_ = false;
  const Beginning beginning = read_beginning(pass, header, body);
  routing_->target = Target::primary;
  routing_->reason = Reason::unknown_text;
  routing_->fingerprint = beginning.shape != nullptr ? beginning.shape->fingerprint : 0;
  if (beginning.shape == nullptr) return true;
  workload_->shapes.refresh(*beginning.shape);
  const sql::Facts& facts = beginning.shape->facts;
  const bool opens_block = facts.starts_transaction != sql::TransactionStart::none;
  const route::SessionFacts session{
      .defaults_to_read_only = session_state_->value(pool::read_only_setting) == "on",
      .defaults_to_serializable =
          session_state_->value("default_transaction_isolation") == "serializable",
      .is_alone = beginning.is_alone || opens_block,
      .was_refused = routing_->was_refused || beginning.shape->is_refused_by_standbys};
  const Routing& shared = routing_->shared;
  const route::Decision decision =
      route::decide(mode_of(shared.settings.routing), facts, sql::route_hint(beginning.text),
                    session, shared.catalog != nullptr ? shared.catalog->get() : nullptr);
  routing_->reason = decision.reason;
  if (decision.target == Target::primary) return true;
  if (!find_replica()) return !refuses_primary();
  routing_->reason = decision.reason;
  routing_->target = Target::replica;
  if (beginning.is_alone && !opens_block && sessions_.settings().rerun_on.replica_refusal) {
    keep_for_primary(pass);
  }
  return true;
}

/// What is sent from here on is a whole cycle, and one statement.
void ClientSession::keep_for_primary(Pass& pass) {
  routing_->may_rerun = is_kept_ = true;
  routing_->held_reply.clear();
  pass.kept_from = pass.pos;
}

/// True: it is kept until it is known that the statement does not fail.
bool ClientSession::hold_reply(Bytes first, Bytes second) {
  std::string& held = routing_->held_reply;
  const std::size_t before = held.size();
  const bool is_short = before + first.size() + second.size() <= max_held_bytes;
  if (is_short && (before + first.size() > 0 || is_head(second))) {
    held += as_text(first);
    held += as_text(second);
    if (is_head(as_bytes(held))) return true;
    held.resize(before);
  }
  routing_->may_rerun = false;
  const std::string head = std::exchange(held, {});  // an idle client holds no buffer
  if (!head.empty()) send(head);
  return false;
}

bool ClientSession::may_run_on_primary(pool::ServerConnection& server) const {
  pool::ExpectedReplies& expected = server.expected();
  return is_on_replica() && is_kept_ && cycle_copy_ != nullptr && body_left_ == 0 &&
         expected.size() == 1 && !expected.is_uncertain() &&
         server.transaction_status() == wire::TransactionStatus::idle;
}

/// An error before anything of the reply was passed on is the client's, unless it is only this
/// server's.
void ClientSession::note_replica_error(pool::ServerConnection& server,
                                       const wire::ErrorFields& fields) {
  routing_->has_early_error |= routing_->is_ending_early;
  // A COMMIT that was sent behind what failed is skipped.
  if (!routing_->is_ending_early) routing_->has_ended = false;
  if (!std::exchange(routing_->may_rerun, false)) return;
  const std::string held = std::exchange(routing_->held_reply, {});
  if (!is_by_standby(fields) || !may_run_on_primary(server)) return send(held);
  routing_->is_rerun_due = true;
  server.replace_error("");
  server.expected().swallow_ready();
  if (cycle_.shape == nullptr) return;
  cycle_.shape->is_refused_by_standbys |= !is_for_now(fields.sqlstate);
  if (std::exchange(cycle_.shape->is_rerun_told, true)) return;
  log::line(
      log::Level::log, subject(),
      "statement {:#x} was refused by the standby {} ({}: {}): run again on the primary, once "
      "(rerun_on; logged for the first time, counted from now on)",
      cycle_.shape->fingerprint, server.host().name(), fields.sqlstate, fields.message);
}

/// The messages in `cycle`, which a standby has seen, do not count; nor is anything prepared by
/// them.
void ClientSession::take_back(Bytes cycle) {
  PoolCounters& counters = pool_->counters();
  counters.bytes_received -= cycle.size();
  wire::Header header;
  while (wire::parse_header(cycle, header) == wire::HeaderStatus::complete &&
         header.total_bytes() <= cycle.size()) {
    const Bytes body = cycle.subspan(wire::header_bytes, header.body_bytes);
    if (header.type == 'B') --counters.bind_count;
    if (header.type == 'P') {
      --counters.client_parse_count;
      if (prepared_ != nullptr) prepared_->forget(wire::Cursor(body).c_string());
    }
    cycle = cycle.subspan(header.total_bytes());
  }
}

/// The cycle once more from its first message, which counts once.
void ClientSession::run_on_primary() {
  routing_->is_rerun_due = is_kept_ = in_cycle_ = cycle_.has_failed = false;
  routing_->was_refused = true;
  timer_.disarm();
  std::unique_ptr<std::string> bytes = std::move(cycle_copy_);
  PoolCounters& counters = pool_->counters();
  ++counters.rerun_count;
  --counters.query_count;
  if (cycle_.shape != nullptr) --cycle_.shape->counts.calls;
  take_back(as_bytes(*bytes));
  if (inbox_ != nullptr) {
    bytes->append(*inbox_);
    sessions_.give_back(std::move(inbox_));
  }
  inbox_ = std::move(bytes);
  release_if_possible();
  if (inbox_ != nullptr && may_process()) process_inbox();
}

/// A transaction that begins on the server at hand.
void ClientSession::count_undecided() {
  routing_->shared.count(is_on_replica() ? Target::replica : Target::primary,
                         is_pinned() ? Reason::pinned : Reason::pipeline, 0, request_at_);
}

/// What a replica has to have replayed. Nullopt: nothing, or that is not known yet.
std::optional<route::WalPosition> ClientSession::fence() {
  SessionRouting& own = *routing_;
  if (!needs_fence()) return std::nullopt;
  if (!own.fence) own.fence = own.shared.cluster->position_since(own.written);
  return own.fence;
}

bool ClientSession::needs_fence() const {
  return routing_->written != 0 &&
         routing_->shared.settings.read_consistency == ReadConsistency::session;
}

/// The least busy of the standbys that may be read from; false: there is none, and why is noted.
bool ClientSession::find_replica() {
  Routing& shared = routing_->shared;
  const route::ClusterViewRef& view = shared.cluster->view();
  routing_->reason = Reason::no_replica;
  if (view == nullptr) return false;
  const std::size_t count = view->hosts.size();
  shared.replicas.resize(count, nullptr);
  shared.loads.resize(count);
  for (std::size_t index = 0; index < count; ++index) {
    const route::HostView& host = view->hosts[index];
    if (host.role != route::Role::standby) continue;
    pool::Pool*& replica = shared.replicas[index];
    if (replica == nullptr) replica = &sessions_.pools().replica_pool(*pool_, host.name);
    shared.loads[index] = {.outstanding = static_cast<std::uint32_t>(replica->outstanding_count()),
                           .weight = shared.settings.host_weights[index],
                           .may_connect = replica->is_usable()};
  }
  route::ReplicaDemand demand{.fence = fence(), .turn = shared.turn++};
  if (shared.settings.max_replica_lag > Duration::zero()) {
    demand.max_lag = shared.settings.max_replica_lag;
  }
  const auto found = route::choose_replica(*view, shared.loads, demand);
  if (found && (!needs_fence() || demand.fence)) {
    target_ = shared.replicas[*found];
    return true;
  }
  routing_->reason = found ? Reason::own_write : found.error();
  if (routing_->reason == Reason::own_write) {
    shared.cluster->want_positions(pool_->loop().now());
  }
  return false;
}

/// No replica may be read from. False: the primary may.
bool ClientSession::refuses_primary() {
  const Routing& shared = routing_->shared;
  const bool is_own_write = routing_->reason == Reason::own_write;
  if (is_own_write || shared.settings.on_no_replica == OnNoReplica::primary) return false;
  if (shared.settings.on_no_replica == OnNoReplica::wait) {
    routing_->is_waiting = true;
    state_ = ClientState::waiting;
    queued_at = pool_->loop().now();
    pool_->wait_queue().arm(timer_, queued_at);
    sessions_.add_replica_waiter(*this);
    return true;
  }
  refuse_waiting(no_replica_error());
  return true;
}

Error ClientSession::no_replica_error() const {
  return {
      .sqlstate = "57P03",
      .message = fmt::format("no replica of {} may be read from", pool_->database().config.name),
      .hint =
          "SHOW HOSTS on the console tells of each server why not (max_replica_lag, its "
          "role, its state); on_no_replica = primary would read from the primary."};
}

/// This server keeps nothing for a client. (In a failed transaction it refuses everything itself.)
bool ClientSession::is_kept_out() const {
  return is_on_replica() && server_->transaction_status() != wire::TransactionStatus::failed;
}

/// What a replica cannot keep for a client, whose next transaction may write; or a lock that would
/// exclude nobody.
Error ClientSession::objection_on_replica(bool is_lock) {
  return {.sqlstate = "0A000",
          .message = is_lock ? "advisory locks cannot be used on a replica"
                             : "statement would leave session state behind on a replica",
          .detail = is_lock ? "A lock there excludes nobody who writes."
                            : "The next transaction of this client may need another server.",
          .hint =
              "Begin the transaction without READ ONLY, or with the comment /* pgproxy: primary "
              "*/ in front."};
}

/// Behind the end of a transaction without a Sync in between there is another one, which may belong
/// elsewhere.
bool ClientSession::is_behind_end(char type) const {
  if (server_ == nullptr || !routing_->has_ended || server_->expected().is_skipping()) return false;
  return type != 'S' && type != 'H' && type != 'X';
}

/// Has this server end the cycle, with a Sync of ours; the client's messages wait for that.
void ClientSession::end_cycle_early() {
  routing_->has_ended = routing_->is_end_bound = false;
  routing_->is_ending_early = true;
  put_sync();
  cycle_from_ = server_->expected().next_number();
}

/// An error before it is one of the client's cycle, which ends with the client's own Sync.
void ClientSession::note_early_end() {
  routing_->is_ending_early = false;
  if (std::exchange(routing_->has_early_error, false)) discard_ = Discard::until_sync;
}

/// It runs code on the primary of which nobody can say that it writes nothing, whatever the form of
/// the statement: that of a view, or of an operator, because of which a standby has refused it.
bool ClientSession::may_write_unseen(const sql::Shape& shape) const {
  if (routing_ == nullptr || is_on_replica()) return false;
  const Routing& shared = routing_->shared;
  if (shared.settings.read_consistency != ReadConsistency::session) return false;
  if (shape.is_refused_by_standbys) return true;
  if (shared.catalog == nullptr || !shape.facts.touches_relations) return false;
  const route::Catalog* const catalog = shared.catalog->get();
  return catalog == nullptr || !shape.facts.is_plain_query || catalog->may_run_code(shape.facts);
}

/// Servers may be others now: a client that waits for a replica looks again.
void ClientSession::on_cluster_changed() {
  if (routing_ == nullptr || !routing_->is_waiting || state_ != ClientState::waiting) return;
  if (!find_replica() && routing_->reason != Reason::own_write) {
    return sessions_.add_replica_waiter(*this);  // its deadline goes on
  }
  look_again();
}

/// The transaction that could not begin is sent on its way once more.
void ClientSession::look_again() {
  state_ = ClientState::idle;
  timer_.disarm();
  process_inbox();
}

/// What the transaction wrote is acknowledged: the answer to the next question covers it.
void ClientSession::note_write_end() {
  may_have_written_ = false;
  if (routing_ == nullptr || is_on_replica()) return;
  routing_->written = routing_->shared.cluster->next_question();
  routing_->fence.reset();
}

/// A standby's connections are read-only by default, whatever their clients want to be: `state`
/// with that setting as `model` has it.
pool::StateRef ClientSession::as_on_replica(const pool::SessionState& model,
                                            pool::StateRef state) const {
  const pool::Setting* setting = model.find(pool::read_only_setting);
  if (setting == nullptr || state->find(pool::read_only_setting) == nullptr) return state;
  return pool_->context().states.with(state, setting->name, setting->value, setting->is_reported);
}

/// The request at hand, which has no server yet, is answered with `error`; the client stays. False:
/// there is none.
bool ClientSession::refuse_waiting(const Error& error) {
  const bool may = state_ == ClientState::waiting || state_ == ClientState::replaying ||
                   (state_ == ClientState::idle && pass_ != nullptr);
  if (!may || discard_ != Discard::nothing) return false;
  if (routing_ != nullptr) routing_->was_refused = false;
  const char first = pass_ != nullptr && pass_->pos < pass_->in.size()
                         ? static_cast<char>(pass_->in[pass_->pos])
                     : inbox_ != nullptr && !inbox_->empty() ? inbox_->front()
                                                             : 'S';
  discard_ = first == 'Q' || first == 'F' ? Discard::one_message : Discard::until_sync;
  std::string out;
  wire::put_error(out, wire::Severity::error, error);
  send(out);
  note_error(error);
  // A replay goes on to its end; the request is dropped behind it.
  if (state_ == ClientState::replaying) return true;
  target_->leave_queue(*this);
  state_ = ClientState::idle;
  pool_->client_idle_queue().arm(timer_, pool_->loop().now());
  if (pass_ == nullptr) process_inbox();
  return true;
}

}  // namespace pgproxy::session
