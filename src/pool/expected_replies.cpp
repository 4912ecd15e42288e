#include "pgproxy/pool/expected_replies.hpp"

namespace pgproxy::pool {
namespace {

bool is_sync(ReplyKind kind) {
  return kind == ReplyKind::sync || kind == ReplyKind::injected_sync;
}

bool is_local(ReplyKind kind) {
  return kind == ReplyKind::local_parse || kind == ReplyKind::local_close;
}

/// Its ReadyForQuery comes without a Sync.
bool is_query(ReplyKind kind) {
  return kind == ReplyKind::query || kind == ReplyKind::function_call ||
         kind == ReplyKind::injected_query;
}

}  // namespace

void ExpectedReplies::sent(ReplyOwner& owner, ReplyKind kind) {
  if (copying_in_) {
    // CopyGetData in the server: Sync and Flush are ignored, CopyDone and CopyFail end the COPY,
    // anything else is an error that consumes the message.
    if (kind == ReplyKind::copy_end) {
      copying_in_ = false;
    } else if (is_sync(kind)) {
      copy_ate_syncs_ = true;
    } else {
      uncertain_ = true;
    }
    return;
  }
  if (is_sync(kind)) {
    open_cycle_ = false;
    skipping_ = false;
  } else if (skipping_) {
    return;  // the server discards it
  } else if (kind == ReplyKind::copy_end) {
    if (count_ == 0) return;  // stray: the server ignores it outside of COPY
  } else {
    open_cycle_ = !is_query(kind);  // a Query within an extended cycle ends it
  }
  push({&owner, kind, next_number_++});
  if (is_sync(kind) || is_query(kind)) cycle_number_ = next_number_;
}

ReplyVerdict ExpectedReplies::received(char type) {
  drop_copy_ends();
  if (count_ == 0) {
    // That of a Sync which we took for eaten: what comes behind it is not skipped any more.
    if (type == 'Z' && uncertain_) skipping_ = open_cycle_ = false;
    return ReplyVerdict::unexpected;
  }
  const ReplyKind head = at(0).kind;
  const bool in_query = head == ReplyKind::query;
  const bool in_execute = head == ReplyKind::execute;
  const bool in_describe = head == ReplyKind::describe_statement ||
                           head == ReplyKind::describe_portal || head == ReplyKind::describe_result;
  const bool is_ours = head == ReplyKind::injected_describe;
  if (head == ReplyKind::injected_query) {
    if (type == 'E') return ReplyVerdict::unexpected;
    if (type == 'Z') pop();
    return ReplyVerdict::swallow;
  }
  if (head == ReplyKind::injected_execute && (type == 'D' || type == 'C')) {
    if (type == 'C') pop();
    return ReplyVerdict::swallow;
  }
  switch (type) {
    case 'D':
    case 'd':
    case 'c':
    case 'H': return stay_if(in_query || in_execute);
    case 'C':
    case 'I':
      copying_in_ = false;
      copy_ate_syncs_ = false;
      return in_query ? ReplyVerdict::forward : pop_if(in_execute);
    case 's': return pop_if(in_execute);
    case 'T':
      if (is_ours) return pop_if(true, ReplyVerdict::swallow);
      return in_query ? ReplyVerdict::forward : pop_if(in_describe);
    case 'n':
      if (is_ours) return pop_if(true, ReplyVerdict::swallow);
      return pop_if(in_describe);
    case 't':
      return is_ours ? ReplyVerdict::swallow : stay_if(head == ReplyKind::describe_statement);
    case '1':
      if (head == ReplyKind::injected_parse) return pop_if(true, ReplyVerdict::swallow);
      return pop_if(head == ReplyKind::parse);
    case '2':
      if (head == ReplyKind::injected_bind) return pop_if(true, ReplyVerdict::swallow);
      return pop_if(head == ReplyKind::bind);
    case '3':
      if (head == ReplyKind::injected_close) return pop_if(true, ReplyVerdict::swallow);
      return pop_if(head == ReplyKind::close);
    case 'V': return stay_if(head == ReplyKind::function_call);
    case 'G': return stay_if((in_query || in_execute) && enter_copy_in());
    case 'E': return failed();
    case 'Z':
      copying_in_ = false;
      copy_ate_syncs_ = false;
      if (head == ReplyKind::injected_sync) return pop_if(true, ReplyVerdict::swallow);
      return pop_if(in_query || head == ReplyKind::function_call || head == ReplyKind::sync);
    default: return ReplyVerdict::unexpected;
  }
}

/// The server now reads what was sent behind the COPY as its data: Syncs in there get no answer.
/// False: the server would have failed at a message that it was never sent.
bool ExpectedReplies::enter_copy_in() {
  const Entry copy = at(0);
  copying_in_ = true;
  while (copying_in_ && count_ > 1) {
    if (is_local(at(1).kind)) return false;
    switch (at(1).kind) {
      case ReplyKind::copy_end: copying_in_ = false; break;
      case ReplyKind::injected_sync:
      case ReplyKind::sync: copy_ate_syncs_ = true; break;
      default: uncertain_ = true; break;  // an error to come, at a place that we cannot know
    }
    pop();
    at(0) = copy;
  }
  if (copy.kind != ReplyKind::execute) return true;
  open_cycle_ = true;
  for (std::size_t i = 1; i < count_; ++i) {
    const ReplyKind kind = at(i).kind;
    if (kind != ReplyKind::copy_end) open_cycle_ = !is_sync(kind);
  }
  return true;
}

ReplyVerdict ExpectedReplies::failed() {
  const ReplyKind head = at(0).kind;
  copying_in_ = false;
  // A Sync behind a COPY was either eaten by it or will be answered now: nobody can tell.
  if (copy_ate_syncs_) uncertain_ = true;
  copy_ate_syncs_ = false;
  if (head == ReplyKind::query || head == ReplyKind::function_call || is_sync(head)) {
    return ReplyVerdict::forward;  // ReadyForQuery follows; at a Sync it was the commit that failed
  }
  failed_kind_ = head;
  skipped_.from = at(0).number;
  while (count_ > 0 && !is_sync(at(0).kind)) pop();
  skipped_.to = count_ > 0 ? at(0).number : next_number_;
  skipping_ = count_ == 0;
  return ReplyVerdict::forward;
}

bool ExpectedReplies::has_local() {
  drop_copy_ends();
  return count_ > 0 && is_local(at(0).kind);
}

char ExpectedReplies::take_local() {
  const char type = at(0).kind == ReplyKind::local_parse ? '1' : '3';
  pop();
  return type;
}

std::size_t ExpectedReplies::ready_count() {
  std::size_t count = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    const ReplyKind kind = at(i).kind;
    count += kind == ReplyKind::query || kind == ReplyKind::function_call || kind == ReplyKind::sync
                 ? 1
                 : 0;
  }
  return count;
}

