#include "fake_session.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <initializer_list>

#include "canned.hpp"

namespace pgproxy::bench {
namespace {

/// The parameters that PostgreSQL 15 reports (docs 55.2.7).
constexpr std::array<std::pair<std::string_view, std::string_view>, 13> reported{{
    {"application_name", ""},
    {"client_encoding", "UTF8"},
    {"DateStyle", "ISO, MDY"},
    {"default_transaction_read_only", "off"},
    {"in_hot_standby", "off"},
    {"integer_datetimes", "on"},
    {"IntervalStyle", "postgres"},
    {"is_superuser", "off"},
    {"server_encoding", "UTF8"},
    {"server_version", "15.10"},
    {"session_authorization", ""},
    {"standard_conforming_strings", "on"},
    {"TimeZone", "UTC"},
}};

bool same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

/// RESET for reset; only ALL is known of DISCARD.
std::string tag_of(std::string_view first_word) {
  std::string tag(first_word);
  std::ranges::transform(tag, tag.begin(), [](unsigned char c) { return std::toupper(c); });
  return tag == "DISCARD" ? "DISCARD ALL" : tag;
}

void put_row_description(std::string& out, std::size_t columns) {
  const wire::MessageWriter writer(out, 'T');
  wire::put_u16(out, static_cast<std::uint16_t>(columns));
  for (std::size_t i = 0; i < columns; ++i) {
    wire::put_c_string(out, "value");
    wire::put_u32(out, 0);           // table
    wire::put_u16(out, 0);           // column of the table
    wire::put_u32(out, 25);          // text
    wire::put_u16(out, 0xffff);      // size: varies
    wire::put_u32(out, 0xffffffff);  // no modifier
    wire::put_u16(out, 0);           // text format
  }
}

/// Stands for NULL.
constexpr std::string_view null;

void put_column(std::string& out, std::string_view value) {
  wire::put_u32(out,
                value.data() == nullptr ? 0xffffffff : static_cast<std::uint32_t>(value.size()));
  out += value;
}

/// The only row of a SELECT, and its end.
void put_row(std::string& out, std::initializer_list<std::string_view> columns, bool described) {
  if (!described) put_row_description(out, columns.size());
  {
    const wire::MessageWriter writer(out, 'D');
    wire::put_u16(out, static_cast<std::uint16_t>(columns.size()));
    for (const std::string_view column : columns) put_column(out, column);
  }
  wire::put_command_complete(out, "SELECT 1");
}

/// Where the primary is, and what its standbys have replayed; its timeline is the first one.
constexpr std::string_view wal_position = "50331648";

std::size_t columns_of(const Statement& statement) {
  switch (statement.kind) {
    case StatementKind::select_role: return 5;
    case StatementKind::select_position: return 2;
    default: return std::max<std::size_t>(1, statement.settings.size());
  }
}

const std::string& bulk_row() {
  static const std::string row = [] {
    std::string out;
    const wire::MessageWriter writer(out, 'D');
    wire::put_u16(out, 1);
    put_column(out, bulk_text);
    return out;
  }();
  return row;
}

const std::string& bulk_block() {
  static const std::string block = repeated(bulk_row(), 4096);
  return block;
}

}  // namespace

FakeSession::FakeSession(int fd, std::uint32_t pid, ServerRole role)
    : socket_(fd), pid_(pid), role_(role) {}

bool FakeSession::on_events(std::uint32_t events) {
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 &&
      !socket_.receive([this](Bytes bytes) { return consume(bytes); })) {
    return false;
  }
  return pump() && phase_ != Phase::closing;
}

bool FakeSession::on_due() {
  due_.reset();
  resume();
  return pump() && phase_ != Phase::closing;
}

/// Sends what may be sent now: replies first, then the rows of a bulk statement straight from the
/// block.
bool FakeSession::pump() {
  for (;;) {
    if (!socket_.flush()) return false;
    if (socket_.has_output() || bulk_bytes_left_ == 0) return true;
    if (!stream_rows()) return false;
    if (bulk_bytes_left_ > 0) return true;  // the kernel has enough; EPOLLOUT calls again
    resume();
  }
}

bool FakeSession::stream_rows() {
  while (bulk_bytes_left_ > 0) {
    // The rows are all alike: the phase within a row is all there is to remember.
    const std::size_t row = bulk_row().size();
    const std::size_t phase = (row - bulk_bytes_left_ % row) % row;
    const std::string_view block = std::string_view(bulk_block()).substr(phase);
    std::size_t sent = 0;
    if (!socket_.send_some(block.substr(0, std::min<std::size_t>(block.size(), bulk_bytes_left_)),
                           sent)) {
      return false;
    }
    if (sent == 0) return true;
    bulk_bytes_left_ -= sent;
  }
  return true;
}

/// After a delayed or streamed answer: its end, and the messages that came meanwhile.
void FakeSession::resume() {
  socket_.out() += after_;
  after_.clear();
  socket_.consume_rest([this](Bytes bytes) { return consume(bytes); });
}

