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

#include "pgproxy/base/log.hpp"

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

void raise_descriptor_limit(const config::Settings& settings) {
  std::uint64_t servers = 0;
  for (const config::Database& database : settings.databases) {
    servers += database.pool_size.value_or(settings.default_pool_size) +
               database.reserve_pool_size.value_or(settings.reserve_pool_size);
  }
  constexpr std::uint64_t own = 64;  // listeners, log files, cancel requests
  const std::uint64_t needed = settings.max_client_conn + servers + own;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) return;
  limit.rlim_cur = std::min<rlim_t>(std::max<rlim_t>(needed, limit.rlim_cur), limit.rlim_max);
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= needed) return;
  log::line(
      log::Level::warning,
      "only {} file descriptors allowed, {} needed for max_client_conn = {} and the pools: raise "
      "LimitNOFILE (systemd) or ulimit -n to {}, or lower max_client_conn",
      limit.rlim_cur, needed, settings.max_client_conn, needed);
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
