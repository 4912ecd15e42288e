#pragma once

#include <string>
#include <sys/stat.h>
#include <vector>

#include "net/file_descriptor.hpp"

#include "pgproxy/base/result.hpp"
#include "pgproxy/config/settings.hpp"

namespace pgproxy::net {

/// The file of a unix socket; removed with this object, unless it is somebody else's by then.
class SocketFile {
 public:
  SocketFile() = default;
  explicit SocketFile(std::string path);
  SocketFile(SocketFile&& other) noexcept;
  SocketFile& operator=(SocketFile&&) = delete;
  ~SocketFile();

 private:
  std::string path_;  ///< empty: nothing to remove
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

/// A socket that clients connect to.
class ListeningSocket {
 public:
  ListeningSocket(FileDescriptor fd, SocketFile file)
      : fd_(std::move(fd)), file_(std::move(file)) {}
  int fd() const { return fd_.get(); }

 private:
  FileDescriptor fd_;
  SocketFile file_;
};

/// All that listen_addr, listen_port, unix_socket_* and the tcp_* settings ask for, or none.
Result<std::vector<ListeningSocket>> open_listening_sockets(const config::Settings& settings);

/// Checks what somebody else opened: a stream socket that listens.
Result<ListeningSocket> adopt_listening_socket(int fd);

}  // namespace pgproxy::net
