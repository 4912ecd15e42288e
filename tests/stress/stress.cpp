// Hundreds of clients whose every row carries its owner's number, against a pgproxy with few
// servers.
//
//   stress PORT CLIENTS SECONDS SEED calm|faulty
//
// Connects to 127.0.0.1 as user app (trust) to database test, which has
//   stress(owner int, sequence bigint, n int),
// the functions of run.py, and roles tenant_a, tenant_b and tenant_c that app may take.
// A calm run prints "settled" when its clients have given up what keeps servers for them; they stay
// until a line comes on stdin.
// Ends with a summary and status 0, or with status 1 at the first violation, naming seed and
// client.
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <numeric>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <vector>

#include "client.hpp"

namespace stress {
namespace {

void run(const Options& options, Counts& counts) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  std::vector<std::unique_ptr<Client>> clients;
  for (std::uint32_t index = 0; index < options.client_count; ++index) {
    clients.push_back(std::make_unique<Client>(options, counts, epoll, index));
  }
  const auto end = Clock::now() + options.duration;
  std::vector<epoll_event> events(options.client_count * 2);
  Stage stage = Stage::working;
  std::size_t finished_count = 0;
  while (finished_count < clients.size()) {
    const int count = epoll_wait(epoll, events.data(), static_cast<int>(events.size()), 2);
    for (int slot = 0; slot < count; ++slot) {
      const epoll_event& event = events[static_cast<std::size_t>(slot)];
      Client& client = *clients[event.data.u64 / 2];
      const bool readable = (event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
      if (event.data.u64 % 2 == 1) {
        client.on_cancel_socket();
      } else {
        client.on_socket(readable, (event.events & EPOLLOUT) != 0);
      }
    }
    const auto now = Clock::now();
    finished_count = 0;
    std::size_t settled_count = 0;
    if (stage == Stage::working && now >= end) {
      stage = options.faulty ? Stage::leaving : Stage::settling;
    }
    for (const auto& client : clients) {
      client->on_tick(now, stage);
      settled_count += client->is_settled();
      finished_count += client->is_finished();
    }
    if (stage == Stage::settling && settled_count == clients.size()) {
      std::cout << "settled" << std::endl;
      std::cin.get();
      stage = Stage::leaving;
    }
  }
  close(epoll);
}

void print(const Options& options, const Counts& counts) {
  std::cout << "seed " << options.seed << ": "
            << std::accumulate(counts.finished.begin(), counts.finished.end(), std::uint64_t{0})
            << " operations, " << counts.messages << " messages, " << counts.logins << " logins, "
            << counts.cancels_sent << " cancels, " << counts.refusals << " refusals, "
            << counts.fatal_errors << " clear errors, " << counts.cut_in_message
            << " cut in a message\n ";
  for (int kind = 0; kind < kind_count; ++kind) {
    std::cout << ' ' << name_of(static_cast<Kind>(kind)) << ' '
              << counts.finished[static_cast<std::size_t>(kind)];
  }
  std::cout << std::endl;
}

}  // namespace
}  // namespace stress

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "usage: stress PORT CLIENTS SECONDS SEED calm|faulty\n";
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  const stress::Options options{.port = static_cast<std::uint16_t>(std::atoi(argv[1])),
                                .client_count = static_cast<std::uint32_t>(std::atoi(argv[2])),
                                .duration = std::chrono::seconds(std::atoi(argv[3])),
                                .seed = std::strtoull(argv[4], nullptr, 10),
                                .faulty = std::strcmp(argv[5], "faulty") == 0};
  stress::Counts counts;
  int status = 0;
  try {
    stress::run(options, counts);
  } catch (const stress::Violation& violation) {
    std::cout << "VIOLATION: " << violation.what() << std::endl;
    status = 1;
  }
  stress::print(options, counts);
  return status;
}
