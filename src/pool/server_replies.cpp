// ServerConnection's reading side: from bytes to owners.
#include <algorithm>
#include <array>
#include <utility>

#include "pgproxy/pool/pool.hpp"
#include "pgproxy/pool/server_connection.hpp"
#include "pgproxy/pool/server_host.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::pool {
namespace {

/// Longest message that is held back until it is complete (ErrorResponse, ParameterStatus).
constexpr std::uint32_t max_held_bytes = 64 * 1024;

/// PostgreSQL has names of up to 63 bytes and 1664 columns: no RowDescription is longer.
constexpr std::uint32_t max_description_bytes = 256 * 1024;

constexpr std::string_view discard_all("DISCARD ALL\0", 12);
constexpr std::string_view deallocate_all("DEALLOCATE ALL\0", 15);

/// ParseComplete and CloseComplete.
constexpr std::array<std::uint8_t, wire::header_bytes> parse_complete = {'1', 0, 0, 0, 4};
constexpr std::array<std::uint8_t, wire::header_bytes> close_complete = {'3', 0, 0, 0, 4};

Bytes local_reply(char type) {
  return type == '1' ? Bytes(parse_complete) : Bytes(close_complete);
}

/// Messages that are judged by what is in them.
bool needs_whole(const wire::Header& header) {
  switch (header.type) {
    case 'Z':
    case 'S':
    case 'A': return true;
    case 'C':
      return header.body_bytes == discard_all.size() || header.body_bytes == deallocate_all.size();
    case 'E': return header.body_bytes <= max_held_bytes;
    default: return false;
  }
}

/// Messages that must be seen whole and are too long for that: nothing that PostgreSQL sends.
bool is_absurd(const wire::Header& header) {
  return header.body_bytes > max_held_bytes && needs_whole(header);
}

}  // namespace

/// One call of read_replies: [begin, pos) is to be handed on to `owner`, behind `prefix`.
struct ServerConnection::ReadPass {
  Bytes in;
  std::size_t pos = 0;
  std::size_t begin = 0;
  ReplyOwner* owner = nullptr;
  std::array<std::uint8_t, wire::header_bytes> header_copy{};
  Bytes prefix{};

  void flush(ServerConnection& server) {
    const Bytes range = in.subspan(begin, pos - begin);
    begin = pos;
    if (prefix.empty() && range.empty()) return;
    const Bytes first = std::exchange(prefix, {});
    owner->on_reply(server, first, range);
  }
  void switch_to(ServerConnection& server, ReplyOwner* next) {
    if (next == owner) return;
    flush(server);
    owner = next;
  }
  void skip(ServerConnection& server, std::size_t count) {
    flush(server);
    pos += count;
    begin = pos;
  }
};

/// Walks headers only; whatever lies contiguous for one owner goes out in one piece.
void ServerConnection::read_replies(Bytes in) {
  pool_.counters().bytes_sent += in.size();
  ReadPass pass{.in = in};
  if (!held_.empty() && !complete_held(pass)) return;
  while (pass.pos < in.size()) {
    if (body_left_ > 0) {
      const std::size_t part = std::min<std::size_t>(body_left_, in.size() - pass.pos);
      body_left_ -= static_cast<std::uint32_t>(part);
      if (drop_body_) {
        pass.skip(*this, part);
      } else {
        pass.switch_to(*this, body_owner_);
        pass.pos += part;
      }
    } else if (skip_rows(pass)) {
      continue;
    } else if (!read_message(pass)) {
      if (state_ == ServerState::closing) return;
      break;
    }
  }
  if (body_left_ == 0 && held_.empty()) give_locals(pass);
  pass.flush(*this);
  notify_quiet();
}

/// Answers of ours whose turn it is, in front of what comes next.
void ServerConnection::give_locals(ReadPass& pass) {
  // Nothing follows a FATAL.
  while (!fatal_forwarded_ && expected_.has_local()) {
    pass.switch_to(*this, expected_.next_owner());
    pass.flush(*this);
    pass.prefix = local_reply(expected_.take_local());
  }
}

