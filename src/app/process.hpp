#pragma once

#include <cstdint>
#include <string>

#include "pgproxy/base/result.hpp"
#include "pgproxy/config/settings.hpp"

namespace pgproxy::app {

/// Refuses root, unless the setting `user` names someone else to become.
Result<void> check_not_root(const config::Settings& settings);
/// Becomes the user of the setting `user`; nothing when it is empty or already so.
Result<void> become_user(const config::Settings& settings);
/// File descriptors for max_client_conn, all that the pools may open, and the program's own.
std::uint64_t needed_descriptors(const config::Settings& settings);
/// Makes sure that the process may have as many, raising its limits as far as it is allowed to, and
/// that none of them has to wait for the kernel. The error says what to do.
Result<void> ensure_descriptors(const config::Settings& settings);

/// The pidfile of the setting of that name, removed at the end. A stale one is replaced, one of a
/// living process is an error.
class PidFile {
 public:
  static Result<PidFile> create(const std::string& path);
  PidFile(PidFile&& other) noexcept;
  PidFile& operator=(PidFile&&) = delete;
  ~PidFile();

 private:
  explicit PidFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace pgproxy::app
