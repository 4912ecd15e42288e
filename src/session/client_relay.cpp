// ClientSession's relay: from the client's bytes to its server.
#include <algorithm>

#include "session/client_pass.hpp"
#include "session/naming_query.hpp"
#include "session/prepared_statements.hpp"
#include "session/routing.hpp"

#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::session {
namespace {

/// Longest message that is looked at whole; of a longer one, that many bytes of its front.
constexpr std::size_t max_whole_bytes = 64 * 1024;
/// What a client may send ahead while it has to wait, before it is no longer read.
constexpr std::size_t max_inbox_bytes = 64 * 1024;
/// What may wait to be sent to a client before it gets another server.
constexpr std::size_t client_high_water_bytes = 256 * 1024;
/// What may wait to be sent to a server before its client is no longer read.
constexpr std::size_t server_high_water_bytes = 256 * 1024;

/// How much of a message must be there before it can be judged.
std::size_t needed_bytes(const wire::Header& header) {
  switch (header.type) {
    case 'd':
    case 'E':
    case 'F': return wire::header_bytes;
    default: return std::min(header.total_bytes(), max_whole_bytes);
  }
}

/// Without a server it asks for one. Terminate and Flush are for nobody.
bool begins_transaction(char type) {
  return type != 'X' && type != 'H' && type != 'S';
}

const sql::ShapeRef no_shape;

Error protocol_error(std::string message) {
  return {.sqlstate = "08P01", .message = std::move(message)};
}

}  // namespace

void ClientSession::on_data(Bytes bytes) {
  if (login_ != nullptr && pool_ == nullptr && state_ != ClientState::console) {
    return on_login_data(bytes);
  }
  if (inbox_ != nullptr || !may_process()) {
    stash(bytes);
    if (may_process()) process_inbox();
    return;
  }
  const std::size_t used = process(bytes);
  if (state_ != ClientState::closing && used < bytes.size()) stash(bytes.subspan(used));
}

bool ClientSession::may_process() const {
  switch (state_) {
    case ClientState::idle:
      // Who does not take his replies gets no more of them.
      return transport_->queued_bytes() <= client_high_water_bytes;
    case ClientState::console: return console_command_ == nullptr;
    case ClientState::active:
      return server_->queued_bytes() <= server_high_water_bytes && !is_held_back();
    default: return false;
  }
}

void ClientSession::stash(Bytes bytes) {
  if (inbox_ == nullptr) inbox_ = sessions_.take_buffer();
  inbox_->append(as_text(bytes));
  update_back_pressure();
}

/// Deals with what had to wait; keeps what still has to.
void ClientSession::process_inbox() {
  if (inbox_ == nullptr || !may_process()) return update_back_pressure();
  // Out of the way, so that a nested call does not see the same bytes again.
  std::unique_ptr<std::string> bytes = std::move(inbox_);
  const std::size_t used = process(as_bytes(*bytes));
  if (state_ == ClientState::closing) return;
  if (used == bytes->size()) {
    sessions_.give_back(std::move(bytes));
  } else {
    bytes->erase(0, used);
    PGPROXY_ASSERT(inbox_ == nullptr);
    inbox_ = std::move(bytes);
  }
  update_back_pressure();
}

/// Reading stops only when more than allowed waits: a parked client costs no epoll_ctl.
void ClientSession::update_back_pressure() {
  if (state_ == ClientState::closing) return;
  const bool is_full = inbox_ != nullptr && inbox_->size() >= max_inbox_bytes && !may_process();
  const bool is_held = is_full || (sessions_.is_suspended() && pool_ != nullptr);
  if (is_held == is_paused_) return;
  is_paused_ = is_held;
  if (is_held) {
    transport_->pause_reading();
  } else {
    transport_->resume_reading();
  }
}

/// Sends `bytes` behind everything before the message at hand.
void ClientSession::put_in_front(std::string_view bytes) {
  if (pass_ != nullptr) return pass_->insert(*this, bytes);
  server_->send(as_bytes(bytes));
}

