// What a client's statements leave in its server's session: recognised, asked about, followed.
#include <algorithm>

#include "session/client_session.hpp"
#include "session/prepared_statements.hpp"
#include "session/session_traces.hpp"
#include "session/workload.hpp"

#include "pgproxy/base/text.hpp"
#include "pgproxy/session/sessions.hpp"
#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::session {
namespace {

using sql::Residue;
using sql::ResidueSet;

/// What keeps a server connection for its client when it is there.
constexpr ResidueSet pinning{Residue::temporary_object,   Residue::listen,
                             Residue::advisory_lock,      Residue::cursor,
                             Residue::prepared_statement, Residue::hidden};
/// What no answer takes back.
constexpr ResidueSet lasting{Residue::hidden, Residue::sequence_state};

constexpr ResidueSet settings_or_code{Residue::setting, Residue::any_setting, Residue::code};

/// Observations without a finding after which code counts as clean, and how often it is then asked
/// about again.
constexpr std::uint32_t clean_enough = 3;
constexpr std::uint32_t runs_between_questions = 1000;

/// Settings of one client that are asked for by name.
constexpr std::size_t max_names = 64;
/// Shapes of one transaction that are learned about; with more, some stay unknown.
constexpr std::size_t max_shapes = 64;

/// No setting's name is longer.
constexpr std::size_t max_name_bytes = 256;

/// ROLLBACK, ABORT and the like; a comment may make it true.
bool may_roll_back(std::string_view text) {
  return contains_ignoring_case(text, "rollback") || contains_ignoring_case(text, "abort");
}

/// Rounds of the question in which functions called by functions are looked up.
constexpr std::uint8_t max_rounds = 4;

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

/// They have a meaning within a transaction only, or come in the answer anyway.
bool is_asked_by_name(std::string_view name) {
  const auto is_printable = [](char c) { return c > ' ' && c <= '~'; };
  return std::ranges::all_of(name, is_printable) && name != "transaction_isolation" &&
         name != "transaction_read_only" && name != "transaction_deferrable" &&
         name != "transaction" && name != "role" && name != "session_authorization" &&
         name != sql::hidden_setting && name != "all";
}

/// What only superusers may see: asking for it by name would be an error for others.
bool is_superusers(std::string_view name) {
  return name == "session_preload_libraries" || name == "dynamic_library_path";
}

/// Times that code was looked at without a finding until it counts as clean. A trigger, rule, view
/// or policy may run any: of what touches tables the first run is looked at.
std::uint32_t looks_needed(const sql::Facts& facts) {
  if (facts.leaves.contains(Residue::code)) return clean_enough;
  return facts.touches_relations ? 1 : 0;
}

/// Whether the code that this run of a statement may run is to be asked about.
bool wants_question(const sql::Shape& shape) {
  const std::uint32_t needed = looks_needed(shape.facts);
  return shape.clean_count < needed || (needed > 0 && shape.run_count >= runs_between_questions);
}

/// What the tree of such a statement does not tell.
bool runs_unseen_code(const sql::Facts& facts) {
  using enum sql::StatementKind;
  return facts.functions.empty() || facts.kind == do_block || facts.kind == call ||
         facts.kind == unknown || facts.kind == several || facts.kind == execute ||
         facts.kind == explain;
}

}  // namespace

bool ClientSession::is_pinned() const {
  return server_ != nullptr && traces_ != nullptr && !traces_->pinned_by.empty();
}

bool ClientSession::tracks_residue() const {
  return !keeps_server_for_good();
}

const sql::ShapeRef& ClientSession::shape_of(std::string_view text) const {
  // SET LOCAL may have changed it.
  const pool::SessionState& state =
      server_ != nullptr ? *server_->session_state() : *session_state_;
  return state.has_ambiguous_bytes() ? workload_->shapes.unknown()
                                     : workload_->shapes.find(text, state.backslashes_are_plain());
}

