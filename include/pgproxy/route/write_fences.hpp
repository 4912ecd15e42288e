#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "pgproxy/route/cluster_view.hpp"

namespace pgproxy::route {

/// Positions at which the primary's WAL was found to be, by the number of the question that asked.
/// The answer to a question that was sent after a commit had been acknowledged covers that commit:
/// a client remembers the number of the next question when it has written, and reads from a replica
/// that has replayed the first answer since. The last 4096 are kept. Not thread safe.
class WriteFences {
 public:
  static constexpr std::size_t capacity = 4096;

  WriteFences() { ring_.reserve(capacity); }

  /// Question `number` was answered. Numbers grow; one that does not is left out, which delays
  /// replicas' use and nothing else. Allocates nothing.
  void answered(std::uint64_t number, const WalPosition& position);

  /// The answer to the first question from `number` on. Where that has been overwritten it is the
  /// oldest one kept, which is later and hence as good. nullopt: there is none yet. A binary
  /// search.
  std::optional<WalPosition> first_since(std::uint64_t number) const;

 private:
  struct Fence {
    std::uint64_t number = 0;
    WalPosition position;
  };
  /// The one that is `age` younger than the oldest.
  const Fence& at(std::size_t age) const { return ring_[(oldest_ + age) % ring_.size()]; }

  std::vector<Fence> ring_;
  std::size_t oldest_ = 0;
};

}  // namespace pgproxy::route
