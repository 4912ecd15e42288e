#include "client.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "messages.hpp"

namespace stress {
namespace {

using namespace std::chrono_literals;

/// Far beyond every timeout of the pgproxy under test: whoever gets there was forgotten.
constexpr auto patience = 40s;

/// What a statement gets that would pin one server too many.
constexpr std::string_view refused = "53400";

/// Told with a violation.
constexpr std::size_t remembered_steps = 60;

/// One field of an ErrorResponse or NoticeResponse (docs 55.8), by its code.
std::string_view field(std::string_view body, char code) {
  while (body.size() > 1) {
    const std::size_t end = body.find('\0');
    if (body[0] == code) return body.substr(1, end - 1);
    body.remove_prefix(end + 1);
  }
  return {};
}

std::string describe_error(std::string_view body) {
  return std::string(field(body, 'S')) + " " + std::string(field(body, 'C')) + " " +
         std::string(field(body, 'M'));
}

std::string columns_of(std::string_view row) {
  std::string text;
  const std::size_t count = get_i16(row);
  row.remove_prefix(2);
  for (std::size_t column = 0; column < count; ++column) {
    const std::size_t length = get_i32(row);
    if (column > 0) text += '|';
    text += row.substr(4, length);
    row.remove_prefix(4 + length);
  }
  return text;
}

std::string notification_of(std::string_view body) {
  std::string text = std::to_string(get_i32(body)) + "|" + std::string(body.substr(4));
  text.pop_back();
  text[text.find('\0')] = '|';  // between channel and payload
  return text;
}

/// What Expected::content of a message of this tag speaks about.
std::string content_of(char tag, std::string_view body) {
  switch (tag) {
    case 'D': return columns_of(body);
    case 'C': return std::string(body.substr(0, body.size() - 1));
    case 'E': return std::string(field(body, 'C'));
    case 'V': return std::string(body.substr(4));
    case 'A': return notification_of(body);
    default: return std::string(body);
  }
}

std::string shortened(const std::string& text) {
  return text.size() < 200 ? text
                           : text.substr(0, 200) + "… (" + std::to_string(text.size()) + " bytes)";
}

std::string readable(std::string_view messages) {
  std::string text;
  while (!messages.empty()) {
    const std::size_t size = 1 + get_i32(messages.substr(1));
    text += (text.empty() ? "" : " ") + std::string(1, messages[0]);
    bool is_apart = true;  // from what can be read before
    for (const char byte : messages.substr(5, size - 5)) {
      const bool is_readable = byte >= ' ' && byte <= '~';
      if (is_readable && is_apart) text += ' ';
      if (is_readable) text += byte;
      is_apart = !is_readable;
    }
    text += ';';
    messages.remove_prefix(size);
  }
  return text.size() < 1000 ? text : text.substr(0, 1000) + "…";
}

bool is_about_connections(std::string_view sqlstate) {
  return sqlstate.starts_with("08") || sqlstate.starts_with("57P") ||
         (sqlstate.starts_with("53") && sqlstate != refused);
}

}  // namespace

void Socket::open(std::uint16_t port, int epoll, std::uint64_t token) {
  close();
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) throw std::runtime_error(std::string("socket: ") + std::strerror(errno));
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  connect(fd_, reinterpret_cast<const sockaddr*>(&address),
          sizeof address);  // a failure shows as an event
  epoll_ = epoll;
  token_ = token;
  writing_ = true;
  epoll_event event{.events = EPOLLIN | EPOLLOUT, .data = {.u64 = token}};
  epoll_ctl(epoll_, EPOLL_CTL_ADD, fd_, &event);
}

void Socket::watch(bool for_writing) {
  if (for_writing == writing_) return;
  writing_ = for_writing;
  epoll_event event{.events = EPOLLIN | (for_writing ? EPOLLOUT : 0U), .data = {.u64 = token_}};
  epoll_ctl(epoll_, EPOLL_CTL_MOD, fd_, &event);
}

