#include "pgproxy/base/log.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <ctime>
#include <memory>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <vector>

namespace pgproxy::log {
namespace {

/// What is written, and where to; another one is put in its place as a whole.
struct State {
  Options options;
  std::shared_ptr<spdlog::logger> logger;
};

std::shared_ptr<spdlog::logger> make_logger(std::vector<spdlog::sink_ptr> sinks) {
  auto logger = std::make_shared<spdlog::logger>("pgproxy", sinks.begin(), sinks.end());
  logger->set_pattern("%v");
  logger->set_level(spdlog::level::trace);
  logger->flush_on(spdlog::level::trace);  // a crash must not lose the lines that explain it
  return logger;
}

std::atomic<std::shared_ptr<const State>>& state() {
  static std::atomic<std::shared_ptr<const State>> instance{std::make_shared<const State>(
      State{{}, make_logger({std::make_shared<spdlog::sinks::stderr_sink_mt>()})})};
  return instance;
}

std::atomic<Level> least_level{Options{}.least};

constexpr std::array<std::string_view, 5> level_words = {"DEBUG", "LOG", "WARNING", "ERROR",
                                                         "FATAL"};

/// "2026-11-23 07:00:58.129 UTC", or ISO 8601 with `separator` 'T' and `zone` "Z".
std::string timestamp(char separator, std::string_view zone) {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}.{:03}{}", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, separator, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     millis, zone);
}

/// Quotes for JSON, which logfmt readers understand too; control characters become \u00xx.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

/// A client chooses names and query texts: what it sends must stay on one line.
std::string one_line(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return out;
}

std::string as_text_line(Level level, const Subject& subject, std::string_view message) {
  std::string who;
  if (subject.side != 0) {
    who = fmt::format("{}-{:#x}: {}/{}@{} ", subject.side, subject.id,
                      subject.database.empty() ? "(nodb)" : one_line(subject.database),
                      subject.user.empty() ? "(nouser)" : one_line(subject.user), subject.peer);
  }
  return fmt::format("{} [{}] {} {}{}", timestamp(' ', " UTC"), getpid(),
                     level_words[static_cast<std::size_t>(level)], who, one_line(message));
}

std::string as_fields(Level level, const Subject& subject, std::string_view message, bool json) {
  std::string out = json ? "{" : "";
  const auto field = [&](std::string_view name, std::string_view value) {
    if (out.size() > 1) out += json ? "," : " ";
    if (json) {
      out += fmt::format("\"{}\":{}", name, value);
    } else {
      out += fmt::format("{}={}", name, value);
    }
  };
  field("ts", quoted(timestamp('T', "Z")));
  field("pid", std::to_string(getpid()));
  field("level", quoted(level_words[static_cast<std::size_t>(level)]));
  if (subject.side != 0) {
    field("side", subject.side == 'C' ? quoted("client") : quoted("server"));
    field("id", std::to_string(subject.id));
    field("db", quoted(subject.database));
    field("user", quoted(subject.user));
    field("peer", quoted(subject.peer));
  }
  field("msg", quoted(message));
  return json ? out + "}" : out;
}

}  // namespace

bool configure(const Options& options) {
  std::vector<spdlog::sink_ptr> sinks;
  if (options.to_stderr) sinks.push_back(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  bool opened = true;
  if (!options.file.empty()) {
    try {
      sinks.push_back(std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file));
    } catch (const spdlog::spdlog_ex&) {
      opened = false;
      if (sinks.empty()) sinks.push_back(std::make_shared<spdlog::sinks::stderr_sink_mt>());
    }
  }
  least_level = options.least;
  state() = std::make_shared<const State>(State{options, make_logger(std::move(sinks))});
  return opened;
}

bool enabled(Level level) {
  return level >= least_level.load(std::memory_order_relaxed);
}

void write(Level level, const Subject& subject, std::string_view message) {
  if (!enabled(level)) return;
  const std::shared_ptr<const State> now = state().load();
  const Format format = now->options.format;
  now->logger->info("{}", format == Format::text
                              ? as_text_line(level, subject, message)
                              : as_fields(level, subject, message, format == Format::json));
}

}  // namespace pgproxy::log