/// What was recorded as sent must be sent, also when the client leaves in the middle of process().
void ClientSession::flush_pass() {
  if (pass_ != nullptr) pass_->flush(*this);
}

/// Returns how many bytes of `in` are dealt with; the rest waits for more, or for a server.
std::size_t ClientSession::process(Bytes in) {
  if (state_ == ClientState::console) return read_console(in);
  pool_->counters().bytes_received += in.size();
  Pass pass(in);
  pass_ = &pass;
  while (pass.pos < in.size() && (body_left_ > 0 || !is_held_back())) {
    if (body_left_ > 0) {
      const std::size_t part = std::min<std::size_t>(body_left_, in.size() - pass.pos);
      body_left_ -= static_cast<std::uint32_t>(part);
      if (drop_body_) {
        pass.skip(*this, part);
      } else {
        pass.pos += part;
      }
    } else if (skip_copy_data(pass)) {
      continue;
    } else if (!process_one(pass)) {
      break;
    }
  }
  pass_ = nullptr;
  if (state_ == ClientState::closing) return pass.pos;
  if (server_ != nullptr) {
    pass.flush(*this);
    pass.finish(*this);
    if (is_kept_) keep_cycle(pass);
    // A client that goes on sending, as in COPY, is not the one that query_timeout is for.
    if (in_cycle_ && pass.pos > 0) pool_->query_timeout_queue().arm(timer_, pool_->loop().now());
    // CopyData behind the end of its COPY may have kept this from being done.
    const bool is_late = traces_ != nullptr && !in_cycle_ && state_ == ClientState::active;
    if (!is_late || !restore_startup_settings()) release_if_possible();
  }
  pool_->counters().bytes_received -= in.size() - pass.pos;
  return pass.pos;
}

/// The bulk of a COPY needs no judgement message by message. False: no CopyData for the server
/// here.
bool ClientSession::skip_copy_data(Pass& pass) {
  if (server_ == nullptr || !in_cycle_ || discard_ != Discard::nothing) return false;
  const std::uint8_t* const data = pass.in.data();
  const std::size_t end = pass.in.size();
  std::size_t pos = pass.pos;
  while (end - pos >= wire::header_bytes && data[pos] == 'd') {
    const std::uint32_t length = wire::load_u32(data + pos + 1);
    if (length < 4 || length >= sessions_.settings().max_packet_size) break;  // process_one tells
    const std::size_t there = std::min<std::size_t>(length + 1, end - pos);
    body_left_ = static_cast<std::uint32_t>(length + 1 - there);
    pos += there;
  }
  if (pos == pass.pos) return false;
  drop_body_ = false;
  pass.pos = pos;
  return true;
}

bool ClientSession::process_one(Pass& pass) {
  const Bytes rest = pass.in.subspan(pass.pos);
  wire::Header header;
  const wire::HeaderStatus status = wire::parse_header(rest, header);
  if (status == wire::HeaderStatus::incomplete) return false;
  if (status == wire::HeaderStatus::malformed ||
      header.total_bytes() > sessions_.settings().max_packet_size) {
    fail(protocol_error("invalid message length"));
    return false;
  }
  if (rest.size() < needed_bytes(header)) return false;
  const std::size_t there = std::min(rest.size(), header.total_bytes());
  if (discard_ != Discard::nothing && header.type != 'X') return discard_one(pass, header, there);
  const Bytes body = rest.subspan(wire::header_bytes, there - wire::header_bytes);
  if (routing_ != nullptr && server_ == nullptr && begins_transaction(header.type) &&
      !choose_target(pass, header, body)) {
    return discard_ != Discard::nothing;  // refused: its request is dropped
  }
  if (routing_ != nullptr && is_behind_end(header.type)) {
    end_cycle_early();
    return false;
  }
  const Step step = on_message(pass, header, body);
  if (step == Step::wait && discard_ != Discard::nothing) return true;
  if (step == Step::wait || step == Step::stop) return false;
  body_left_ = static_cast<std::uint32_t>(header.total_bytes() - there);
  drop_body_ = step == Step::drop;
  if (step == Step::drop) {
    pass.skip(*this, there);
  } else {
    pass.pos += there;
  }
  return true;
}