void Socket::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void Socket::reset_and_close() {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close();
}

Client::Client(const Options& options, Counts& counts, int epoll, std::uint32_t index)
    : options_(options),
      counts_(counts),
      epoll_(epoll),
      index_(index),
      owner_(static_cast<std::uint32_t>(options.seed % 100'000 * 10'000 + index)),
      random_(options.seed * 1'000'003 + index) {}

void Client::violated(const std::string& what) const {
  std::string story;
  for (const std::string& bytes : history_) story += "\n  " + readable(bytes);
  throw Violation("client " + std::to_string(index_) + ", operation " + std::to_string(sequence_) +
                  " (" + name_of(operation_.kind) + "): " + what + "\nit had sent:" + story);
}

void Client::log_in(Clock::time_point now) {
  socket_.open(options_.port, epoll_, std::uint64_t{index_} * 2);
  input_.clear();
  history_.clear();
  session_ = Session::logged_in(random_, owner_, ++login_count_);
  output_ = startup(session_.startup_parameters());
  sent_ = 0;
  phase_ = Phase::login;
  operation_ = {.kind = Kind::relogin, .steps = {}};
  bytes_before_vanishing_ = ~std::uint64_t{0};
  deadline_ = now + patience;
}

void Client::start_operation(Operation operation) {
  operation_ = std::move(operation);
  if (operation_.kind == Kind::relogin) {
    ++counts_.finished[static_cast<std::size_t>(Kind::relogin)];
    const std::string goodbye = terminate();
    send(socket_.fd(), goodbye.data(), goodbye.size(), MSG_NOSIGNAL);
    leave(0ms);
    return;
  }
  phase_ = Phase::busy;
  const auto now = Clock::now();
  deadline_ = now + patience;
  next_action_ = now + std::chrono::milliseconds(below(random_, 30));
  std::size_t bytes = 0;
  for (const Step& step : operation_.steps) bytes += step.bytes.size();
  tiny_pieces_ = bytes < 2000 && below(random_, 4) == 0;
  vanish_later_ = below(random_, 2) == 0;
  bytes_before_vanishing_ =
      operation_.kind == Kind::vanish ? below(random_, bytes + 1) : ~std::uint64_t{0};
  start_step();
}

void Client::start_step() {
  output_ = operation_.steps.front().bytes;
  if (history_.size() == remembered_steps) history_.pop_front();
  history_.push_back(output_);
  sent_ = 0;
  send_some();
}

void Client::finish_step() {
  if (operation_.steps.front().after) session_ = *operation_.steps.front().after;
  operation_.steps.pop_front();
  if (!operation_.steps.empty()) {
    start_step();
  } else {
    finish_operation();
  }
}

void Client::finish_operation() {
  if (operation_.kind == Kind::vanish) {
    vanish();
    return;
  }
  ++counts_.finished[static_cast<std::size_t>(operation_.kind)];
  session_.residue_age = session_.has_residue() ? session_.residue_age + 1 : 0;
  phase_ = Phase::idle;
}

void Client::send_some() {
  while (sent_ < output_.size() && bytes_before_vanishing_ > 0) {
    std::uint64_t size = std::min<std::uint64_t>(output_.size() - sent_, bytes_before_vanishing_);
    if (tiny_pieces_) size = std::min(size, 1 + below(random_, 7));
    const ssize_t count = send(socket_.fd(), output_.data() + sent_, size, MSG_NOSIGNAL);
    if (count < 0)
      break;  // EAGAIN, or an error that reading will show after what is still to be read
    sent_ += static_cast<std::size_t>(count);
    bytes_before_vanishing_ -= static_cast<std::uint64_t>(count);
    if (tiny_pieces_) break;
  }
  if (bytes_before_vanishing_ == 0 && !vanish_later_) {
    vanish();
    return;
  }
  socket_.watch(sent_ < output_.size() && bytes_before_vanishing_ > 0);
}