/// To be called with each statement before it is sent; what it returns is the client's answer
/// instead.
std::optional<Error> ClientSession::admit(const sql::ShapeRef& shape, std::string_view text,
                                          Bringer bringer) {
  const sql::Facts& facts = shape->facts;
  workload_->shapes.refresh(*shape);
  ++shape->run_count;
  last_fingerprint_ = shape->fingerprint;
  if (traces_ == nullptr && !session_state_->creates_temporary_objects() &&
      (facts.leaves - ResidueSet{Residue::code}).empty() && !wants_question(*shape) &&
      !facts.changes_code && !facts.sets_locally && !(facts.may_draw && keeps_draws()) &&
      !(facts.controls_transaction && settings_in_doubt_) && !is_on_replica()) {
    has_drawn_ |= facts.may_draw;
    return std::nullopt;
  }
  return examine(shape, text, bringer);
}

std::optional<Error> ClientSession::examine(const sql::ShapeRef& shape, std::string_view text,
                                            Bringer bringer) {
  demote_constant();
  const sql::Facts& facts = shape->facts;
  ResidueSet leaves = facts.leaves - ResidueSet{Residue::code};
  if (wants_question(*shape)) leaves |= {Residue::code};
  if (session_state_->creates_temporary_objects() && facts.may_write) {
    leaves |= {Residue::temporary_object};
  }
  if (is_on_replica() && bringer == Bringer::bind) {
    routing_->is_end_bound = facts.ends_transaction && !facts.chains;
  }
  // In a failed transaction the server refuses it by itself.
  if (server_->transaction_status() != wire::TransactionStatus::failed) {
    if (auto error = objection(*shape, leaves)) return error;
  }
  leaves = leaves - ResidueSet{Residue::sequence_state};
  if (!facts.resets.empty()) leaves |= {Residue::any_setting};  // which default is theirs to tell
  if (bringer != Bringer::parse) note_doubt(facts, leaves, text, bringer);
  has_drawn_ |= facts.may_draw;
  if (facts.may_draw && keeps_draws() && !is_cap_reached()) {
    pin({Residue::sequence_state}, shape->fingerprint);
  }
  if (facts.changes_code && facts.kind != sql::StatementKind::unknown) {
    changes_code_ = true;  // others see it when the transaction has ended
    sessions_.forget_learned(*pool_);
  }
  const bool is_undone = facts.controls_transaction && may_roll_back(text);
  if (traces_ != nullptr) traces_->is_undone |= is_undone;
  const bool may_unpin = is_pinned() && facts.may_remove_residue;
  if (leaves.empty() && !may_unpin) return std::nullopt;
  if (take_constant(*shape, text, bringer)) return std::nullopt;
  SessionTraces& left = traces();
  left.is_undone |= is_undone;
  if (leaves.contains(Residue::code)) note_code(shape);
  note_resets(facts);
  note_names(facts.settings);
  if (leaves.intersects(settings_or_code)) {
    auto names = sql::settings_named(text, server_->session_state()->backslashes_are_plain());
    left.code_names_settings |= leaves.contains(Residue::code) && !names.empty();
    if (facts.kind == sql::StatementKind::do_block) {
      left.code_names_settings |= sql::sets_by_computed_names(text);
      left.functions = sql::functions_called(text);
    }
    note_names(std::move(names));
  }
  note_residue(may_unpin ? leaves | left.pinned_by : leaves, shape->fingerprint);
  return std::nullopt;
}

/// A statement that is too long to be looked at, or a function called by its number.
void ClientSession::admit_unseen() {
  if (!tracks_residue()) return;
  demote_constant();
  doubt_everything();
  const sql::ShapeRef& unknown = workload_->shapes.unknown();
  note_statement(unknown);
  has_drawn_ = true;
  note_code(unknown);
  note_residue(unknown->facts.leaves, unknown->fingerprint);
}

/// The unnamed statement was judged when it was parsed; now it runs, perhaps on another server.
std::optional<Error> ClientSession::admit_unnamed() {
  if (unnamed_ == nullptr || unnamed_->shape == nullptr) return std::nullopt;
  note_statement(unnamed_->shape);
  return admit(unnamed_->shape, unnamed_->query(), Bringer::bind);
}

/// The server holds what cannot be moved to another one, nor seen.
void ClientSession::pin_for_good(std::uint64_t fingerprint) {
  if (tracks_residue()) note_residue({Residue::hidden}, fingerprint);
}

/// A statement whose literals only this server has read may keep it for the client.
bool ClientSession::may_pin_for_literals() const {
  return !is_on_replica() && pool_->settings().on_residue != config::OnResidue::error &&
         !is_cap_reached();
}

