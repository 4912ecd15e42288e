#include <CLI/CLI.hpp>
#include <cstdio>
#include <fmt/format.h>

#include "app/capacity_guard.hpp"
#include "app/import_questions.hpp"
#include "app/process.hpp"
#include "app/proxy.hpp"

#include "pgproxy/config/import.hpp"

namespace pgproxy::app {
namespace {

void print_problem(const Error& error) {
  fmt::print(stderr, "pgproxy: {}\n", error.message);
  if (!error.hint.empty()) fmt::print(stderr, "  hint: {}\n", error.hint);
}

/// All problems at once; true when there are none.
bool report(const config::Loaded& loaded) {
  for (const config::Problem& problem : loaded.problems) {
    fmt::print(stderr, "{}\n", config::format_problem(problem));
  }
  if (loaded.problems.empty()) return true;
  fmt::print(stderr, "pgproxy: {} problem(s) in the configuration, nothing was started\n",
             loaded.problems.size());
  return false;
}

/// The terms of the sum, and what it is compared with.
void print_detection(const config::Settings& settings) {
  const auto seconds = [](Duration duration) {
    return std::chrono::duration<double>(duration).count();
  };
  if (settings.check_interval == Duration::zero()) {
    fmt::print("a server that stops answering is not noticed: check_interval = 0\n");
    return;
  }
  fmt::print(
      "a server that stops answering is noticed after {} s at the latest: failure_threshold {} * "
      "(check_interval {} + check_timeout {}); query_wait_timeout is {}\n",
      seconds(config::worst_case_detection(settings)), settings.failure_threshold,
      seconds(settings.check_interval), seconds(settings.check_timeout),
      seconds(settings.query_wait_timeout));
}

/// Whether the servers have room, asked of them; true: nothing stands in the way of a start.
bool check_capacity(const config::Loaded& loaded) {
  using config::CapacityCheck;
  const config::CapacityVerdict verdict = ask_servers(loaded.settings);
  fmt::print("{}", print_capacity(verdict));
  const bool is_enforced = loaded.settings.check == CapacityCheck::enforce;
  for (const config::Problem& problem : verdict.problems) {
    if (is_enforced) fmt::print(stderr, "pgproxy: {}\n  hint: {}\n", problem.message, problem.hint);
  }
  return verdict.problems.empty() || !is_enforced;
}

int check(const std::string& path, bool offline) {
  control::ignore_environment();
  config::Loaded loaded = config::load(path);
  load_tls(loaded);
  for (const std::string& warning : loaded.warnings) fmt::print("warning: {}\n", warning);
  if (!report(loaded)) return 1;
  for (const config::ConfigRow& row : config::describe(loaded)) {
    fmt::print("{} = {}  # {}\n", row.name, row.value,
               row.given ? "given" : "default: " + row.reason);
  }
  print_detection(loaded.settings);
  if (!offline && !check_capacity(loaded)) return 1;
  fmt::print("{}: configuration is valid\n", path);
  return 0;
}

/// 0: pgproxy would start with what was printed.
int import_settings(const std::string& path, bool offline) {
  control::ignore_environment();
  const config::AskServers ask = offline ? config::AskServers() : ask_for_import;
  const config::Imported imported = config::import_file(path, ask);
  fmt::print("{}", imported.text);
  for (const config::Problem& problem : imported.problems) {
    fmt::print(stderr, "{}\n", config::format_problem(problem));
  }
  if (imported.problems.empty()) return 0;
  fmt::print(stderr, "pgproxy: {} point(s) of {} need a look before pgproxy starts with it\n",
             imported.problems.size(), path);
  return 1;
}

void configure_log(const config::Settings& settings, bool quiet, bool verbose) {
  log::Options options{.file = settings.logfile, .to_stderr = !quiet};
  options.format = settings.log_format == config::LogFormat::json     ? log::Format::json
                   : settings.log_format == config::LogFormat::logfmt ? log::Format::logfmt
                                                                      : log::Format::text;
  if (verbose || settings.verbose > 0) options.least = log::Level::debug;
  if (!log::configure(options)) {
    log::line(log::Level::error, "logfile: cannot open {}: logging to stderr", settings.logfile);
  }
}

Result<void> serve(config::Loaded& loaded, const Tls& tls, Proxy::Launch launch) {
  if (auto ensured = ensure_descriptors(loaded.settings); !ensured) return ensured;
  auto pid_file = PidFile::create(loaded.settings.pidfile);
  if (!pid_file) return std::unexpected(pid_file.error());
  for (const std::string& warning : loaded.warnings) {
    log::line(log::Level::warning, "{}", warning);
  }
  Proxy proxy(loaded, tls, std::move(launch));
  if (auto opened = proxy.open(); !opened) return opened;
  if (auto became = become_user(loaded.settings); !became) return became;
  proxy.run();
  return {};
}

int run(const std::string& path, bool quiet, bool verbose) {
  config::Loaded loaded = config::load(path);
  const Tls tls = load_tls(loaded);
  if (!report(loaded)) return 1;
  if (const auto allowed = check_not_root(loaded.settings); !allowed) {
    print_problem(allowed.error());
    return 1;
  }
  const auto start_log = [quiet, verbose](const config::Settings& settings) {
    configure_log(settings, quiet, verbose);
  };
  start_log(loaded.settings);
  if (const auto served = serve(loaded, tls, {.path = path, .configure_log = start_log}); !served) {
    print_problem(served.error());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace pgproxy::app

int main(int argc, char** argv) {
  using namespace pgproxy;
  CLI::App cli{"pgproxy: a transparent PostgreSQL proxy and connection pooler"};
  std::string file;
  bool check_only = false;
  bool offline = false;
  std::string import_from;
  bool print_example = false;
  bool quiet = false;
  bool verbose = false;
  cli.add_option("FILE", file, "Configuration file (pgproxy.ini); PgBouncer's words work");
  cli.add_flag(
      "--check", check_only,
      "Check FILE and whether its servers have room for the pools; print every setting and "
      "where it comes from, and the arithmetic");
  cli.add_flag("--offline", offline, "With --check or --import: ask no server");
  cli.add_option("--import", import_from,
                 "Print a complete configuration that does what this pgbouncer.ini says, with the "
                 "limits of its servers, asked with the logins it has");
  cli.add_flag("--print-example", print_example, "Print a complete, commented configuration");
  cli.add_flag("-q,--quiet", quiet, "Log to logfile only");
  cli.add_flag("-v,--verbose", verbose, "Log more");
  cli.set_version_flag("-V,--version", std::string("pgproxy ") + PGPROXY_VERSION);
  CLI11_PARSE(cli, argc, argv);
  if (print_example) {
    fmt::print("{}", config::example_file());
    return 0;
  }
  if (!import_from.empty()) return app::import_settings(import_from, offline);
  if (file.empty()) {
    fmt::print(stderr,
               "pgproxy: no configuration file given\n"
               "  hint: pgproxy --print-example > pgproxy.ini, then pgproxy pgproxy.ini\n");
    return 1;
  }
  return check_only ? app::check(file, offline) : app::run(file, quiet, verbose);
}
