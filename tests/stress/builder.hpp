#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "operations.hpp"

namespace stress {

/// Builds the steps of one operation; the marks are what no other client's rows can carry.
class Builder {
 public:
  Builder(Random& random, const Session& session, std::uint64_t sequence)
      : random_(random),
        owner_(std::to_string(session.owner)),
        sequence_(std::to_string(sequence)),
        session_(session) {}

 protected:
  std::uint64_t below(std::uint64_t limit) { return stress::below(random_, limit); }
  bool chance(std::uint64_t one_in) { return below(one_in) == 0; }
  std::string mark() const { return owner_ + "|" + sequence_; }
  std::string mark_sql() const { return owner_ + ", " + sequence_; }

  Step& next_step() { return steps_.emplace_back(); }
  void send(std::string_view bytes) { steps_.back().bytes += bytes; }
  void expect(std::string_view tags) {
    for (const char tag : tags) steps_.back().replies.push_back({tag, std::nullopt});
  }
  void expect(char tag, std::string content) {
    steps_.back().replies.push_back({tag, std::move(content)});
  }

  Random& random_;
  std::string owner_;
  std::string sequence_;
  Session session_;  ///< as it will be behind the steps so far
  std::deque<Step> steps_;
};

}  // namespace stress