void ServerConnection::answer_locals() {
  if (body_left_ > 0 || fatal_forwarded_) return;  // they follow it, or nothing does
  while (expected_.has_local()) {
    ReplyOwner* owner = expected_.next_owner();
    owner->on_reply(*this, local_reply(expected_.take_local()), {});
  }
}

/// The bulk of all traffic: DataRow and CopyData of the reply at hand need no judgement each.
/// False: none here.
bool ServerConnection::skip_rows(ReadPass& pass) {
  if (!expected_.is_in_rows()) return false;
  const std::uint8_t* const data = pass.in.data();
  const std::size_t end = pass.in.size();
  std::size_t pos = pass.pos;
  std::size_t body_left = 0;
  while (end - pos >= wire::header_bytes && (data[pos] == 'D' || data[pos] == 'd')) {
    const std::uint32_t length = wire::load_u32(data + pos + 1);
    if (length < 4 || length > wire::max_body_bytes) break;  // read_message says what is wrong
    const std::size_t there = std::min<std::size_t>(length + 1, end - pos);
    body_left = length + 1 - there;
    pos += there;
  }
  if (pos == pass.pos) return false;
  body_owner_ = expected_.next_owner();
  pass.switch_to(*this, body_owner_);
  pass.pos = pos;
  drop_body_ = false;
  body_left_ = static_cast<std::uint32_t>(body_left);
  return true;
}

bool ServerConnection::read_message(ReadPass& pass) {
  const Bytes rest = pass.in.subspan(pass.pos);
  wire::Header header;
  const wire::HeaderStatus status = wire::parse_header(rest, header);
  const bool is_partial = status == wire::HeaderStatus::incomplete ||
                          (rest.size() < header.total_bytes() && must_be_whole(header));
  if (status == wire::HeaderStatus::malformed || is_absurd(header)) {
    pass.flush(*this);
    in_doubt(static_cast<char>(rest[0]));
    return false;
  }
  if (is_partial) {
    held_.assign(as_text(rest));
    pass.skip(*this, rest.size());
    return false;
  }
  const std::size_t there = std::min(rest.size(), header.total_bytes());
  return hand_on(pass, header, rest.subspan(wire::header_bytes, there - wire::header_bytes), there);
}

bool ServerConnection::must_be_whole(const wire::Header& header) {
  if (header.type != 'T') return needs_whole(header);
  return statements_ != nullptr && header.body_bytes <= max_description_bytes &&
         expected_.is_describing();
}

/// What a statement returns is known from now on: here, and to a client that asked.
void ServerConnection::note_description(const wire::Header& header, Bytes body) {
  if (statements_ == nullptr || !expected_.is_describing() || body.size() < header.body_bytes)
    return;
  const bool is_ours = expected_.is_describing_for_us();
  const std::uint64_t description = description_of(body);
  const std::uint64_t statement = statements_->described(expected_.oldest_number(), description);
  progress_due_ |= is_ours;
  if (!is_ours && statement != 0) {
    expected_.next_owner()->on_described(*this, statement, description);
  }
}

/// Judges a message of which `there` bytes lie at the pass's position and puts them where they
/// belong.
bool ServerConnection::hand_on(ReadPass& pass, const wire::Header& header, Bytes body,
                               std::size_t there) {
  give_locals(pass);
  if (header.type == 'A') {
    // For whoever listens, whatever it is that runs.
    pass.skip(*this, there);
    body_left_ = 0;
    drop_body_ = true;
    if (holder_ != nullptr) holder_->on_notification(*this, body);
    return true;
  }
  ReplyOwner* owner = expected_.next_owner();
  if (owner == nullptr) owner = holder_;
  // What the owner is told of comes after what was before it.
  if (header.type == 'E' || header.type == 'S') pass.flush(*this);
  if (header.type == 'T' || header.type == 'n') note_description(header, body);
  ReplyVerdict verdict = judge(header.type, body);
  if (verdict == ReplyVerdict::unexpected && expected_.is_uncertain() && holder_ != nullptr) {
    verdict = ReplyVerdict::forward;
  }
  if (verdict == ReplyVerdict::unexpected) {
    pass.flush(*this);
    in_doubt(header.type);
    return false;
  }
  if (owner == nullptr && !last_error_.sqlstate.empty()) {
    unlink();  // whoever hears of it looks for an idle one to close
    host_.on_connection_lost(last_error_);
    lost(last_error_);  // a FATAL on an idle connection: gone before anyone is given it
    return false;
  }
  drop_body_ = verdict == ReplyVerdict::swallow || owner == nullptr;
  body_owner_ = owner;
  body_left_ = static_cast<std::uint32_t>(header.total_bytes() - wire::header_bytes - body.size());
  if (drop_body_ || instead_of_error_) {
    drop_body_ = true;
    pass.skip(*this, there);
    if (!instead_of_error_) return true;
    const std::string instead = std::move(*instead_of_error_);
    instead_of_error_.reset();
    if (owner != nullptr && !instead.empty()) owner->on_reply(*this, as_bytes(instead), {});
  } else {
    pass.switch_to(*this, owner);
    pass.pos += there;
  }
  return true;
}