std::optional<Error> ClientSession::objection(const sql::Shape& shape, ResidueSet leaves) {
  if (leaves.contains(Residue::sequence_state)) {
    if (auto error = objection_to_sequence_state(shape)) return error;
  }
  // What can end a pin (DISCARD, UNLISTEN, DEALLOCATE, pg_advisory_unlock) leaves nothing by
  // itself.
  const ResidueSet pins = shape.facts.may_remove_residue ? ResidueSet{} : leaves & pinning;
  if (is_on_replica() && (!pins.empty() || shape.facts.locks_server)) {
    return objection_on_replica(shape.facts.locks_server);
  }
  if (pins.empty() || is_pinned()) return std::nullopt;
  const Residue reason = pins.first();
  const auto refuse = [&](Error error) {
    ++workload_->counts_of(reason).refusals;
    workload_->log_once(*pool_, shape.fingerprint, reason, "a statement is refused");
    return error;
  };
  const std::string what(sql::to_string(reason));
  if (pool_->settings().on_residue == config::OnResidue::error) {
    return refuse({.sqlstate = "0A000",
                   .message = "statement would leave session state behind: " + what,
                   .detail = "on_residue = error refuses what ties a server connection to its "
                             "client.",
                   .hint = "Set on_residue = pin for this database entry, or use an entry with "
                           "pool_mode = session."});
  }
  if (is_cap_reached()) {
    const config::PoolSettings& settings = pool_->settings();
    return refuse(
        {.sqlstate = "53400",
         .message = "max_pinned_fraction: too many server connections are pinned already",
         .detail = fmt::format("The statement would pin one more ({}); {} of {} are pinned, the "
                               "limit is {} of the pool.",
                               what, workload_->pinned_count, settings.pool_size,
                               settings.max_pinned_fraction),
         .hint = fmt::format("Raise max_pinned_fraction or pool_size (now {} and {}), or see SHOW "
                             "PINS for who holds them.",
                             settings.max_pinned_fraction, settings.pool_size)});
  }
  return std::nullopt;
}

bool ClientSession::is_cap_reached() const {
  if (is_pinned()) return false;
  const config::PoolSettings& settings = pool_->settings();
  if (settings.max_pinned_fraction >= 1) return false;  // servers of the reserve, too
  return workload_->pinned_count + 1 > settings.max_pinned_fraction * settings.pool_size;
}

/// Who draws from a sequence keeps the server connection.
bool ClientSession::keeps_draws() const {
  return workload_->uses_sequence_state ||
         sessions_.settings().on_sequence_state == config::OnSequenceState::pin;
}

/// lastval and currval are right on the server on which the client has drawn last, and it still has
/// that one. Else they would tell what others drew.
std::optional<Error> ClientSession::objection_to_sequence_state(const sql::Shape& shape) {
  if (has_drawn_ || (traces_ != nullptr && traces_->pinned_by.contains(Residue::sequence_state))) {
    return std::nullopt;
  }
  const config::OnSequenceState setting = sessions_.settings().on_sequence_state;
  ++workload_->counts_of(Residue::sequence_state).refusals;
  Error error{.sqlstate = "55000",
              .message = "lastval or currval outside of the transaction that drew from a sequence",
              .detail = "The server connection of that transaction serves other clients by now."};
  if (setting == config::OnSequenceState::error) {
    error.hint = "Use INSERT … RETURNING, or set on_sequence_state = learn or pin.";
  } else {
    workload_->uses_sequence_state = true;
    error.hint =
        "From now on clients of this pool keep the server connection on which they draw; "
        "on_sequence_state = pin does so from the start.";
  }
  workload_->log_once(*pool_, shape.fingerprint, Residue::sequence_state, "a statement is refused");
  return error;
}

void ClientSession::note_code(const sql::ShapeRef& shape) {
  std::vector<sql::ShapeRef>& known = traces().code;
  if (std::ranges::find(known, shape) != known.end()) return;
  if (known.size() < max_shapes) known.push_back(shape);
  if (known.size() == max_shapes) known.back() = workload_->shapes.unknown();
}

