// A TCP proxy that misbehaves by seed: stands between pgproxy and PostgreSQL in tests.
//
//   fault_proxy LISTEN_PORT TARGET_PORT SEED
//
// Both ports are on 127.0.0.1. Commands come line by line on stdin, each answered with "ok":
//   calm    forward faithfully; connections of the time before are reset
//   faulty  give every new connection a fault of its own
//   cut     reset all connections
//   hole    stop forwarding, on every connection there is, and keep them open
//   refuse  stop listening; accept  listen again
// End of stdin ends the program.
#include <arpa/inet.h>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <iostream>
#include <limits>
#include <list>
#include <netinet/tcp.h>
#include <poll.h>
#include <random>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Random = std::mt19937_64;

enum class Fault { none, delay, dribble, reset, hole, half_close, refuse };

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

int listen_on(std::uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = loopback(port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("bind");
  if (listen(fd, 256) != 0) fail("listen");
  return fd;
}

void prepare_socket(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void reset_and_close(int& fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(fd);
  fd = -1;
}

/// Bytes on their way from one socket to the other.
struct Direction {
  std::string pending;
  std::uint64_t forwarded_bytes = 0;
  bool source_ended = false;  // read its end of file
  bool finished = false;      // passed it on, or half-closed by fault
  Clock::time_point resume{};
};

/// A connection of pgproxy and its fault: it strikes when `direction` has forwarded `at_bytes`.
struct Link {
  std::array<int, 2> fd{-1, -1};  // pgproxy, PostgreSQL
  std::array<Direction, 2> directions;
  Fault fault = Fault::none;
  std::size_t direction = 0;
  std::uint64_t at_bytes = 0;
  bool in_hole = false;

  bool is_open() const { return fd[0] >= 0; }
  void cut() {
    for (int& end : fd) reset_and_close(end);
  }
};

class FaultProxy {
 public:
  FaultProxy(std::uint16_t listen_port, std::uint16_t target_port, std::uint64_t seed)
      : listen_port_(listen_port), target_port_(target_port), random_(seed) {
    listener_ = listen_on(listen_port_);
  }
  void run();

 private:
  void accept_all();
  void choose_fault(Link& link);
  void read_from(Link& link, std::size_t direction);
  void write_to(Link& link, std::size_t direction);
  /// How much of the pending bytes may go now; strikes with the link's fault when it is due.
  std::size_t allowance(Link& link, std::size_t direction);
  void obey(const std::string& command);
  bool read_commands();
  void poll_once();
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  std::uint16_t listen_port_;
  std::uint16_t target_port_;
  Random random_;
  int listener_ = -1;
  bool faulty_ = false;
  bool ended_ = false;
  std::list<Link> links_;
  std::string input_;
};

void FaultProxy::choose_fault(Link& link) {
  constexpr std::array faults{Fault::none,       Fault::none,    Fault::delay, Fault::delay,
                              Fault::dribble,    Fault::dribble, Fault::reset, Fault::hole,
                              Fault::half_close, Fault::refuse};
  link.fault = faults[below(faults.size())];
  link.direction = below(2);
  link.at_bytes = below(std::uint64_t{1} << (3 + below(16)));  // from the login to long after it
}

void FaultProxy::accept_all() {
  while (true) {
    int client = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    Link link;
    if (faulty_) choose_fault(link);
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in target = loopback(target_port_);
    link.fd = {client, server};
    if (link.fault == Fault::refuse ||
        connect(server, reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) {
      link.cut();
      continue;
    }
    for (const int fd : link.fd) prepare_socket(fd);
    links_.push_back(std::move(link));
  }
}

void FaultProxy::read_from(Link& link, std::size_t direction) {
  std::array<char, 65536> buffer;
  const ssize_t count = recv(link.fd[direction], buffer.data(), buffer.size(), 0);
  if (count > 0) {
    link.directions[direction].pending.append(buffer.data(), static_cast<std::size_t>(count));
  } else if (count == 0) {
    link.directions[direction].source_ended = true;
  } else if (errno != EAGAIN) {
    link.cut();
  }
}

std::size_t FaultProxy::allowance(Link& link, std::size_t direction) {
  Direction& flow = link.directions[direction];
  const std::size_t all = flow.pending.size();
  switch (link.fault) {
    case Fault::none:
    case Fault::refuse: return all;
    case Fault::delay:
      if (below(4) == 0) flow.resume = Clock::now() + std::chrono::milliseconds(below(40));
      return all;
    case Fault::dribble:
      flow.resume = Clock::now() + std::chrono::microseconds(below(200));
      return flow.forwarded_bytes < link.at_bytes ? 1 : all;
    case Fault::reset:
    case Fault::hole:
    case Fault::half_close: break;
  }
  if (direction != link.direction || flow.forwarded_bytes + all < link.at_bytes) return all;
  if (flow.forwarded_bytes < link.at_bytes) return link.at_bytes - flow.forwarded_bytes;
  if (link.fault == Fault::reset) link.cut();
  if (link.fault == Fault::hole) link.in_hole = true;
  if (link.fault == Fault::half_close && !flow.finished) {
    flow.finished = true;
    shutdown(link.fd[1 - direction], SHUT_WR);
  }
  return 0;
}

void FaultProxy::write_to(Link& link, std::size_t direction) {
  Direction& flow = link.directions[direction];
  const std::size_t count = allowance(link, direction);
  if (!link.is_open() || link.in_hole) return;
  if (flow.finished) {
    flow.pending.clear();  // behind a half-close everything is lost
    return;
  }
  if (count == 0) return;
  const ssize_t sent = send(link.fd[1 - direction], flow.pending.data(), count, MSG_NOSIGNAL);
  if (sent > 0) {
    flow.pending.erase(0, static_cast<std::size_t>(sent));
    flow.forwarded_bytes += static_cast<std::uint64_t>(sent);
  } else if (errno != EAGAIN) {
    link.cut();
  }
}

void FaultProxy::obey(const std::string& command) {
  if (command == "faulty") {
    faulty_ = true;
  } else if (command == "calm" || command == "cut") {
    faulty_ = faulty_ && command != "calm";
    for (Link& link : links_) link.cut();
    links_.clear();
  } else if (command == "hole") {
    for (Link& link : links_) link.in_hole = true;
  } else if (command == "refuse") {
    close(listener_);
    listener_ = -1;
  } else if (command == "accept") {
    listener_ = listen_on(listen_port_);
  } else {
    std::cout << "unknown command: " << command << std::endl;
    return;
  }
  std::cout << "ok" << std::endl;
}

bool FaultProxy::read_commands() {
  std::array<char, 256> buffer;
  const ssize_t count = read(STDIN_FILENO, buffer.data(), buffer.size());
  if (count <= 0) return false;
  input_.append(buffer.data(), static_cast<std::size_t>(count));
  for (std::size_t end = input_.find('\n'); end != std::string::npos; end = input_.find('\n')) {
    obey(input_.substr(0, end));
    input_.erase(0, end + 1);
  }
  return true;
}

void FaultProxy::poll_once() {
  constexpr std::size_t most_pending_bytes = 1 << 20;
  std::vector<pollfd> polled{{STDIN_FILENO, POLLIN, 0}, {listener_, POLLIN, 0}};
  const auto now = Clock::now();
  int timeout_ms = -1;
  for (Link& link : links_) {
    std::array<short, 2> events{};
    for (std::size_t from = 0; from < 2; ++from) {
      Direction& flow = link.directions[from];
      if (flow.source_ended && flow.pending.empty() && !flow.finished) {
        flow.finished = true;
        shutdown(link.fd[1 - from], SHUT_WR);
      }
      if (link.in_hole) continue;
      if (!flow.source_ended && flow.pending.size() < most_pending_bytes) events[from] |= POLLIN;
      if (flow.pending.empty()) continue;
      if (flow.resume <= now) {
        events[1 - from] |= POLLOUT;
      } else {
        timeout_ms = 1;
      }
    }
    for (std::size_t end = 0; end < 2; ++end) polled.push_back({link.fd[end], events[end], 0});
  }
  if (poll(polled.data(), polled.size(), timeout_ms) < 0 && errno != EINTR) fail("poll");

  std::size_t slot = 2;
  for (Link& link : links_) {
    for (std::size_t end = 0; end < 2 && link.is_open(); ++end) {
      const short events = polled[slot + end].revents;
      if ((events & (POLLERR | POLLNVAL)) != 0) link.cut();
      if (link.is_open() && (events & (POLLIN | POLLHUP)) != 0 && !link.in_hole)
        read_from(link, end);
      if (link.is_open() && (events & POLLOUT) != 0) write_to(link, 1 - end);
    }
    slot += 2;
    const bool both_finished = link.directions[0].finished && link.directions[1].finished;
    if (link.is_open() && both_finished) link.cut();
  }
  links_.remove_if([](const Link& link) { return !link.is_open(); });
  if ((polled[1].revents & POLLIN) != 0) accept_all();
  if ((polled[0].revents & (POLLIN | POLLHUP)) != 0) ended_ = !read_commands();
}

void FaultProxy::run() {
  std::cout << "ready" << std::endl;
  while (!ended_) poll_once();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: fault_proxy LISTEN_PORT TARGET_PORT SEED\n";
    return 2;
  }
  const auto port = [](const char* text) { return static_cast<std::uint16_t>(std::atoi(text)); };
  FaultProxy(port(argv[1]), port(argv[2]), std::strtoull(argv[3], nullptr, 10)).run();
}