/// Completes the message whose front was held back. False: still not complete, or in doubt.
bool ServerConnection::complete_held(ReadPass& pass) {
  const auto fill = [&](std::size_t size) {
    const std::size_t part =
        std::min(size - std::min(size, held_.size()), pass.in.size() - pass.pos);
    held_ += as_text(pass.in.subspan(pass.pos, part));
    pass.skip(*this, part);
    return held_.size() >= size;
  };
  if (!fill(wire::header_bytes)) return false;
  wire::Header header;
  if (wire::parse_header(as_bytes(held_), header) != wire::HeaderStatus::complete ||
      is_absurd(header)) {
    in_doubt(held_[0]);
    return false;
  }
  if (must_be_whole(header) && !fill(header.total_bytes())) return false;
  const std::string message = std::exchange(held_, {});
  const Bytes body = as_bytes(message).subspan(wire::header_bytes);
  if (!hand_on(pass, header, body, 0)) return false;
  if (drop_body_) return true;
  pass.flush(*this);
  if (body.empty()) {
    // Only the header: it goes out together with what follows.
    std::copy_n(message.begin(), pass.header_copy.size(), pass.header_copy.begin());
    pass.prefix = pass.header_copy;
  } else {
    pass.owner->on_reply(*this, as_bytes(message), {});
  }
  return true;
}

ReplyVerdict ServerConnection::judge(char type, Bytes body) {
  recent_types_[recent_count_++ % recent_types_.size()] = type;
  if (refusals_ != nullptr && is_refused() && type != 'E' && type != 'N' && type != 'A' &&
      type != 'S') {
    return ReplyVerdict::unexpected;  // what was sure to fail did not
  }
  switch (type) {
    case 'N': return ReplyVerdict::forward;
    case 'S': return judge_parameter(body);
    case 'E': return judge_error(body);
    case 'Z': {
      const auto status = wire::decode_ready_for_query(body);
      if (!status) return ReplyVerdict::unexpected;
      status_ = *status;
      quiet_due_ = true;
      if (*status == wire::TransactionStatus::idle) ++pool_.counters().xact_count;
      return expected_.received(type);
    }
    case 'C': judge_command(body); return expected_.received(type);
    case 'G': progress_due_ = true; return expected_.received(type);
    default: return expected_.received(type);
  }
}

void ServerConnection::judge_command(Bytes body) {
  if (expected_.is_executing_for_us()) return;
  if (ReplyOwner* owner = expected_.next_owner()) owner->on_command(as_text(body));
  if (body.empty() || body[0] != 'D') return;
  if (as_text(body) != discard_all && as_text(body) != deallocate_all) return;
  if (statements_ != nullptr) statements_->clear(expected_);
  if (ReplyOwner* owner = expected_.next_owner()) owner->on_deallocated_all(*this);
}

/// The message whose answer comes next is one that is to fail.
bool ServerConnection::is_refused() {
  const std::uint32_t oldest = expected_.oldest_number();
  std::erase_if(*refusals_, [&](const Refusal& r) { return is_before(r.number, oldest); });
  if (!refusals_->empty()) return refusals_->front().number == oldest;
  refusals_.reset();
  return false;
}