/// RESET goes back to what the client logged in with, in every pool mode.
void ClientSession::note_resets(const sql::Facts& facts) {
  if (facts.resets.empty() || startup_state_ == pool_->default_state()) return;
  if (server_->expected().is_skipping()) return;
  SessionTraces& left = traces();
  left.resets.insert(left.resets.end(), facts.resets.begin(), facts.resets.end());
  left.resets_from = cycle_from_;
}

void ClientSession::note_names(std::vector<std::string> names) {
  std::vector<std::string>& known = traces().settings;
  for (std::string& name : names) {
    if (name == sql::hidden_setting) note_residue({Residue::hidden}, traces().pending_shape);
    if (known.size() >= max_names || is_superusers(name)) {
      traces().pending |= {Residue::any_setting};
      if (sql::is_custom_setting(name)) note_residue({Residue::hidden}, traces().pending_shape);
      continue;
    }
    if (is_asked_by_name(name) && !contains(known, name)) known.push_back(std::move(name));
  }
}

/// The names of settings that PostgreSQL does not list, among the values bound to a statement.
void ClientSession::note_values(Bytes part) {
  if (traces_ == nullptr) return;
  const bool names_settings = traces_->pending.contains(Residue::any_setting);
  if (!names_settings && !traces_->pending.contains(Residue::code)) return;
  const auto values = wire::decode_values(part);
  if (!values && names_settings) note_residue({Residue::hidden}, traces_->pending_shape);
  if (!values) return;
  std::vector<std::string> names;
  for (const std::string_view value : *values) {
    std::string name = lower_case(value.substr(0, max_name_bytes + 1));
    if (sql::is_custom_setting(name) || (names_settings && name == sql::hidden_setting)) {
      names.push_back(std::move(name));
    }
  }
  note_names(std::move(names));
}

/// `SET name = constant`, alone in its Query and outside of transactions: its success is all that
/// there is to know.
bool ClientSession::take_constant(const sql::Shape& shape, std::string_view text, Bringer bringer) {
  const bool is_plain = shape.facts.kind == sql::StatementKind::set &&
                        shape.facts.leaves == ResidueSet{Residue::setting} &&
                        shape.facts.resets.empty();
  if (bringer != Bringer::query || !is_plain || !is_between_transactions() ||
      !server_->is_settled())
    return false;
  auto constant = sql::set_constant(text, server_->session_state()->backslashes_are_plain());
  if (!constant || !is_asked_by_name(constant->name)) return false;
  traces().constant = std::move(constant);
  traces_->constant_number = server_->expected().next_number();
  return true;
}

/// More came before the SET was answered: the question has to tell what became of it.
void ClientSession::demote_constant() {
  if (traces_ == nullptr || !traces_->constant) return;
  const sql::SetConstant constant = std::move(*traces_->constant);
  traces_->constant.reset();
  note_names({constant.name});
  note_residue({Residue::setting}, traces_->pending_shape);
}

void ClientSession::apply_constant() {
  const sql::SetConstant constant = std::move(*traces_->constant);
  traces_->constant.reset();
  server_->set_session_state(pool_->context().states.updated(
      server_->session_state(), {{constant.name, constant.value}}, false));
}

void ClientSession::note_residue(ResidueSet leaves, std::uint64_t fingerprint) {
  SessionTraces& left = traces();
  left.pending |= leaves;
  left.pending_shape = fingerprint;
  const bool is_hidden = leaves.contains(Residue::hidden);
  server_->note_residue(is_hidden);
  if (is_hidden) pin({Residue::hidden}, fingerprint);
}

SessionTraces& ClientSession::traces() {
  if (traces_ == nullptr) traces_ = std::make_unique<SessionTraces>();
  return *traces_;
}

/// A Query of ours destroys the unnamed statement on the server; the client's is kept here.
void ClientSession::note_own_query() {
  unnamed_there_ = UnnamedThere::none;
  server_->set_may_have_unnamed(false);
}

/// Statements of the client are on this server only, under its own names.
bool ClientSession::has_own_names() const {
  bool is_any = false;
  if (prepared_ != nullptr) {
    prepared_->for_each(
        [&](const auto&, const auto& statement) { is_any |= statement == nullptr; });
  }
  return is_any;
}