std::size_t FakeSession::consume(Bytes bytes) {
  std::size_t used = 0;
  while (!is_busy() && phase_ != Phase::closing) {
    const Bytes rest = bytes.subspan(used);
    if (phase_ == Phase::startup) {
      const std::size_t took = consume_startup(rest);
      if (took == 0) break;
      used += took;
      continue;
    }
    wire::Header header;
    const wire::HeaderStatus status = wire::parse_header(rest, header);
    if (status == wire::HeaderStatus::malformed) {
      fail("08P01", "malformed message");
      phase_ = Phase::closing;
    }
    if (status != wire::HeaderStatus::complete || rest.size() < header.total_bytes()) break;
    on_message(header.type, rest.subspan(wire::header_bytes, header.body_bytes));
    used += header.total_bytes();
  }
  return used;
}

/// One untyped packet; 0 while it is incomplete.
std::size_t FakeSession::consume_startup(Bytes bytes) {
  const auto header = wire::parse_startup_header(bytes);
  if (!header) {
    phase_ = Phase::closing;
    return 0;
  }
  if (!*header || bytes.size() < (*header)->length) return 0;
  const wire::StartupKind kind = (*header)->kind;
  if (kind == wire::StartupKind::cancel_request) {
    phase_ = Phase::closing;
  } else if (kind != wire::StartupKind::startup) {
    socket_.out() += 'N';
  } else if (const auto startup = wire::decode_startup(bytes.subspan(0, (*header)->length))) {
    greet(*startup);
  } else {
    wire::put_error(socket_.out(), wire::Severity::fatal, startup.error());
    phase_ = Phase::closing;
  }
  return (*header)->length;
}

void FakeSession::greet(const wire::StartupMessage& startup) {
  std::string& out = socket_.out();
  wire::put_authentication(out, 0);
  for (const auto& [name, usual] : reported) {
    std::string_view value =
        name == "session_authorization" ? std::string_view(startup.user) : usual;
    if (stands_by() && name == "in_hot_standby") value = "on";
    for (const auto& [key, wanted] : startup.settings) {
      if (same_name(key, name)) value = wanted;
    }
    wire::put_parameter_status(out, name, value);
  }
  wire::put_backend_key(out, pid_, pid_ * 2654435761U);
  wire::put_ready_for_query(out, status_);
  phase_ = Phase::ready;
}

void FakeSession::on_message(char type, Bytes body) {
  if (phase_ == Phase::copy_in) return on_copy_message(type);
  if (phase_ == Phase::skip_to_sync && type != 'S' && type != 'X') return;
  switch (type) {
    case 'Q': return on_query(body);
    case 'P': return on_parse(body);
    case 'B': return on_bind(body);
    case 'D': return on_describe(body);
    case 'E': return on_execute();
    case 'C': return wire::put_message(socket_.out(), '3');
    case 'S': phase_ = Phase::ready; return wire::put_ready_for_query(socket_.out(), status_);
    case 'H': return;  // everything is flushed anyway
    case 'd':
    case 'c':
    case 'f': return;  // late, after an error (55.2.6)
    case 'X': phase_ = Phase::closing; return;
    default: return fail("08P01", std::string("unexpected message '") + type + "'");
  }
}

void FakeSession::on_query(Bytes body) {
  auto text = wire::decode_query(body);
  if (!text) {
    fail("08P01", "malformed Query");
    phase_ = Phase::ready;  // the simple protocol has no Sync to skip to
    return wire::put_ready_for_query(socket_.out(), status_);
  }
  do {
    const Statement statement = understand(next_statement(*text));
    answer(statement, false);
  } while (!text->empty() && !is_busy() && phase_ != Phase::copy_in);
  if (phase_ != Phase::copy_in) wire::put_ready_for_query(tail(), status_);
}

void FakeSession::on_parse(Bytes body) {
  const auto parse = wire::decode_parse(body);
  if (!parse) return fail("08P01", "malformed Parse");
  prepared_[std::string(parse->statement)] = parse->query;
  wire::put_message(socket_.out(), '1');
}

/// nullptr: there is none of this name.
const std::string* FakeSession::find_prepared(std::string_view name) const {
  static const std::string parsed_elsewhere = std::string(select_text) + "$1";
  if (const auto found = prepared_.find(name); found != prepared_.end()) return &found->second;
  return name == prepared_name ? &parsed_elsewhere : nullptr;
}

void FakeSession::on_bind(Bytes body) {
  wire::Cursor cursor(body);
  cursor.c_string();  // portal: only the one bound last is kept
  const std::string* const text = find_prepared(cursor.c_string());
  if (text == nullptr) return fail("26000", "prepared statement does not exist");
  portal_text_ = *text;
  parameter_.clear();
  cursor.bytes(cursor.u16() * std::size_t{2});  // formats
  if (cursor.u16() > 0) parameter_ = as_text(cursor.bytes(cursor.u32()));
  if (!cursor.ok()) return fail("08P01", "malformed Bind");
  wire::put_message(socket_.out(), '2');
}