void ServerConnection::refuse(const wire::ErrorFields& fields) {
  if (refusals_ == nullptr || !is_refused() || fields.is_fatal()) return;
  std::string message;
  wire::put_error(message, wire::Severity::error, refusals_->front().error);
  refusals_->erase(refusals_->begin());  // a Query's ReadyForQuery is as usual
  replace_error(std::move(message));
}

ReplyVerdict ServerConnection::judge_error(Bytes body) {
  const auto decoded = wire::decode_error(body);
  const wire::ErrorFields fields = decoded.value_or(wire::ErrorFields{});
  ReplyOwner* owner = expected_.next_owner();
  refuse(fields);
  ReplyVerdict verdict = expected_.received('E');
  if (statements_ != nullptr) {
    statements_->take_back(expected_.last_skipped());
    progress_due_ = true;
  }
  if (fields.is_fatal()) {
    // The server says goodbye; EOF follows. A holder without a question hears it too.
    last_error_ = {std::string(fields.sqlstate), std::string(fields.message),
                   std::string(fields.detail), std::string(fields.hint)};
    if (verdict == ReplyVerdict::unexpected) verdict = ReplyVerdict::forward;
    if (owner == nullptr) owner = holder_;
    fatal_forwarded_ = owner != nullptr;
  }
  error_body_ = body;
  if (verdict == ReplyVerdict::forward) pool_.counters().note_error(fields.sqlstate);
  if (owner != nullptr) owner->on_reply_error(*this, fields);
  error_body_ = {};
  return verdict;
}

ReplyVerdict ServerConnection::judge_parameter(Bytes body) {
  const auto parameter = wire::decode_parameter_status(body);
  if (!parameter) return ReplyVerdict::unexpected;
  if (pool_.kind() == PoolKind::replica && parameter->name == hot_standby_setting) {
    pool_.note_doubt(host_);  // it was promoted
    return ReplyVerdict::swallow;
  }
  session_state_ =
      pool_.context().states.with(session_state_, parameter->name, parameter->value, true);
  ReplyOwner* owner = expected_.next_owner();
  const bool is_taken = owner != nullptr && owner->takes_parameter(*parameter);
  return is_taken ? ReplyVerdict::swallow : ReplyVerdict::forward;
}

void ServerConnection::notify_quiet() {
  if ((!quiet_due_ && !progress_due_) || body_left_ > 0 || !held_.empty()) return;
  progress_due_ = false;
  if (!quiet_due_ || (!expected_.is_quiet() && !expected_.is_uncertain())) {
    if (holder_ != nullptr) holder_->on_cycle_done(*this);
    return;
  }
  quiet_due_ = false;
  ++cycle_;
  if (statements_ != nullptr) statements_->settle(expected_);
  if (ask_again()) return;
  if (holder_ != nullptr) holder_->on_replies_done(*this);
}

void ServerConnection::in_doubt(char type) {
  std::string recent;
  for (std::size_t i = recent_count_ - std::min(recent_count_, recent_types_.size());
       i < recent_count_; ++i) {
    recent += recent_types_[i % recent_types_.size()];
  }
  ++pool_.counters().protocol_doubt_count;
  log::line(log::Level::error, subject(),
            "unexpected message {:#04x} from server, last message types: '{}'",
            static_cast<unsigned char>(type), recent);
  lost({.sqlstate = "08P01",
        .message = "server sent an unexpected message; its connection was closed",
        .detail = "What the server answered cannot be told apart safely any more.",
        .hint = "See the log for the last message types, and report it."});
}

/// The holder first, so that it lets go; then the pool, which may hand out permits.
void ServerConnection::lost(const Error& error) {
  ReplyOwner* holder = std::exchange(holder_, nullptr);
  const bool was_told = fatal_forwarded_;
  const Error reason = error;
  if (holder != nullptr) holder->on_server_lost(*this, reason, was_told);
  pool_.close(*this, reason.message);
}

}  // namespace pgproxy::pool