void Client::receive_some() {
  static std::array<char, 65536> buffer;
  const std::size_t most = tiny_pieces_ ? 1 + below(random_, 7) : buffer.size();
  const ssize_t count = recv(socket_.fd(), buffer.data(), most, 0);
  if (count > 0) {
    input_.append(buffer.data(), static_cast<std::size_t>(count));
    take_messages();
  } else if (count == 0 || errno != EAGAIN) {
    on_closed();
  }
}

void Client::take_messages() {
  std::size_t offset = 0;
  while (socket_.is_open() && input_.size() - offset >= 5) {
    const std::string_view rest = std::string_view(input_).substr(offset);
    const std::size_t length = get_i32(rest.substr(1));
    if (length < 4) violated("a message of length " + std::to_string(length));
    if (rest.size() < length + 1) break;
    // Handlers may start the next step, never touch input_ unless they close the socket.
    const std::string body(rest.substr(5, length - 4));
    offset += length + 1;
    ++counts_.messages;
    on_message(rest[0], body);
  }
  if (socket_.is_open()) input_.erase(0, offset);
}

void Client::on_message(char tag, std::string_view body) {
  if (tag == 'S') {
    std::string_view value = body.substr(body.find('\0') + 1);
    value.remove_suffix(1);
    // RESET ALL is told as it comes, before pgproxy sets it back to what it was at startup.
    const bool is_own = value.empty() || value == session_.application_name();
    if (body.starts_with(std::string_view("application_name", 17)) && !is_own) {
      violated("a setting of another client: " + std::string(value));
    }
    return;
  }
  if (tag == 'N') {
    const std::string_view sqlstate = field(body, 'C');
    if (sqlstate == "25001" || sqlstate == "25P01")
      violated("another's transaction: " + describe_error(body));
    return;
  }
  const bool may_end_connection =
      tag == 'E' && (field(body, 'V') == "FATAL" || field(body, 'S') == "FATAL" ||
                     is_about_connections(field(body, 'C')));
  if (may_end_connection) {
    on_error(body);
  } else if (phase_ == Phase::login) {
    on_login_message(tag, body);
  } else {
    check(tag, body);
  }
}

void Client::on_error(std::string_view body) {
  if (!options_.faulty) violated("lost its connection: " + describe_error(body));
  if (field(body, 'C').size() != 5 || field(body, 'M').empty()) violated("an unclear error");
  ++counts_.fatal_errors;
  leave(std::chrono::milliseconds(below(random_, 50)));
}

void Client::on_login_message(char tag, std::string_view body) {
  if (tag == 'K') {
    cancel_key_ = body;
    session_.pid = get_i32(body);
  }
  if (tag == 'E') violated("login refused: " + describe_error(body));
  if (tag != 'Z') return;
  if (body != "I") violated("a new connection inside a transaction");
  ++counts_.logins;
  phase_ = Phase::idle;
}

void Client::check(char tag, std::string_view body) {
  if (phase_ != Phase::busy) violated(std::string("a message without a question: ") + tag);
  if (operation_.kind == Kind::cancel && tag == 'T') return;  // out before the cancel came, or not
  std::deque<Expected>& replies = operation_.steps.front().replies;
  const std::string content = content_of(tag, body);
  const std::string got = std::string(1, tag) + " '" + shortened(content) + "'" +
                          (tag == 'E' ? " " + describe_error(body) : std::string());
  if (replies.empty()) violated("one message too many: " + got);
  if (tag == 'E' && content == refused && operation_.steps.front().refused_status != 0) {
    return take_refusal();
  }
  const Expected expected = std::move(replies.front());
  replies.pop_front();
  if (expected.tag != tag || (expected.content && *expected.content != content)) {
    violated("expected " + std::string(1, expected.tag) + " '" +
             shortened(expected.content.value_or("")) + "', got " + got);
  }
  if (replies.empty()) finish_step();
}