/// After the cancel of a queued request: what belongs to it is dropped and then answered.
bool ClientSession::discard_one(Pass& pass, const wire::Header& header, std::size_t there) {
  if (discard_ == Discard::one_message || header.type == 'S') {
    discard_ = Discard::nothing;
    std::string out;
    wire::put_ready_for_query(
        out, server_ != nullptr ? server_->transaction_status() : status_without_server());
    send(out);
  }
  body_left_ = static_cast<std::uint32_t>(header.total_bytes() - there);
  drop_body_ = true;
  pass.skip(*this, there);
  return true;
}

ClientSession::Step ClientSession::on_message(Pass& pass, const wire::Header& header, Bytes body) {
  const bool is_whole = body.size() == header.body_bytes;
  switch (header.type) {
    case 'Q': return on_query(body, is_whole);
    case 'P': {
      const std::size_t there = wire::header_bytes + body.size();
      return on_parse(pass, pass.in.subspan(pass.pos, there), is_whole);
    }
    case 'B': return on_bind(pass, header, body);
    case 'D':
    case 'C': return on_target(pass, header, body);
    case 'E':
      if (!attach()) return wait_or_stop();
      provide_unnamed(false);
      note_execute();
      end_binding(true);
      if (routing_ != nullptr && !server_->expected().is_skipping()) {
        routing_->has_ended |= routing_->is_end_bound;
      }
      return ask(pool::ReplyKind::execute);
    case 'F':
      // Large objects mostly, but any function can be called this way, by number.
      if (!attach()) return wait_or_stop();
      admit_unseen();
      note_values(body.subspan(std::min(body.size(), sizeof(std::uint32_t))));
      return ask(pool::ReplyKind::function_call);
    case 'S': return on_sync();
    case 'H':
      if (server_ == nullptr) return Step::drop;
      server_->answer_locals();
      return Step::forward;
    case 'd':
    case 'c':
    case 'f': return on_copy_message(header.type);
    case 'X':
      has_terminated_ = true;
      leave("client close request");
      return Step::stop;
    default:
      fail(protocol_error(fmt::format("invalid frontend message type {}",
                                      static_cast<int>(static_cast<unsigned char>(header.type)))));
      return Step::stop;
  }
}

/// Makes sure of a server and records what it will be asked.
ClientSession::Step ClientSession::ask(pool::ReplyKind kind) {
  if (!attach()) return wait_or_stop();
  server_->expect(*this, kind);
  const bool ends_cycle = kind == pool::ReplyKind::query || kind == pool::ReplyKind::sync ||
                          kind == pool::ReplyKind::function_call;
  if (ends_cycle) cycle_from_ = server_->expected().next_number();
  start_cycle();
  return Step::forward;
}

ClientSession::Step ClientSession::on_query(Bytes body, bool is_whole) {
  std::string_view text;
  if (is_whole) {
    const auto decoded = wire::decode_query(body);
    if (!decoded) {
      fail(protocol_error("malformed Query message"));
      return Step::stop;
    }
    text = *decoded;
  }
  if (!attach()) return wait_or_stop();
  std::optional<Error> objection;
  if (!is_whole) {
    admit_unseen();
  } else if (tracks_residue()) {
    const sql::ShapeRef& shape = shape_of(text);
    if (names_prepared(shape->facts) || shape->facts.may_remove_residue) {
      const Step step = name_in_query(shape->facts, text);
      if (step != Step::forward) return step;
    }
    // What a session has not prepared by SQL it cannot leave by its DEALLOCATE.
    const bool only_deallocates = naming_ != nullptr && naming_->only_deallocates() &&
                                  naming_->number == server_->expected().next_number();
    note_statement(shape);
    if (!only_deallocates || is_pinned()) objection = admit(shape, text, Bringer::query);
    if (naming_ != nullptr && !objection) note_sql_prepare();
  } else {
    const sql::ShapeRef& shape = shape_of(text);
    note_statement(shape);
    if (startup_state_ != pool_->default_state()) note_resets(shape->facts);
  }
  // A simple Query destroys the unnamed statement (55.2.3).
  if (server_->expected().is_quiet()) server_->set_may_have_unnamed(false);
  if (note_unnamed_change()) unnamed_.reset();
  if (objection) {
    refuse(pool::ReplyKind::query, *objection);
    return Step::drop;
  }
  // In an open cycle an error may make the server skip the Query, and then wait for a Sync.
  if (!server_->expected().needs_sync()) hold_back_behind_reset();
  return ask(pool::ReplyKind::query);
}

