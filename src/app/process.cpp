#include "app/process.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <grp.h>
#include <pwd.h>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

#include "pgproxy/config/capacity.hpp"

namespace pgproxy::app {
namespace {

std::unexpected<Error> failure(std::string message, std::string hint) {
  return std::unexpected(Error{.message = std::move(message), .hint = std::move(hint)});
}

std::string system_error() {
  return std::strerror(errno);
}

}  // namespace

Result<void> check_not_root(const config::Settings& settings) {
  if (geteuid() != 0 || (!settings.user.empty() && settings.user != "root")) return {};
  return failure("pgproxy should not run as root",
                 "Start it as another user, or set user = postgres to become that user.");
}

Result<void> become_user(const config::Settings& settings) {
  if (settings.user.empty()) return {};
  const passwd* entry = getpwnam(settings.user.c_str());
  if (entry == nullptr) {
    return failure("user: \"" + settings.user + "\" does not exist", "Name an existing user.");
  }
  if (entry->pw_uid == geteuid()) return {};
  if (initgroups(entry->pw_name, entry->pw_gid) != 0 || setgid(entry->pw_gid) != 0 ||
      setuid(entry->pw_uid) != 0) {
    return failure("user: cannot become \"" + settings.user + "\": " + system_error(),
                   "Start as root or as that user, or leave the setting out.");
  }
  return {};
}

namespace {

/// Of one entry: the pools of its users, as far as these are known; else as many as it may have.
std::uint64_t server_connections(const config::Settings& settings, const config::Database& entry) {
  const std::uint64_t limit = entry.max_db_connections.value_or(settings.max_db_connections);
  const auto users = pool_users(settings, entry);
  if (!users && limit > 0) return limit;
  std::uint64_t sum = 0;
  for (const std::string& user : users.value_or(std::vector<std::string>{""})) {
    const config::PoolSettings pool = config::effective_settings(settings, entry, user);
    sum += pool.pool_size + pool.reserve_pool_size;
  }
  return limit > 0 ? std::min(sum, limit) : sum;
}

}  // namespace

std::uint64_t needed_descriptors(const config::Settings& settings) {
  std::uint64_t servers = 0;
  for (const config::Database& entry : settings.databases) {
    servers += server_connections(settings, entry);
  }
  // Listeners, log files, the loop's, HTTP, the console, health checks, some cancel requests.
  constexpr std::uint64_t own = 64;
  return settings.max_client_conn + servers + own;
}

namespace {

/// Linux doubles a process' table of descriptors whenever it is full, and makes the caller wait for
/// all processors meanwhile when there are threads: some 15 ms for each doubling, in the middle of
/// a storm of connects. One descriptor as high as any will be lets it grow now; it stays that long
/// when this one is closed.
void grow_descriptor_table(std::uint64_t size) {
  const int highest = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, static_cast<int>(size - 1));
  if (highest >= 0) close(highest);
}

}  // namespace

Result<void> ensure_descriptors(const config::Settings& settings) {
  const std::uint64_t needed = needed_descriptors(settings);
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return {};
  rlimit wanted{.rlim_cur = needed, .rlim_max = std::max<rlim_t>(limit.rlim_max, needed)};
  if (limit.rlim_cur >= needed || setrlimit(RLIMIT_NOFILE, &wanted) == 0) {
    grow_descriptor_table(needed);
    return {};
  }
  return failure(
      "only " + std::to_string(limit.rlim_max) + " file descriptors are allowed, " +
          std::to_string(needed) + " are needed: max_client_conn = " +
          std::to_string(settings.max_client_conn) + ", the pools' connections, and some to spare",
      "Run \"ulimit -n " + std::to_string(needed) +
          "\" in the shell that starts it, or set LimitNOFILE=" + std::to_string(needed) +
          " (systemctl edit pgproxy), or lower max_client_conn.");
}

Result<PidFile> PidFile::create(const std::string& path) {
  if (path.empty()) return PidFile(path);
  if (std::ifstream old(path); old) {
    pid_t pid = 0;
    if (old >> pid && pid > 0 && (kill(pid, 0) == 0 || errno == EPERM)) {
      return failure("pidfile " + path + ": process " + std::to_string(pid) + " is running",
                     "Stop it first, or choose another pidfile.");
    }
    unlink(path.c_str());
  }
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  const std::string text = std::to_string(getpid()) + "\n";
  if (fd < 0 || write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    const std::string reason = system_error();
    if (fd >= 0) close(fd);
    return failure("pidfile " + path + ": " + reason,
                   "Choose a pidfile in a directory that this user may write.");
  }
  close(fd);
  return PidFile(path);
}

PidFile::PidFile(PidFile&& other) noexcept : path_(std::move(other.path_)) {
  other.path_.clear();
}

PidFile::~PidFile() {
  if (!path_.empty()) unlink(path_.c_str());
}

}  // namespace pgproxy::app
