#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "loop.hpp"
#include "random.hpp"

#include "pgproxy/route/cluster_view.hpp"

namespace pgproxy::sim {

/// One server of a Replication.
struct Node {
  std::string host;
  bool is_up = true;
  bool is_standby = true;
  route::WalPosition position;  ///< where it writes, or what it has replayed
  Duration replay_delay{};      ///< at most, of a standby
  unsigned era = 0;             ///< what was to be replayed there in an earlier one never is
};

/// A primary and the standbys that follow it: who has which transactions. Those of a primary that
/// no promoted standby had are lost, as with PostgreSQL's asynchronous replication.
class Replication {
 public:
  /// The first host is the primary.
  Replication(Loop& loop, Random& random, const std::vector<std::string>& hosts);

  /// nullptr: there is none of this name.
  Node* find(std::string_view host);
  std::vector<Node>& nodes() { return nodes_; }
  /// That of the newest timeline; nullptr: it is down.
  Node* primary();
  std::uint32_t newest_timeline() const { return newest_; }

  /// A transaction commits at `node`, which is a primary: the position behind it.
  route::WalPosition write(Node& node);
  /// What `node` has replayed or written comprises `position`.
  bool has(const Node& node, const route::WalPosition& position) const {
    return comprises(node.position, position);
  }
  /// No server that will be the primary has it.
  bool is_lost(const route::WalPosition& position) const;

  void stop(Node& node);
  /// As what it was; a standby goes on replaying.
  void start(Node& node);
  /// A standby on the newest timeline becomes the primary of the next one; it may have received
  /// some of what it has not replayed yet.
  void promote(Node& node);
  /// It stands by for the newest timeline, with nothing that this one does not have (pg_rewind).
  void rejoin(Node& node);
  /// A standby that has more than the newest timeline took over: it cannot follow.
  bool is_stuck(const Node& node) const;

  /// The latest timeline whose primary pgproxy was told, and whether its clients were promised
  /// their own writes.
  std::uint32_t announced_timeline = 0;
  bool promises_own_writes = false;

 private:
  bool comprises(route::WalPosition all, const route::WalPosition& part) const;
  Duration some(Duration most) { return Duration(random_.below(most.count() + 1)); }
  void follow(Node& node);
  void catch_up(Node& node);

  Loop& loop_;
  Random& random_;
  std::vector<Node> nodes_;
  std::uint32_t newest_ = 1;
  std::map<std::uint32_t, std::uint64_t> forks_;  ///< where each timeline left the one before
};

}  // namespace pgproxy::sim
