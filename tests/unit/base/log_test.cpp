#include "pgproxy/base/log.hpp"

#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <unistd.h>

using namespace pgproxy;

namespace {

/// Logs to a file of its own, and to stderr again afterwards.
class LogFile {
 public:
  explicit LogFile(log::Format format, log::Level least = log::Level::log)
      : path_(std::filesystem::temp_directory_path() /
              ("pgproxy_log_test." + std::to_string(getpid()))) {
    REQUIRE(log::configure(
        {.format = format, .least = least, .file = path_.string(), .to_stderr = false}));
  }
  ~LogFile() {
    log::configure({});
    std::filesystem::remove(path_);
  }

  std::string text() const {
    std::ostringstream out;
    out << std::ifstream(path_).rdbuf();
    return out.str();
  }
  bool matches(const std::string& pattern) const {
    return std::regex_match(text(), std::regex(pattern));
  }

 private:
  std::filesystem::path path_;
};

const log::Subject client{
    .side = 'C', .id = 26, .database = "shop", .user = "joe", .peer = "127.0.0.1:5000"};

}  // namespace

TEST_CASE("text lines have PgBouncer's shape") {
  const LogFile file(log::Format::text);
  log::line(log::Level::log, client, "login attempt: {}", 1);
  CHECK(file.matches(R"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC \[\d+\] )"
                     R"(LOG C-0x1a: shop/joe@127\.0\.0\.1:5000 login attempt: 1\n)"));
}

TEST_CASE("a line about the process names nobody; unknown names have placeholders") {
  const LogFile file(log::Format::text);
  log::line(log::Level::warning, "hello");
  log::line(log::Level::error, log::Subject{.side = 'S', .id = 1}, "x");
  CHECK(file.matches(R"([^\n]* WARNING hello\n[^\n]* ERROR S-0x1: \(nodb\)/\(nouser\)@ x\n)"));
}

TEST_CASE("what a client chose cannot begin a new line") {
  const LogFile file(log::Format::text);
  log::line(log::Level::log, log::Subject{.side = 'C', .user = "a\nb"}, "c\nd");
  CHECK(file.matches(R"([^\n]*\(nodb\)/a b@ c d\n)"));
}

TEST_CASE("JSON lines quote what they must") {
  const LogFile file(log::Format::json);
  log::line(log::Level::log, client, "say \"hi\" \\ \n");
  CHECK(file.matches(
      R"(\{"ts":"[^"]*Z","pid":\d+,"level":"LOG","side":"client","id":26,"db":"shop",)"
      R"("user":"joe","peer":"127\.0\.0\.1:5000","msg":"say \\"hi\\" \\\\ \\u000a"\}\n)"));
}

TEST_CASE("logfmt lines are name=value pairs") {
  const LogFile file(log::Format::logfmt);
  log::line(log::Level::fatal, "bye");
  CHECK(file.matches(R"(ts="[^"]*Z" pid=\d+ level="FATAL" msg="bye"\n)"));
}

TEST_CASE("quieter lines than asked for are dropped") {
  const LogFile file(log::Format::text, log::Level::error);
  CHECK_FALSE(log::enabled(log::Level::warning));
  CHECK(log::enabled(log::Level::error));
  log::line(log::Level::warning, "no");
  CHECK(file.text().empty());
}

TEST_CASE("a log file that cannot be opened is reported, and logging goes on") {
  CHECK_FALSE(log::configure({.file = "/dev/null/pgproxy.log"}));
  CHECK(log::configure({}));
}