ClientSession::Step ClientSession::on_parse(Pass& pass, Bytes message, bool is_whole) {
  wire::Parse parse;
  if (is_whole) {
    const auto decoded = wire::decode_parse(message.subspan(wire::header_bytes));
    if (!decoded) {
      fail(protocol_error("malformed Parse message"));
      return Step::stop;
    }
    parse = *decoded;
  }
  const std::string_view name = wire::Cursor(message.subspan(wire::header_bytes)).c_string();
  if (name.data() == nullptr) return Step::wait;  // names of any length
  if (server_ == nullptr && is_whole && answer_parse(name, message)) return Step::drop;
  if (!attach()) return wait_or_stop();
  if (!name.empty() && maps_names()) {
    if (is_whole) return on_named_parse(pass, message, parse);
    if (server_->expected().is_skipping()) return Step::drop;
    if (!is_name_certain(name)) return Step::wait;
    ++pool_->counters().client_parse_count;
    // Too long to be looked at, or kept.
    if (is_kept_out()) {
      refuse(pool::ReplyKind::parse, objection_on_replica(false));
      return Step::drop;
    }
    pin_for_good();
    return on_own_parse(name);
  }
  const sql::ShapeRef& shape = is_whole && tracks_residue() ? shape_of(parse.query) : no_shape;
  if (shape != nullptr && maps_names() &&
      (!are_names_certain(shape) || !is_reading_certain(parse.query))) {
    return Step::wait;
  }
  ++pool_->counters().client_parse_count;
  if (!is_whole) {
    pin_for_good();
    if (!name.empty()) provide_unnamed(false);
    // Too long to be kept: this server has it, and stays.
    if (name.empty() && note_unnamed_change()) unnamed_.reset();
    if (name.empty()) server_->set_may_have_unnamed(true);
  } else {
    const auto objection = objection_to_parse(shape, parse);
    if (!name.empty()) {
      provide_unnamed(false);
      if (!objection) pin_for_good();
    } else if (objection) {
      if (note_unnamed_change()) unnamed_.reset();
    } else {
      remember_unnamed(message, shape);
    }
    if (objection) {
      refuse(pool::ReplyKind::parse, *objection);
      return Step::drop;
    }
  }
  return ask(pool::ReplyKind::parse);
}

/// Of a whole Parse whose name is not mapped. `shape`: nullptr where nothing is asked about.
std::optional<Error> ClientSession::objection_to_parse(const sql::ShapeRef& shape,
                                                       const wire::Parse& parse) {
  if (shape == nullptr) {
    if (startup_state_ != pool_->default_state()) note_resets(shape_of(parse.query)->facts);
    return std::nullopt;
  }
  if (only_deallocates(shape->facts, parse.query)) return std::nullopt;  // its Bind sees to it
  const bool is_unnamed = parse.statement.empty();
  auto objection = admit(shape, parse.query, Bringer::parse);
  if (!objection && is_unnamed && maps_names()) objection = name_in_bind(shape, parse.query);
  if (!is_unnamed && is_kept_out()) return objection_on_replica(shape->facts.locks_server);
  return objection;
}

