#include "replication.hpp"

#include <algorithm>

namespace pgproxy::sim {

using route::WalPosition;

namespace {

/// Until a standby streams from another primary.
constexpr Duration min_delay = std::chrono::milliseconds(1);

}  // namespace

Replication::Replication(Loop& loop, Random& random, const std::vector<std::string>& hosts)
    : loop_(loop), random_(random) {
  for (const std::string& host : hosts) {
    nodes_.push_back({.host = host, .position = {.timeline = newest_, .lsn = 100}});
  }
  nodes_.front().is_standby = false;
}

Node* Replication::find(std::string_view host) {
  const auto at = std::ranges::find(nodes_, host, &Node::host);
  return at != nodes_.end() ? &*at : nullptr;
}

Node* Replication::primary() {
  const auto at = std::ranges::find_if(nodes_, [this](const Node& node) {
    return node.is_up && !node.is_standby && node.position.timeline == newest_;
  });
  return at != nodes_.end() ? &*at : nullptr;
}

WalPosition Replication::write(Node& node) {
  node.position.lsn += 1 + random_.below(50);
  if (&node == primary()) {
    for (Node& other : nodes_) {
      if (other.is_standby && other.is_up) follow(other);
    }
  }
  return node.position;
}

/// Some time later it has what the primary has then or, more often, has now.
void Replication::follow(Node& node) {
  const Node* const source = primary();
  if (source == nullptr || node.position.timeline != newest_) return;
  loop_.after(some(node.replay_delay), [&node, era = node.era, lsn = source->position.lsn] {
    if (node.era == era) node.position.lsn = std::max(node.position.lsn, lsn);
  });
}

void Replication::catch_up(Node& node) {
  const Duration delay = min_delay + some(node.replay_delay);
  loop_.after(delay, [this, &node, era = node.era] {
    if (node.era != era || is_stuck(node)) return;
    const Node* const source = primary();
    if (source == nullptr) return catch_up(node);  // once there is one
    node.position.timeline = newest_;              // it is received, not replayed yet
    follow(node);
  });
}

bool Replication::comprises(WalPosition all, const WalPosition& part) const {
  for (; all.timeline > part.timeline; --all.timeline) {
    all.lsn = std::min(all.lsn, forks_.at(all.timeline));
  }
  return all.timeline == part.timeline && part.lsn <= all.lsn;
}

bool Replication::is_lost(const WalPosition& position) const {
  return !comprises({.timeline = newest_, .lsn = UINT64_MAX}, position);
}

bool Replication::is_stuck(const Node& node) const {
  return node.is_standby && is_lost(node.position);
}

void Replication::stop(Node& node) {
  node.is_up = false;
  ++node.era;
}

void Replication::start(Node& node) {
  node.is_up = true;
  if (node.is_standby) catch_up(node);
  if (&node != primary()) return;
  for (Node& other : nodes_) {
    if (other.is_standby && other.is_up) follow(other);
  }
}

void Replication::promote(Node& node) {
  const auto source = std::ranges::max_element(nodes_, {}, [this](const Node& other) {
    return other.position.timeline == newest_ ? other.position.lsn : 0;
  });
  ++node.era;
  node.is_standby = false;
  node.position.lsn += random_.below(source->position.lsn - node.position.lsn + 1);
  node.position.timeline = ++newest_;
  forks_[newest_] = node.position.lsn;
  for (Node& other : nodes_) {
    if (!other.is_standby || !other.is_up) continue;
    ++other.era;
    catch_up(other);
  }
}

void Replication::rejoin(Node& node) {
  ++node.era;
  node.is_up = true;
  node.is_standby = true;
  while (node.position.timeline < newest_) {
    node.position.lsn = std::min(node.position.lsn, forks_.at(++node.position.timeline));
  }
  catch_up(node);
}

}  // namespace pgproxy::sim
