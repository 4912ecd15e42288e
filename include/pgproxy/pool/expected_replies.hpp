#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pgproxy::pool {

class ReplyOwner;

/// What was sent to a server and will be answered (PostgreSQL docs 55.2.2, 55.2.3).
enum class ReplyKind : std::uint8_t {
  parse,
  bind,
  close,
  describe_statement,
  describe_portal,
  describe_result,  ///< of a portal, for the first time: what is told is noted for its statement
  execute,
  query,
  function_call,
  sync,
  copy_end,           ///< CopyDone or CopyFail: no reply of its own, it marks where a COPY IN ends
  injected_parse,     ///< ours, in front of a client's message: its ParseComplete is not passed on
  injected_bind,      ///< likewise its BindComplete
  injected_execute,   ///< likewise its rows and CommandComplete
  injected_close,     ///< likewise its CloseComplete
  injected_query,     ///< ours as well; nothing of its answer is passed on, and it may not fail
  injected_sync,      ///< likewise its ReadyForQuery
  injected_describe,  ///< likewise what it tells of a statement
  local_parse,        ///< not sent: we answer ParseComplete when its turn has come
  local_close,        ///< likewise CloseComplete
};

/// Message numbers wrap around.
inline bool is_before(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::int32_t>(a - b) < 0;
}

/// What to do with a message that a server sent.
enum class ReplyVerdict : std::uint8_t {
  forward,
  swallow,
  unexpected,  ///< nobody asked for it: the connection cannot be trusted any more
};

/// The heart of never mixing up replies: a queue of everything that a server still has to answer,
/// in order, each with its owner. Fed with what is sent and what is received, it says whose each
/// message is, and when nothing is outstanding. Pure logic; allocates only when it grows.
///
/// It follows the server's own rules: after an error in the extended protocol everything up to the
/// next Sync goes unanswered; Syncs that arrive during COPY IN go unanswered.
class ExpectedReplies {
 public:
  /// Records a message that was sent. `owner` gets its replies.
  void sent(ReplyOwner& owner, ReplyKind kind);
  /// Judges the next message of the server. Not for NoticeResponse, ParameterStatus and
  /// NotificationResponse, which may come at any time.
  ReplyVerdict received(char type);

  /// What comes next is one of ours to say: to be taken before anything that the server sends is
  /// judged, and when the client wants to see what there is (Flush).
  bool has_local();
  /// Takes it off the queue; the type of the message, whose body is empty, to be given to
  /// next_owner() as it was before.
  char take_local();
  /// How many ReadyForQuery are to be passed on.
  std::size_t ready_count();
  /// Behind an error: the ReadyForQuery that comes next is not passed on.
  void swallow_ready();

  /// Of all messages recorded so far, those in [from, to) went unanswered because of the last
  /// ErrorResponse; the one at `from` is the one that failed.
  struct Skipped {
    std::uint32_t from = 0;
    std::uint32_t to = 0;
  };
  Skipped last_skipped() const { return skipped_; }
  /// The kind of the message at last_skipped().from.
  ReplyKind last_failed() const { return failed_kind_; }
  /// What a message with this number did is known: it was answered, or it goes with what is sent
  /// now, since an error at it would make the server skip that as well.
  bool is_certain(std::uint32_t number) {
    return is_before(number, oldest_number()) || !is_before(number, cycle_number_);
  }
  /// Everything up to the last Sync or Query is answered: the transaction status is known.
  bool is_status_known() { return !is_before(oldest_number(), cycle_number_); }
  /// The ReadyForQuery behind the message with this number has come.
  bool is_cycle_over(std::uint32_t number) {
    return is_status_known() && is_before(number, cycle_number_);
  }
  /// The number that the next message gets; they wrap around.
  std::uint32_t next_number() const { return next_number_; }
  /// The number of the oldest message that is not answered yet; next_number() when there is none.
  std::uint32_t oldest_number() { return count_ > 0 ? at(0).number : next_number_; }
  /// The server skips what is sent now, up to the next Sync.
  bool is_skipping() const { return skipping_; }
  /// Who asked for the message that comes next; nullptr when nothing is outstanding.
  ReplyOwner* next_owner();
  /// DataRow and CopyData are what may come next, and go to next_owner().
  bool is_in_rows();
  /// RowDescription or NoData, when one comes next, tells of a statement.
  bool is_describing();
  /// Likewise, and we asked for it.
  bool is_describing_for_us();
  /// What comes next answers an Execute of ours.
  bool is_executing_for_us();
  /// Nothing outstanding, no extended-protocol cycle without its Sync, not inside COPY.
  bool is_quiet();
  /// The server waits for CopyData: a client that leaves now must be ended with CopyFail.
  bool is_copying_in() const { return copying_in_; }
  /// A Sync is still to be sent before the server answers with ReadyForQuery.
  bool needs_sync() const { return open_cycle_ || skipping_; }
  /// The number of ReadyForQuery to come is not known for sure (a COPY that failed with Syncs
  /// behind it may or may not have consumed them): the connection may not serve anyone else.
  bool is_uncertain() const { return uncertain_; }
  /// Hands everything that `from` waits for to `to`.
  void replace_owner(const ReplyOwner& from, ReplyOwner& to);
  std::size_t size() const { return count_; }

 private:
  struct Entry {
    ReplyOwner* owner;
    ReplyKind kind;
    std::uint32_t number;
  };
  Entry& at(std::size_t index) { return ring_[(first_ + index) & (ring_.size() - 1)]; }
  void push(Entry entry);
  void pop();
  void drop_copy_ends();
  bool enter_copy_in();
  ReplyVerdict failed();
  ReplyVerdict pop_if(bool expected, ReplyVerdict verdict = ReplyVerdict::forward);
  static ReplyVerdict stay_if(bool expected);

  std::vector<Entry> ring_ = std::vector<Entry>(8);  ///< size is a power of two
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  bool open_cycle_ = false;
  bool skipping_ = false;
  bool copying_in_ = false;
  bool copy_ate_syncs_ = false;
  bool uncertain_ = false;
  std::uint32_t next_number_ = 0;
  std::uint32_t cycle_number_ = 0;  ///< of the first message behind the last Sync or Query
  ReplyKind failed_kind_ = ReplyKind::sync;
  Skipped skipped_;
};

}  // namespace pgproxy::pool