void ExpectedReplies::swallow_ready() {
  const bool ends = count_ > 0 && (at(0).kind == ReplyKind::sync || at(0).kind == ReplyKind::query);
  if (ends) at(0).kind = ReplyKind::injected_sync;
}

ReplyOwner* ExpectedReplies::next_owner() {
  drop_copy_ends();
  return count_ > 0 ? at(0).owner : nullptr;
}

bool ExpectedReplies::is_in_rows() {
  drop_copy_ends();
  return count_ > 0 && (at(0).kind == ReplyKind::query || at(0).kind == ReplyKind::execute);
}

bool ExpectedReplies::is_describing() {
  drop_copy_ends();
  if (count_ == 0) return false;
  const ReplyKind head = at(0).kind;
  return head == ReplyKind::describe_statement || head == ReplyKind::describe_result ||
         head == ReplyKind::injected_describe;
}

bool ExpectedReplies::is_describing_for_us() {
  return is_describing() && at(0).kind == ReplyKind::injected_describe;
}

bool ExpectedReplies::is_executing_for_us() {
  drop_copy_ends();
  return count_ > 0 && at(0).kind == ReplyKind::injected_execute;
}

bool ExpectedReplies::is_quiet() {
  drop_copy_ends();
  return count_ == 0 && !open_cycle_ && !skipping_ && !copying_in_;
}

void ExpectedReplies::replace_owner(const ReplyOwner& from, ReplyOwner& to) {
  for (std::size_t i = 0; i < count_; ++i) {
    if (at(i).owner == &from) at(i).owner = &to;
  }
}

void ExpectedReplies::push(Entry entry) {
  if (count_ == ring_.size()) {
    std::vector<Entry> larger(ring_.size() * 2);
    for (std::size_t i = 0; i < count_; ++i) larger[i] = at(i);
    ring_ = std::move(larger);
    first_ = 0;
  }
  at(count_) = entry;
  ++count_;
}

void ExpectedReplies::pop() {
  first_ = (first_ + 1) & (ring_.size() - 1);
  --count_;
}

void ExpectedReplies::drop_copy_ends() {
  while (count_ > 0 && at(0).kind == ReplyKind::copy_end) pop();
}

ReplyVerdict ExpectedReplies::pop_if(bool expected, ReplyVerdict verdict) {
  if (!expected) return ReplyVerdict::unexpected;
  pop();
  return verdict;
}

ReplyVerdict ExpectedReplies::stay_if(bool expected) {
  return expected ? ReplyVerdict::forward : ReplyVerdict::unexpected;
}

}  // namespace pgproxy::pool