/// Goes on without what the rest of the operation was to be about.
void Client::take_refusal() {
  ++counts_.refusals;
  Step step = std::move(operation_.steps.front());
  operation_.steps.assign(step.if_refused.begin(), step.if_refused.end());
  operation_.steps.push_front(
      {.bytes = {}, .replies = {{'Z', std::string(1, step.refused_status)}}});
}

void Client::on_closed() {
  if (!options_.faulty) violated("its connection was closed");
  // In the middle of a message no error can be said; otherwise one must have been.
  if (input_.empty() && phase_ != Phase::idle) violated("its connection was closed without a word");
  ++counts_.cut_in_message;
  leave(std::chrono::milliseconds(below(random_, 50)));
}

void Client::vanish() {
  ++counts_.finished[static_cast<std::size_t>(Kind::vanish)];
  if (below(random_, 2) == 0) socket_.reset_and_close();
  leave(0ms);
}

void Client::leave(Clock::duration pause) {
  socket_.close();
  phase_ = Phase::waiting;
  next_action_ = Clock::now() + pause;
}

void Client::send_cancel(Clock::time_point now) {
  cancel_socket_.open(options_.port, epoll_, std::uint64_t{index_} * 2 + 1);
  next_action_ = now + 50ms;
  ++counts_.cancels_sent;
}

void Client::on_cancel_socket() {
  std::array<char, 64> buffer;
  if (!cancel_socket_.is_open()) return;
  const std::string request = cancel_request(cancel_key_);
  send(cancel_socket_.fd(), request.data(), request.size(), MSG_NOSIGNAL);
  cancel_socket_.watch(false);
  const ssize_t count = recv(cancel_socket_.fd(), buffer.data(), buffer.size(), 0);
  if (count > 0) violated("a cancel request was answered");
  if (count == 0 || errno != EAGAIN) cancel_socket_.close();
}

void Client::on_socket(bool readable, bool writable) {
  if (writable && socket_.is_open()) send_some();
  if (readable && socket_.is_open()) receive_some();
}

void Client::on_tick(Clock::time_point now, Stage stage) {
  if (phase_ == Phase::finished) return;
  const bool cancel_is_out = cancel_socket_.is_open();
  if (phase_ == Phase::waiting && stage == Stage::leaving && !cancel_is_out) {
    phase_ = Phase::finished;
  } else if (phase_ == Phase::waiting && now >= next_action_ && stage == Stage::working &&
             !cancel_is_out) {
    log_in(now);
  } else if (phase_ == Phase::idle && !cancel_is_out) {
    // An operation after a cancel waits until the cancel is through: it might be hit itself.
    go_on(stage);
  } else if (phase_ == Phase::busy && operation_.kind == Kind::cancel && !cancel_is_out &&
             now >= next_action_) {
    send_cancel(now);
  } else if (phase_ == Phase::busy && bytes_before_vanishing_ == 0 && now >= next_action_) {
    vanish();
  }
  if ((phase_ == Phase::busy || phase_ == Phase::login) && now > deadline_) {
    violated("no reply at all in " + std::to_string(patience.count()) + " s, phase " +
             std::to_string(static_cast<int>(phase_)));
  }
}

void Client::go_on(Stage stage) {
  switch (stage) {
    case Stage::working: return start_operation(make_operation(random_, session_, ++sequence_));
    case Stage::settling:
      if (session_.has_residue()) {
        start_operation(make_give_up(random_, session_, ++sequence_));
      }
      return;
    case Stage::leaving: return leave(0ms);
  }
}

bool Client::is_settled() const {
  const bool is_at_rest = phase_ == Phase::idle && !session_.has_residue();
  return (is_at_rest || phase_ == Phase::waiting) && !cancel_socket_.is_open();
}

}  // namespace stress