void FakeSession::on_describe(Bytes body) {
  const auto target = wire::decode_target(body);
  if (!target) return fail("08P01", "malformed Describe");
  std::string_view text = portal_text_;
  if (target->kind == 'S') {
    const std::string* const prepared = find_prepared(target->name);
    if (prepared == nullptr) return fail("26000", "prepared statement does not exist");
    text = *prepared;
    const bool has_parameter = text.find("$1") != std::string_view::npos;
    const wire::MessageWriter writer(socket_.out(), 't');
    wire::put_u16(socket_.out(), has_parameter ? 1 : 0);
    if (has_parameter) wire::put_u32(socket_.out(), 25);
  }
  const Statement statement = understand(text);
  if (statement.kind < StatementKind::select_value || statement.kind > StatementKind::set_config) {
    return wire::put_message(socket_.out(), 'n');
  }
  put_row_description(socket_.out(), columns_of(statement));
}

void FakeSession::on_execute() {
  answer(understand(portal_text_), true);
}

void FakeSession::on_copy_message(char type) {
  if (type == 'd') ++copied_rows_;
  if (type != 'c' && type != 'f') return;
  phase_ = Phase::ready;
  if (type == 'c') {
    wire::put_command_complete(socket_.out(), "COPY " + std::to_string(copied_rows_));
  } else {
    fail("57014", "COPY from stdin failed");
    phase_ = Phase::ready;
  }
  wire::put_ready_for_query(socket_.out(), status_);
}

void FakeSession::fail(std::string_view sqlstate, std::string message) {
  wire::put_error(socket_.out(), wire::Severity::error,
                  {.sqlstate = std::string(sqlstate), .message = std::move(message)});
  phase_ = Phase::skip_to_sync;
}

void FakeSession::answer(const Statement& statement, bool described) {
  using enum StatementKind;
  std::string& out = socket_.out();
  const auto complete = [&](wire::TransactionStatus status, std::string_view tag) {
    status_ = status;
    wire::put_command_complete(out, tag);
  };
  switch (statement.kind) {
    case empty: return wire::put_message(out, 'I');
    case select_value: return put_value(out, statement, described);
    case select_bulk: return begin_bulk(statement, described);
    case select_delay:
      due_ = std::chrono::steady_clock::now() + std::chrono::microseconds(statement.number);
      return put_value(after_, statement, described);
    case select_state: return put_row(out, {"f", "f", "f", "f", "f", "0", "none"}, described);
    case select_role:
      return stands_by() ? put_row(out, {"t", wal_position, null, "1", "0"}, described)
                         : put_row(out, {"f", wal_position, "00000001", null, null}, described);
    case select_position:
      return put_row(out, {wal_position, stands_by() ? null : "00000001"}, described);
    case select_none:
      if (!described) put_row_description(out, 2);
      return wire::put_command_complete(out, "SELECT 0");
    case set:
    case set_config: return apply(statement);
    case begin: return complete(wire::TransactionStatus::in_transaction, "BEGIN");
    case commit: return complete(wire::TransactionStatus::idle, "COMMIT");
    case rollback: return complete(wire::TransactionStatus::idle, "ROLLBACK");
    case copy_in:
      copied_rows_ = 0;
      phase_ = Phase::copy_in;
      return wire::put_message(out, 'G', std::string_view("\0\0\1\0\0", 5));  // text, one column
    case command: return complete(status_, tag_of(statement.value));
  }
}

void FakeSession::put_value(std::string& out, const Statement& statement, bool described) const {
  put_row(out, {statement.value == "$1" ? std::string_view(parameter_) : statement.value},
          described);
}

void FakeSession::begin_bulk(const Statement& statement, bool described) {
  if (!described) put_row_description(socket_.out(), 1);
  bulk_bytes_left_ = statement.number * bulk_row().size();
  wire::put_command_complete(tail(), "SELECT " + std::to_string(statement.number));
}

/// SET and set_config(): a reported parameter is reported before the command completes (55.2.7).
void FakeSession::apply(const Statement& statement) {
  std::string& out = socket_.out();
  const bool is_select = statement.kind == StatementKind::set_config;
  if (is_select) {
    put_row_description(out, statement.settings.size());
    const wire::MessageWriter writer(out, 'D');
    wire::put_u16(out, static_cast<std::uint16_t>(statement.settings.size()));
    for (const auto& setting : statement.settings) put_column(out, setting.second);
  }
  for (const auto& [name, value] : statement.settings) {
    const auto* known = std::ranges::find_if(
        reported, [&name](const auto& parameter) { return same_name(parameter.first, name); });
    if (known != reported.end()) wire::put_parameter_status(out, known->first, value);
  }
  wire::put_command_complete(out, is_select ? "SELECT 1" : "SET");
}

}  // namespace pgproxy::bench