ClientSession::Step ClientSession::on_bind(Pass& pass, const wire::Header& header, Bytes body) {
  const auto names = wire::decode_bind_names(body);
  if (!names) {
    if (body.size() < header.body_bytes) return Step::wait;  // names of any length
    fail(protocol_error("malformed Bind message"));
    return Step::stop;
  }
  if (!attach()) return wait_or_stop();
  end_binding(false);
  if (!names->statement.empty() && maps_names()) {
    const Step step = on_named_bind(pass, header, *names);
    if (step == Step::forward) note_values(names->rest);
    return step;
  }
  if (names->statement.empty() && !is_unnamed_certain()) return Step::wait;
  bound_statement_ = 0;
  const bool is_unnamed = names->statement.empty();
  if (is_unnamed && !is_unnamed_provision_certain()) return Step::wait;
  ++pool_->counters().bind_count;
  if (is_unnamed && unnamed_deallocates()) {
    note_statement(unnamed_->shape);
    bind_deallocation(unnamed_->query());
  } else if (is_unnamed) {
    auto objection = objection_to_unnamed();
    if (!objection) objection = admit_unnamed();
    if (objection) {
      provide_unnamed(false);
      refuse(pool::ReplyKind::bind, *objection);
      return Step::drop;
    }
  }
  note_values(names->rest);
  provide_unnamed(is_unnamed);
  return ask(pool::ReplyKind::bind);
}

ClientSession::Step ClientSession::on_target(Pass& pass, const wire::Header& header, Bytes body) {
  const char type = header.type;
  const auto target = wire::decode_target(body);
  if (!target) {
    if (body.size() < header.body_bytes) return Step::wait;
    fail(protocol_error(type == 'D' ? "malformed Describe message" : "malformed Close message"));
    return Step::stop;
  }
  if (!attach()) return wait_or_stop();
  if (target->kind == 'S' && !target->name.empty() && maps_names()) {
    return type == 'D' ? on_named_describe(pass, target->name) : on_named_close(target->name);
  }
  const bool is_unnamed_statement = target->kind == 'S' && target->name.empty();
  if (type == 'C') {
    if (!is_unnamed_statement) provide_unnamed(false);
    if (is_unnamed_statement && note_unnamed_change()) unnamed_.reset();
    return ask(pool::ReplyKind::close);
  }
  if (is_unnamed_statement) {
    if (!is_unnamed_certain() || !is_unnamed_provision_certain()) return Step::wait;
    if (const auto objection = objection_to_unnamed()) {
      refuse(pool::ReplyKind::describe_statement, *objection);
      return Step::drop;
    }
  }
  provide_unnamed(is_unnamed_statement);
  return ask(target->kind == 'S' ? pool::ReplyKind::describe_statement
                                 : portal_describe(target->name));
}

/// This server may still hold another client's unnamed statement. It loses that in front of the
/// first message that does not replace it, whether or not that uses it: the first is the one that
/// cannot be skipped because of an error before it, and a Close cannot fail. It gets ours in front
/// of the first message that uses it; when there is none, it answers 26000 by itself and in order.
void ClientSession::provide_unnamed(bool is_used) {
  if (unnamed_there_ == UnnamedThere::ours || server_->expected().is_skipping()) return;
  // Where it cannot be what it was, there is none.
  const bool gets_ours = is_used && unnamed_ != nullptr &&
                         !(unnamed_->is_reading_unknown && unnamed_reading() != nullptr);
  if (unnamed_there_ == UnnamedThere::none && !gets_ours) return;
  unnamed_there_ = gets_ours ? UnnamedThere::ours : UnnamedThere::none;
  server_->set_may_have_unnamed(gets_ours);
  if (gets_ours) {
    const pool::ReadingRef reading = unnamed_reading();
    const Recovery recovery = begin_reading(reading);
    unnamed_number_ = server_->expected().next_number();
    server_->expect(*this, pool::ReplyKind::injected_parse);
    put_in_front(unnamed_->parse);
    end_reading(recovery, reading);
    ++pool_->counters().server_parse_count;
    return;
  }
  put_close({});
}

/// False: what the server's unnamed statement is will be known when it has answered.
bool ClientSession::is_unnamed_certain() const {
  pool::ExpectedReplies& expected = server_->expected();
  return unnamed_there_ != UnnamedThere::ours || expected.is_certain(unnamed_number_);
}

