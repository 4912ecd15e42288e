#include "config/file.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <system_error>

#include "config/text.hpp"

namespace pgproxy::config {

namespace {

constexpr std::size_t kMostFileBytes = 16 * 1024 * 1024;

std::unexpected<Error> cannot_read(const std::string& path, int error_number) {
  return std::unexpected(
      Error{.sqlstate = {},
            .message = fmt::format("cannot read {}: {}", in_quotes(path),
                                   std::generic_category().message(error_number))});
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

Result<std::string> read_file(const std::string& path) {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rbe"));
  if (!file) return cannot_read(path, errno);
  std::string text;
  std::array<char, 4096> block{};
  while (const std::size_t count = std::fread(block.data(), 1, block.size(), file.get())) {
    text.append(block.data(), count);
    if (text.size() > kMostFileBytes) return cannot_read(path, EFBIG);
  }
  if (std::ferror(file.get())) return cannot_read(path, errno);
  return text;
}

}  // namespace pgproxy::config