/// From here on lastval and currval are the client's own: until it has drawn something,
/// PostgreSQL's 55000 is the honest answer, and not what another client drew on this server before.
void ClientSession::forget_sequences() {
  if (!is_between_transactions() || server_->expected().is_uncertain()) return;
  std::string out;
  wire::put_query(out, "DISCARD SEQUENCES");
  server_->expect(*this, pool::ReplyKind::injected_query);
  put_in_front(out);
  note_own_query();
}

void ClientSession::pin(ResidueSet reasons, std::uint64_t fingerprint) {
  SessionTraces& left = traces();
  const ResidueSet added = reasons - left.pinned_by;
  if (added.empty()) return;
  if (left.pinned_by.empty()) {
    left.pinned_since = pool_->loop().wall_now();
    left.pinned_shape = fingerprint;
    ++workload_->pinned_count;
    ++pool_->counters().pin_count;
  }
  left.pinned_by |= added;
  for (ResidueSet rest = added; !rest.empty(); rest = rest - ResidueSet{rest.first()}) {
    ++workload_->counts_of(rest.first()).pins;
  }
  workload_->log_once(*pool_, fingerprint, added.first(), "a client keeps its server connection");
  if (added.contains(Residue::sequence_state)) forget_sequences();
}

void ClientSession::unpin() {
  if (traces_ == nullptr || traces_->pinned_by.empty()) return;
  traces_->pinned_by = {};
  --workload_->pinned_count;
}

void ClientSession::drop_traces() {
  if (traces_ != nullptr && traces_->is_empty()) traces_.reset();
}

/// Between transactions: settles what can be settled without the server, asks it about the rest.
/// True: the answer follows, in on_answer().
bool ClientSession::ask_what_is_left() {
  if (!server_->is_settled() || is_mid_message()) return false;
  if (traces_->constant) apply_constant();
  if (traces_->pending.empty() || traces_->pinned_by.contains(Residue::hidden)) {
    drop_traces();
    return false;
  }
  // What was not set after all has its default, which nobody but a superuser may be able to set.
  if (traces_->is_undone && traces_->pending.contains(Residue::setting)) {
    traces_->pending |= {Residue::any_setting};
  }
  const bool any = traces_->pending.intersects({Residue::any_setting, Residue::code});
  pool::QuestionScope scope{.settings = traces_->settings, .all_settings = any};
  // The client's state is older when it is pinned: SETs since then are known of the server.
  for (const pool::Setting& setting : server_->session_state()->settings()) {
    const bool is_custom = setting.name.contains('.');  // not in PostgreSQL's list
    if (any && is_custom && !contains(scope.settings, setting.name)) {
      scope.settings.push_back(setting.name);
    }
  }
  for (const sql::ShapeRef& shape : traces_->code) {
    for (const std::string& name : shape->facts.functions) {
      if (!contains(traces_->functions, name)) traces_->functions.push_back(name);
    }
  }
  scope.functions = traces_->functions;
  state_ = ClientState::asking;
  note_own_query();
  server_->ask_session(std::move(scope));
  return true;
}

void ClientSession::on_answer() {
  const auto truth = server_->take_answer();
  if (!truth) {
    unpin();
    server_->pool().close(*std::exchange(server_, nullptr), "its session could not be determined");
    return fail({.sqlstate = "08006",
                 .message = "the state of the session could not be determined",
                 .detail = "The server did not answer the question what the last transaction left "
                           "behind; its connection is closed.",
                 .hint = "See the server's log for the reason."});
  }
  state_ = ClientState::active;
  if (needs_another_question(*truth) && ask_what_is_left()) return;
  const pool::StateRef state = state_from(*truth);
  const bool is_changed = state != session_state_;
  session_state_ = state;
  ResidueSet found = traces_->pinned_by & lasting;
  if (truth->has_temporary_objects) found |= {Residue::temporary_object};
  if (truth->listens) found |= {Residue::listen};
  if (truth->has_advisory_locks) found |= {Residue::advisory_lock};
  if (truth->has_cursors) found |= {Residue::cursor};
  if (truth->has_sql_statements) found |= {Residue::prepared_statement};
  names_pass_ = truth->has_sql_statements || (names_pass_ && has_own_names());
  if (names_pass_) found |= {Residue::prepared_statement};
  const bool is_same = found == traces_->pinned_by;  // what unpins is to be asked about again
  learn_from(*truth, found.empty() && is_same && !is_changed);
  // It may have set what the answer cannot show.
  must_scrub_ = std::ranges::any_of(traces_->code, [](const auto& shape) {
    return shape->clean_count < looks_needed(shape->facts);
  });
  traces_->pending = {};
  traces_->code.clear();
  traces_->round_count = 0;
  traces_->functions.clear();
  traces_->is_undone = false;
  traces_->code_names_settings = false;
  if (found.empty()) {
    unpin();
    server_->settle(state);
  } else {
    pin(found, traces_->pending_shape);
    traces_->pinned_by = found;
    server_->set_session_state(state);
  }
  drop_traces();
  release_if_possible();
  if (inbox_ != nullptr && may_process()) process_inbox();
}