/// It outlives the transaction (55.2.3): kept, so that the next server can have it too.
void ClientSession::remember_unnamed(Bytes message, const sql::ShapeRef& shape) {
  if (!note_unnamed_change()) return;
  server_->set_may_have_unnamed(true);
  if (unnamed_ == nullptr) unnamed_ = std::make_unique<UnnamedStatement>();
  unnamed_->parse.assign(as_text(message));
  if (unnamed_->shape != shape) unnamed_->shape = shape;
  remember_reading(*unnamed_);
}

/// To be called when the next message changes the unnamed statement. False: it does not, the server
/// is skipping it. What may yet be skipped is kept, and unnamed_ may be empty then.
bool ClientSession::note_unnamed_change() {
  pool::ExpectedReplies& expected = server_->expected();
  if (expected.is_skipping()) return false;
  unnamed_there_ = UnnamedThere::ours;
  unnamed_number_ = expected.next_number();
  if (expected.is_quiet()) {
    unnamed_changes_.reset();
    return true;
  }
  if (unnamed_changes_ == nullptr) {
    unnamed_changes_ = std::make_unique<std::vector<UnnamedChange>>();
  }
  std::erase_if(*unnamed_changes_, [&](const auto& change) {
    return pool::is_before(change.number, expected.oldest_number());  // answered: it did happen
  });
  unnamed_changes_->push_back({expected.next_number(), std::move(unnamed_)});
  return true;
}

/// An error made the server skip messages: what they did to the unnamed statement did not happen.
void ClientSession::restore_skipped_unnamed() {
  const auto [from, to] = server_->expected().last_skipped();
  const bool is_parse = server_->expected().last_failed() == pool::ReplyKind::parse;
  // The number is one of this server's only when its unnamed statement is ours.
  bool has_failed = is_parse && unnamed_there_ == UnnamedThere::ours && from == unnamed_number_;
  // What is there after all is not worth knowing: ours is put in front again.
  if (unnamed_there_ == UnnamedThere::ours && !pool::is_before(unnamed_number_, from) &&
      pool::is_before(unnamed_number_, to)) {
    unnamed_there_ = UnnamedThere::none;
  }
  std::unique_ptr<UnnamedStatement>* left = &unnamed_;  // what there is behind the skipped ones
  if (unnamed_changes_ != nullptr) {
    auto& changes = *unnamed_changes_;
    const auto is_at = [&](const auto& c) { return c.number == from; };
    has_failed |= is_parse && std::ranges::any_of(changes, is_at);
    const auto first = std::ranges::find_if(
        changes, [&](const auto& c) { return pool::is_before(from, c.number); });
    const auto behind = std::find_if(first, changes.end(),
                                     [&](const auto& c) { return !pool::is_before(c.number, to); });
    std::unique_ptr<UnnamedStatement> before;
    if (first != behind) before = std::move(first->before);
    const bool is_taken_back = first != behind;
    const auto next = changes.erase(first, behind);
    if (next != changes.end()) left = &next->before;
    if (is_taken_back) *left = std::move(before);
  }
  if (has_failed) left->reset();  // a Parse that fails has destroyed the one before
}

ClientSession::Step ClientSession::on_sync() {
  if (server_ == nullptr && state_ == ClientState::idle) {
    tell_loss();
    std::string out;
    wire::put_ready_for_query(out, status_without_server());
    send(out);
    return Step::drop;
  }
  hold_back_behind_reset();
  return ask(pool::ReplyKind::sync);
}

/// CopyData, CopyDone, CopyFail: PostgreSQL ignores them outside of COPY, since a client may still
/// be sending when the COPY has failed; without a server connection we do.
ClientSession::Step ClientSession::on_copy_message(char type) {
  if (server_ == nullptr) return Step::drop;
  // Where it is not known how many ReadyForQuery are to come, one of them may have looked like the
  // end; outside of a COPY the server ignores these by itself.
  if (!in_cycle_ && !server_->expected().is_uncertain()) return Step::drop;
  if (type != 'd') server_->expect(*this, pool::ReplyKind::copy_end);
  return Step::forward;
}

ClientSession::Step ClientSession::wait_or_stop() const {
  return state_ == ClientState::closing ? Step::stop : Step::wait;
}

}  // namespace pgproxy::session
