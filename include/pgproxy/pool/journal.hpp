#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "pgproxy/pool/expected_replies.hpp"

namespace pgproxy::pool {

/// What was changed on account of messages that the server may yet skip because of an error before
/// them, oldest first: an error takes it back. Allocates only when it grows.
template <class Change>
class Journal {
 public:
  /// The message that gets `number` next makes `change`.
  void note(std::uint32_t number, Change change) {
    entries_.push_back({number, std::move(change)});
  }
  /// Forgets what is answered: it did happen.
  void settle(std::uint32_t oldest_number) {
    std::erase_if(entries_, [&](const Entry& e) { return is_before(e.number, oldest_number); });
  }
  /// As settle(), and calls seen(change) for each.
  template <class Seen>
  void settle(std::uint32_t oldest_number, Seen seen) {
    std::erase_if(entries_, [&](const Entry& e) {
      const bool is_answered = is_before(e.number, oldest_number);
      if (is_answered) seen(e.change);
      return is_answered;
    });
  }
  /// Forgets those for which test(change) is true.
  template <class Test>
  void drop(Test test) {
    std::erase_if(entries_, [&](const Entry& e) { return test(e.change); });
  }
  bool empty() const { return entries_.empty(); }

  /// Calls undo(number, change), newest first, for what went unanswered, and forgets it.
  template <class Undo>
  void take_back(ExpectedReplies::Skipped skipped, Undo undo) {
    const auto is_skipped = [&](const Entry& e) {
      return !is_before(e.number, skipped.from) && is_before(e.number, skipped.to);
    };
    for (auto at = entries_.rbegin(); at != entries_.rend(); ++at) {
      if (is_skipped(*at)) undo(at->number, at->change);
    }
    std::erase_if(entries_, is_skipped);
  }

  /// Calls visit(number, change) for each.
  template <class Visit>
  void for_each(Visit visit) {
    for (Entry& entry : entries_) visit(entry.number, entry.change);
  }
  template <class Visit>
  void for_each(Visit visit) const {
    for (const Entry& entry : entries_) visit(entry.number, entry.change);
  }
  /// The oldest for which test(number, change) is true; nullptr: none.
  template <class Test>
  Change* find(Test test) {
    for (Entry& entry : entries_) {
      if (test(entry.number, entry.change)) return &entry.change;
    }
    return nullptr;
  }
  /// True when test(number, change) is for any of them.
  template <class Test>
  bool any(Test test) const {
    for (const Entry& entry : entries_) {
      if (test(entry.number, entry.change)) return true;
    }
    return false;
  }

 private:
  struct Entry {
    std::uint32_t number;
    Change change;
  };
  std::vector<Entry> entries_;
};

}  // namespace pgproxy::pool
