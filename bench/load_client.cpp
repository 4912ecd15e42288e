#include "load_client.hpp"

#include <algorithm>
#include <stdexcept>

#include "canned.hpp"

#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::bench {
namespace {

const std::string& copy_row() {
  static const std::string row = [] {
    std::string out;
    wire::put_message(out, 'd', bulk_text.substr(1) + '\n');
    return out;
  }();
  return row;
}

SSL_CTX& tls_context() {
  static const std::unique_ptr<SSL_CTX, FreeSsl> context = [] {
    std::unique_ptr<SSL_CTX, FreeSsl> made(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_mode(made.get(),
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return made;
  }();
  return *context;
}

void put_parse(std::string& out, std::string_view name) {
  const wire::MessageWriter parse(out, 'P');
  wire::put_c_string(out, name);
  wire::put_c_string(out, std::string(select_text) + "$1");
  wire::put_u16(out, 0);
}

void put_execution(std::string& out, std::string_view name, std::string_view value) {
  {
    const wire::MessageWriter bind(out, 'B');
    wire::put_c_string(out, "");
    wire::put_c_string(out, name);
    wire::put_u16(out, 0);
    wire::put_u16(out, 1);
    wire::put_u32(out, static_cast<std::uint32_t>(value.size()));
    out += value;
    wire::put_u16(out, 0);
  }
  wire::put_message(out, 'D', std::string_view("P\0", 2));
  wire::put_message(out, 'E', std::string_view("\0\0\0\0\0", 5));
  wire::put_message(out, 'S');
}

}  // namespace

Client::Client(const ClientOptions& options, Credentials& credentials, std::uint64_t number)
    : options_(options), credentials_(credentials), number_(number) {}

void Client::connect(int epoll) {
  socket_.emplace(start_connecting(options_.host, options_.port));
  if (options_.is_encrypted) socket_->use_tls(tls_context());
  watch(epoll, socket_->fd(), this);
  login_.emplace(credentials_);
  phase_ = Phase::logging_in;
  wire::put_startup(socket_->out(), credentials_.user(), options_.database,
                    {{"application_name", "bench_load"}});
}

void Client::ask() {
  phase_ = Phase::asking;
  rows_got_ = 0;
  tag_.clear();
  std::string& out = socket_->out();
  // Different in every client and every transaction: another's row cannot pass for ours.
  expected_ = std::to_string(number_ * 1'000'000 + ++asked_ % 1'000'000);
  switch (options_.mode) {
    case Mode::simple:
      wire::put_query(
          out, options_.delay_us == 0
                   ? std::string(select_text) + expected_
                   : "SELECT 'delay_us', " + std::to_string(options_.delay_us) + ", " + expected_);
      break;
    case Mode::churn: wire::put_query(out, std::string(select_text) + expected_); break;
    case Mode::read_only: wire::put_query(out, "BEGIN READ ONLY"); break;
    case Mode::extended:
      put_parse(out, "");
      put_execution(out, "", expected_);
      break;
    case Mode::prepared:
      if (asked_ == 1) put_parse(out, prepared_name);
      put_execution(out, prepared_name, expected_);
      break;
    case Mode::bulk:
      expected_ = bulk_text;
      wire::put_query(out, "SELECT 'bulk', " + std::to_string(options_.rows));
      break;
    case Mode::copy: wire::put_query(out, "COPY pgbench_history FROM STDIN"); break;
  }
  if (!socket_->flush()) fail("the connection is gone");
}

void Client::disconnect() {
  wire::put_message(socket_->out(), 'X');
  socket_->flush();
  socket_.reset();
  phase_ = Phase::closed;
}

Client::Event Client::on_events(std::uint32_t events) {
  event_ = Event::none;
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 &&
      !socket_->receive([this](Bytes bytes) { return consume(bytes); })) {
    fail("the connection is gone");
  }
  return pump();
}

/// Sends what may be sent now; the rows of a COPY in pieces, so that memory stays bounded.
Client::Event Client::pump() {
  static const std::string block = repeated(copy_row(), 2048);
  for (;;) {
    if (!socket_->flush()) fail("the connection is gone");
    if (socket_->has_output() || rows_to_copy_ == 0) return event_;
    const std::uint64_t count = std::min<std::uint64_t>(rows_to_copy_, 2048);
    socket_->out().append(block, 0, count * copy_row().size());
    wire_bytes_ += count * copy_row().size();
    rows_to_copy_ -= count;
    if (rows_to_copy_ == 0) wire::put_message(socket_->out(), 'c');
  }
}

std::size_t Client::consume(Bytes bytes) {
  std::size_t used = 0;
  for (;;) {
    const Bytes rest = bytes.subspan(used);
    wire::Header header;
    const wire::HeaderStatus status = wire::parse_header(rest, header);
    if (status == wire::HeaderStatus::malformed) fail("malformed message");
    if (status != wire::HeaderStatus::complete || rest.size() < header.total_bytes()) return used;
    on_message(header.type, rest.subspan(wire::header_bytes, header.body_bytes));
    used += header.total_bytes();
  }
}

void Client::on_message(char type, Bytes body) {
  switch (type) {
    case 'D': return on_row(body);
    case 'Z': return on_ready(body);
    case 'R': return login_->on_authentication(body, socket_->out());
    case 'C': tag_ = wire::Cursor(body).c_string(); return;
    case 'G': rows_to_copy_ = options_.rows; return;
    case 'S':
    case 'K':
    case 'N':
    case 'T':
    case '1':
    case '2': return;
    case 'E': {
      const auto error = wire::decode_error(body);
      fail(error ? std::string(error->severity) + ' ' + std::string(error->sqlstate) + ' ' +
                       std::string(error->message)
                 : "malformed ErrorResponse");
    }
    default: fail(std::string("unexpected message '") + type + '\'');
  }
}

void Client::on_row(Bytes body) {
  wire::Cursor row(body);
  const std::uint16_t columns = row.u16();
  const std::string_view value = as_text(row.bytes(row.u32()));
  if (phase_ != Phase::asking || columns != 1 || !row.ok_and_empty() || value != expected_) {
    fail("wrong row: \"" + std::string(value) + "\", want \"" + expected_ + '"');
  }
  ++rows_got_;
  if (options_.mode == Mode::bulk) wire_bytes_ += wire::header_bytes + body.size();
}

void Client::on_ready(Bytes body) {
  const auto status = wire::decode_ready_for_query(body);
  if (options_.mode == Mode::read_only && status && go_on_in_block(*status)) return;
  if (status != wire::TransactionStatus::idle) fail("not idle");
  if (phase_ == Phase::logging_in) {
    phase_ = Phase::idle;
    login_.reset();
    event_ = Event::logged_in;
    return;
  }
  const bool is_copy = options_.mode == Mode::copy;
  const std::uint64_t rows = options_.mode == Mode::bulk || is_copy ? options_.rows : 1;
  const std::string tag = options_.mode == Mode::read_only
                              ? "COMMIT"
                              : (is_copy ? "COPY " : "SELECT ") + std::to_string(rows);
  if (phase_ != Phase::asking || tag_ != tag || rows_got_ != (is_copy ? 0 : rows)) {
    fail("wrong reply: " + std::to_string(rows_got_) + " rows, tag \"" + tag_ + "\", want \"" +
         tag + '"');
  }
  phase_ = Phase::idle;
  event_ = Event::answered;
}

/// What a transaction block has behind its BEGIN; false: nothing more.
bool Client::go_on_in_block(wire::TransactionStatus status) {
  if (phase_ != Phase::asking || status != wire::TransactionStatus::in_transaction) return false;
  if (tag_ == "BEGIN") {
    wire::put_query(socket_->out(), std::string(select_text) + expected_);
  } else if (tag_ == "SELECT 1" && rows_got_ == 1) {
    wire::put_query(socket_->out(), "COMMIT");
  } else {
    return false;
  }
  tag_.clear();
  return true;
}

void Client::fail(const std::string& what) const {
  throw std::runtime_error("client " + std::to_string(number_) + ": " + what);
}

}  // namespace pgproxy::bench
