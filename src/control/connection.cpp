#include "pgproxy/control/connection.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstdlib>
#include <libpq-fe.h>
#include <set>

#include "pgproxy/base/log.hpp"

namespace pgproxy::control {
namespace {

using ResultPtr = std::unique_ptr<PGresult, decltype(&PQclear)>;

bool is_numeric(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> address{};
  return inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
         inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
}

bool is_unix(const std::string& host) {
  return host.starts_with('/') || host.starts_with('@');
}

/// libpq ends its messages with a newline, and indents what it adds to one.
std::string one_line(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  std::string line;
  for (const char c : text) {
    if (c != '\n' && c != '\t') {
      line += c;
    } else if (!line.ends_with(' ')) {
      line += ' ';
    }
  }
  return line;
}

/// Where the SQLSTATE stands in what libpq says of a login that failed: "FATAL:  28P01: words". The
/// severity is in the server's language.
std::size_t find_sqlstate(std::string_view text) {
  const auto is_code = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'); };
  for (std::size_t at = text.rfind(":  "); at != std::string_view::npos && at > 0;
       at = text.rfind(":  ", at - 1)) {
    const std::string_view code = text.substr(at + 3, 5);
    if (code.size() == 5 && std::ranges::all_of(code, is_code) &&
        text.substr(at + 8).starts_with(": ")) {
      return at + 3;
    }
  }
  return std::string_view::npos;
}

std::vector<Row> rows_of(const PGresult* result) {
  std::vector<Row> rows;
  for (int row = 0; row < PQntuples(result); ++row) {
    Row& values = rows.emplace_back();
    for (int column = 0; column < PQnfields(result); ++column) {
      if (PQgetisnull(result, row, column) != 0) {
        values.emplace_back();
      } else {
        values.emplace_back(std::in_place, PQgetvalue(result, row, column),
                            static_cast<std::size_t>(PQgetlength(result, row, column)));
      }
    }
  }
  return rows;
}

/// What a result or notice says was wrong.
Error error_of(const PGresult* result, std::string_view otherwise) {
  const char* sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const char* hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
  return {.sqlstate = sqlstate != nullptr ? sqlstate : "XX000",
          .message = message != nullptr ? message : one_line(otherwise),
          .hint = hint != nullptr ? hint : ""};
}

bool is_fatal(const PGresult* notice) {
  const char* severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
  return severity != nullptr &&
         (std::string_view(severity) == "FATAL" || std::string_view(severity) == "PANIC");
}

}  // namespace

void ignore_environment() {
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(PQconndefaults(),
                                                                             PQconninfoFree);
  for (const PQconninfoOption* option = options.get();
       option != nullptr && option->keyword != nullptr; ++option) {
    if (option->envvar != nullptr) ::unsetenv(option->envvar);
  }
}

bool knows_direct_tls() {
  return PQlibVersion() >= 170000;
}

void Connection::Finish::operator()(pg_conn* connection) const {
  PQfinish(connection);
}

Connection::Connection(Services services, Target target, std::function<void(const Error&)> on_lost)
    : services_(services),
      target_(std::move(target)),
      on_lost_(std::move(on_lost)),
      timeout_(*this) {}

Connection::~Connection() = default;

void Connection::ask(std::string sql, std::vector<std::string> parameters,
                     std::function<void(Answer)> done) {
  questions_.push_back({std::move(sql), std::move(parameters), std::move(done)});
  if (state_ == State::closed || state_ == State::idle) advance();
}

/// What is to be done between two questions.
void Connection::advance() {
  io::Loop& loop = services_.loop;
  if (questions_.empty()) {
    if (state_ == State::idle)
      loop.timeouts().queue(target_.idle_timeout).arm(timeout_, loop.now());
    return;
  }
  loop.timeouts().queue(target_.timeout).arm(timeout_, loop.now());
  if (state_ == State::idle) return send_question();
  next_host_ = 0;
  try_next_host();
}

void Connection::try_next_host() {
  const std::string host = target_.hosts.at(next_host_++);
  if (is_unix(host) || is_numeric(host)) return connect(host, host);
  state_ = State::resolving;
  lookup_ = services_.resolver.resolve(host, *this);
}

void Connection::on_resolved(const std::vector<std::string>& addresses) {
  // libpq tries them in turn: lists of names and of addresses that belong together.
  std::string hosts;
  std::string list;
  for (const std::string& address : addresses) {
    const std::string_view separator = list.empty() ? "" : ",";
    hosts.append(separator).append(target_.hosts[next_host_ - 1]);
    list.append(separator).append(address);
  }
  lookup_.reset();
  connect(hosts, list);
}

void Connection::on_resolve_failed(const Error& error) {
  const Error copy = error;
  lookup_.reset();
  fail(copy);
}

namespace {

/// A client's search_path or timeout is none of ours; the login role's own is not to be trusted.
std::string options_of(const Target& target) {
  std::string options = "-c search_path=pg_catalog,public";
  if (target.has_keepalives) {
    options += fmt::format(
        " -c tcp_keepalives_idle={} -c tcp_keepalives_interval={} -c tcp_keepalives_count={}",
        keepalive_idle_seconds, keepalive_interval_seconds, keepalive_count);
  }
  return options;
}

/// Probes are sent while nothing is unacknowledged; tcp_user_timeout is for the rest.
void add_keepalives(std::vector<std::pair<std::string, std::string>>& parameters) {
  parameters.emplace_back("keepalives", "1");
  parameters.emplace_back("keepalives_idle", std::to_string(keepalive_idle_seconds));
  parameters.emplace_back("keepalives_interval", std::to_string(keepalive_interval_seconds));
  parameters.emplace_back("keepalives_count", std::to_string(keepalive_count));
  parameters.emplace_back("tcp_user_timeout", std::to_string(dead_peer_seconds * 1000));
}

}  // namespace

void Connection::connect(const std::string& host, const std::string& address) {
  host_ = host;
  address_ = address;
  is_in_clear_ = false;
  start_connecting();
}

void Connection::start_connecting() {
  std::vector<std::pair<std::string, std::string>> parameters = {
      {"host", host_},
      {"port", std::to_string(target_.port)},
      {"dbname", target_.dbname},
      {"user", target_.user},
      {"password", target_.password},  // empty is none
      {"passfile", "/dev/null"},
      {"gssencmode", "disable"},
      {"application_name", "pgproxy"},
      {"options", options_of(target_)}};
  if (!is_unix(host_)) parameters.emplace_back("hostaddr", address_);
  if (target_.has_keepalives) add_keepalives(parameters);
  parameters.insert(parameters.end(), target_.tls.begin(), target_.tls.end());
  if (is_in_clear_) parameters.emplace_back("sslmode", "disable");  // the last one counts
  std::vector<const char*> names;
  std::vector<const char*> values;
  for (const auto& [name, value] : parameters) {
    names.push_back(name.c_str());
    values.push_back(value.c_str());
  }
  names.push_back(nullptr);
  values.push_back(nullptr);
  connection_.reset(PQconnectStartParams(names.data(), values.data(), 0));
  state_ = State::connecting;
  if (connection_ == nullptr || PQstatus(connection_.get()) == CONNECTION_BAD) {
    return fail(libpq_error("could not connect"));
  }
  PQsetNoticeReceiver(
      connection_.get(),
      [](void* self, const PGresult* notice) {
        static_cast<Connection*>(self)->note_last_words(notice);
      },
      this);
  PQsetErrorVerbosity(connection_.get(), PQERRORS_VERBOSE);  // with the SQLSTATE
  watch_for(false, true);
}

void Connection::watch_for(bool readable, bool writable) {
  // libpq may have closed its socket and opened another one.
  watch_.reset();
  watch_ = services_.watcher.watch(PQsocket(connection_.get()), *this);
  watch_->want(readable, writable);
}

void Connection::on_ready() {
  if (state_ == State::connecting) return go_on_connecting();
  const bool is_there = PQconsumeInput(connection_.get()) != 0;
  if (state_ == State::asking) {
    return is_there ? go_on_asking() : fail_asking(libpq_error("connection lost"));
  }
  // Nothing was asked: the server has something to say, its end mostly.
  static_cast<void>(PQisBusy(connection_.get()));  // has libpq look at what was read
  if (!is_there || PQstatus(connection_.get()) == CONNECTION_BAD) lose();
}

/// Notices of the server's are for its log, but for the reason of its leaving.
void Connection::note_last_words(const PGresult* notice) {
  if (is_fatal(notice)) last_words_ = error_of(notice, "");
}

void Connection::lose() {
  const Error error = last_words_ ? *last_words_ : libpq_error("connection lost");
  close();
  if (on_lost_) on_lost_(error);
}

void Connection::go_on_connecting() {
  watch_.reset();  // before libpq closes the socket
  switch (PQconnectPoll(connection_.get())) {
    case PGRES_POLLING_READING: return watch_for(true, false);
    case PGRES_POLLING_WRITING: return watch_for(false, true);
    case PGRES_POLLING_OK:
      PQsetnonblocking(connection_.get(), 1);
      PQsetErrorVerbosity(connection_.get(), PQERRORS_DEFAULT);
      state_ = State::idle;
      has_answered_ = false;
      watch_for(true, false);
      return advance();
    default: return is_tls_declined() ? connect_in_clear() : fail(login_error());
  }
}

/// By libpq's words: it has no code for it. libpq's own sslmode = prefer would do without TLS after
/// any failure of it, and without a word.
bool Connection::is_tls_declined() const {
  const std::string_view words = PQerrorMessage(connection_.get());
  return target_.may_be_in_clear && !is_in_clear_ && words.contains("server does not support SSL");
}

void Connection::connect_in_clear() {
  static std::set<std::string> known;
  const std::string server = fmt::format("{}:{}", target_.hosts[next_host_ - 1], target_.port);
  if (known.insert(server).second) {
    log::line(log::Level::warning,
              "server {} offers no TLS: its answers to pgproxy's own questions are not encrypted; "
              "server_tls_sslmode = require would refuse it, disable would not ask",
              server);
  }
  is_in_clear_ = true;
  start_connecting();
}

/// A server that wants a password which we do not have was reached; libpq has no SQLSTATE for it.
Error Connection::login_error() const {
  std::string words = PQerrorMessage(connection_.get());
  std::string sqlstate = PQconnectionNeedsPassword(connection_.get()) != 0 ? "28P01" : "08006";
  if (const std::size_t at = find_sqlstate(words); at != std::string::npos) {
    sqlstate = words.substr(at, 5);
    words.erase(at, 7);  // with its colon and blank
    words.erase(std::min(words.size(), words.find("\nLOCATION:", at)));
  }
  return {.sqlstate = std::move(sqlstate), .message = "could not connect: " + one_line(words)};
}

void Connection::send_question() {
  const Question& question = questions_.front();
  std::vector<const char*> values;
  for (const std::string& parameter : question.parameters) values.push_back(parameter.c_str());
  state_ = State::asking;
  found_ = std::vector<Row>();
  if (PQsendQueryParams(connection_.get(), question.sql.c_str(), static_cast<int>(values.size()),
                        nullptr, values.data(), nullptr, nullptr, 0) == 0) {
    return fail_asking(libpq_error("could not ask"));
  }
  go_on_asking();
}

void Connection::go_on_asking() {
  const int left = PQflush(connection_.get());
  if (left < 0) return fail_asking(libpq_error("connection lost"));
  watch_->want(true, left > 0);
  read_results();
}

void Connection::read_results() {
  while (PQisBusy(connection_.get()) == 0) {
    const ResultPtr result(PQgetResult(connection_.get()), PQclear);
    if (result == nullptr) {
      const bool is_lost = !found_ && PQstatus(connection_.get()) == CONNECTION_BAD;
      if (is_lost) return fail_asking(found_.error());
      return answer(std::exchange(found_, {}));
    }
    const ExecStatusType status = PQresultStatus(result.get());
    if (status == PGRES_TUPLES_OK) {
      found_ = rows_of(result.get());
    } else if (status != PGRES_COMMAND_OK) {
      found_ = std::unexpected(error_of(result.get(), PQerrorMessage(connection_.get())));
    }
  }
}

void Connection::answer(Answer answer) {
  state_ = State::idle;
  has_answered_ = true;
  timeout_.disarm();
  const auto done = std::move(questions_.front().done);
  questions_.pop_front();
  advance();
  done(std::move(answer));
}

Error Connection::libpq_error(std::string what) const {
  const std::string words =
      connection_ != nullptr ? one_line(PQerrorMessage(connection_.get())) : "out of memory";
  return {.sqlstate = "08006", .message = std::move(what) + ": " + words};
}

/// The next host, while one is left to connect to; else everybody who waits hears of it.
void Connection::fail(const Error& error) {
  const bool was_connecting = state_ == State::connecting || state_ == State::resolving;
  close();
  if (was_connecting && next_host_ < target_.hosts.size()) return try_next_host();
  const std::deque<Question> failed = std::exchange(questions_, {});
  for (const Question& question : failed) question.done(std::unexpected(error));
}

/// A connection that was open before may have ended before it was asked: the question, which
/// changes nothing, goes to another one. Who keeps something in the session (on_lost) hears of it
/// instead.
void Connection::fail_asking(const Error& error) {
  if (!std::exchange(has_answered_, false) || on_lost_) return fail(error);
  close();
  advance();
}

void Connection::close() {
  timeout_.disarm();
  lookup_.reset();
  watch_.reset();
  connection_.reset();
  last_words_.reset();
  state_ = State::closed;
}

void Connection::on_timeout(Timeout& /*timeout*/) {
  if (state_ == State::idle) return close();
  next_host_ = target_.hosts.size();  // the time is over for all of them
  fail({.sqlstate = "08006",
        .message = "the server did not answer in time",
        .hint = fmt::format("Raise {}, or check the server's load.", target_.timeout_setting)});
}

}  // namespace pgproxy::control