/// The functions that ran name settings which PostgreSQL does not list, or call other functions.
bool ClientSession::needs_another_question(const pool::SessionTruth& truth) {
  SessionTraces& left = *traces_;
  const std::size_t before = left.settings.size() + left.functions.size();
  for (const auto& [name, source] : truth.volatile_functions) {
    note_names(sql::settings_named(source, true));
    for (std::string& called : sql::functions_called(source)) {
      if (left.functions.size() >= max_names) break;
      if (!contains(left.functions, called)) left.functions.push_back(std::move(called));
    }
    left.code_names_settings |= sql::sets_by_computed_names(source);
  }
  if (left.settings.size() + left.functions.size() == before) return false;
  if (++left.round_count < max_rounds) return true;
  left.code_names_settings = true;  // too deep to be known
  return false;
}

/// The client's settings and role as the server told.
pool::StateRef ClientSession::state_from(const pool::SessionTruth& truth) const {
  auto values = truth.values;
  for (const auto& [name, value] : truth.session_settings) {
    if (is_asked_by_name(name)) values.emplace_back(name, value);
  }
  values.emplace_back("role", truth.role == "none" ? std::nullopt : std::optional(truth.role));
  const bool all = traces_->pending.intersects({Residue::any_setting, Residue::code});
  return pool_->context().states.updated(server_->session_state(), values, all);
}

/// A statement whose functions are all built in, or not volatile, is clean; other code is when
/// nothing was found several times.
void ClientSession::learn_from(const pool::SessionTruth& truth, bool is_clean) {
  const auto is_volatile = [&](const std::string& name) {
    return std::ranges::any_of(truth.volatile_functions,
                               [&](const auto& function) { return function.first == name; });
  };
  const bool is_proof = !traces_->is_undone && !traces_->code_names_settings &&
                        std::ranges::none_of(truth.volatile_functions, [](const auto& function) {
                          return !sql::settings_named(function.second, true).empty();
                        });
  for (const sql::ShapeRef& shape : traces_->code) {
    shape->run_count = 0;
    const sql::Facts& facts = shape->facts;
    if (!is_clean) {
      shape->clean_count = 0;
    } else if (!runs_unseen_code(facts) && std::ranges::none_of(facts.functions, is_volatile)) {
      shape->clean_count = clean_enough;
    } else if (facts.kind != sql::StatementKind::unknown && is_proof) {
      ++shape->clean_count;
    }
  }
}

/// The server is sent something that fails in place of the statement, so that its transaction and
/// the messages behind it go as after any error; the client gets `error`.
void ClientSession::refuse(pool::ReplyKind kind, const Error& error) {
  std::string out;
  const std::string_view text("pgproxy refused a statement\0", 28);
  const bool is_query = kind == pool::ReplyKind::query;
  if (is_query) {
    wire::put_message(out, 'Q', text);
  } else if (kind == pool::ReplyKind::bind) {
    // No statement has this name. No formats, no parameters, no result formats.
    wire::put_message(out, 'B', '\0' + std::string(text) + std::string(6, '\0'));
  } else {
    wire::put_message(out, 'P', '\0' + std::string(text) + std::string(2, '\0'));
  }
  server_->expect_refused(*this, kind, error);
  note_error(error);
  put_in_front(out);
  if (is_query) cycle_from_ = server_->expected().next_number();
  start_cycle();
}

}  // namespace pgproxy::session
