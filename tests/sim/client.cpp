#include "client.hpp"

#include <algorithm>
#include <utility>

#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::sim {

void Script::message(char type, std::string_view body) {
  wire::put_message(bytes, type, body);
}

void Script::expect(std::initializer_list<const char*> tokens) {
  if (is_skipping) return;
  replies.insert(replies.end(), tokens.begin(), tokens.end());
}

void Script::query(const std::string& text, std::vector<std::string> answers) {
  wire::put_query(bytes, text);
  if (status == 'E' && !text.starts_with("commit") && !text.starts_with("rollback")) {
    answers = {"E:25P02"};
  }
  for (const std::string& answer : answers) {
    replies.push_back(answer);
    if (answer.starts_with("E:") && status == 'T') status = 'E';
  }
  replies.push_back(std::string("Z:") + status);
}

void Script::select() {
  const std::string t = tag();
  query("select '" + t + "'", {"T", "D:" + t, "C:SELECT 1"});
}

void Script::failing_query() {
  query("select 1/0, '" + tag() + "'", {"E:22012"});
}

void Script::begin() {
  status = 'T';
  query("begin /* " + tag() + " */", {"C:BEGIN"});
}

void Script::end(bool commits) {
  const bool was_failed = status == 'E';
  status = 'I';
  const std::string text = commits ? "commit" : "rollback";
  query(text + " /* " + tag() + " */", {commits && !was_failed ? "C:COMMIT" : "C:ROLLBACK"});
}

void Script::extended(const std::string& text, std::vector<std::string> answers, bool parses) {
  if (parses) parse("", text);
  bind_and_execute("", text, std::move(answers));
}

void Script::fail(const std::string& sqlstate) {
  if (is_skipping) return;
  replies.push_back("E:" + sqlstate);
  is_skipping = true;
  if (status == 'T') status = 'E';
}

void Script::parse(const std::string& name, const std::string& text, const char* error) {
  std::string body;
  wire::put_c_string(body, name);
  wire::put_c_string(body, text);
  wire::put_u16(body, 0);
  message('P', body);
  const bool is_bad_text = error != nullptr && std::string_view(error) == "42601";
  if (status == 'E' && !is_bad_text) return fail("25P02");
  if (error != nullptr) return fail(error);
  expect({"1"});
}

void Script::describe(const std::string& name, const std::string& text) {
  message('D', "S" + name + std::string(1, '\0'));
  if (status == 'E') return fail("25P02");  // it has rows
  expect({"t", text.starts_with("select") || text.starts_with("show") ? "T" : "n"});
}

void Script::close(const std::string& name) {
  message('C', "S" + name + std::string(1, '\0'));
  expect({"3"});
}

void Script::failing_bind(const std::string& name, const std::string& sqlstate) {
  put_bind(name, tag() + "p");
  fail(sqlstate);
}

void Script::put_bind(const std::string& name, const std::string& parameter) {
  std::string bind(1, '\0');
  wire::put_c_string(bind, name);
  wire::put_u16(bind, 0);
  wire::put_u16(bind, 1);
  wire::put_u32(bind, static_cast<std::uint32_t>(parameter.size()));
  bind += parameter;
  wire::put_u16(bind, 0);
  message('B', bind);
}

/// The parameter comes behind "|" with nothing, or "/", behind it.
void Script::bind_and_execute(const std::string& name, const std::string& text,
                              std::vector<std::string> answers, bool describes) {
  const std::string parameter = tag() + "p";
  put_bind(name, parameter);
  if (describes) message('D', std::string_view("P\0", 2));
  std::string execute(1, '\0');
  wire::put_u32(execute, 0);
  message('E', execute);
  if (is_skipping) return;
  if (status == 'E') return fail("25P02");
  expect({"2"});
  if (describes) expect({text.starts_with("select") || text.starts_with("show") ? "T" : "n"});
  for (std::string& answer : answers) {
    const std::size_t behind = answer.find('|') + 1;  // 0: none
    if (behind != 0 && (behind == answer.size() || answer[behind] == '/')) {
      answer.insert(behind, parameter);
    }
    if (answer.starts_with("E:")) return fail(answer.substr(2));
    replies.push_back(answer);
  }
}

void Script::sync() {
  message('S');
  is_skipping = false;
  replies.push_back(std::string("Z:") + status);
}

bool is_refusal(std::string_view token) {
  // The last one: what a new connection is asked first was not answered in time.
  return token == "E:57P03" || token == "E:08006" || token == "E:57014";
}

Client::Client(std::shared_ptr<Link> link, unsigned number,
               std::function<void(std::string)> violation)
    : link_(std::move(link)), number_(number), violation_(std::move(violation)) {
  link_->set_peer(this);
}

void Client::start(const std::string& user, const std::string& database, const NameMap& settings) {
  std::string packet;
  wire::put_startup(packet, user, database, {settings.begin(), settings.end()});
  link_->send(packet);
}

void Client::play(const Script& script) {
  expect(script.replies);
  link_->send(script.bytes);
}

void Client::expect(std::vector<std::string> tokens) {
  expected_.insert(expected_.end(), tokens.begin(), tokens.end());
}

void Client::vanish(bool by_reset) {
  is_closed_ = true;
  is_collecting_ = false;
  expected_.clear();
  link_->end(by_reset);
}

void Client::terminate() {
  std::string out;
  wire::put_message(out, 'X');
  link_->send(out);
  vanish();
}

std::string Client::received_text() const {
  std::string text;
  for (const std::string& token : received_) text += (text.empty() ? "" : " ") + token;
  return text;
}

std::size_t Client::rows() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(received_, [](const auto& token) { return token.starts_with("D:"); }));
}

void Client::on_end() {
  if (is_closed_) return;
  is_closed_ = true;
  if (!may_lose_connection && !is_hostile && fatal_.empty()) {
    violation_("client " + std::to_string(number_) + " was cut off without a word");
  }
}

void Client::on_bytes(std::string_view bytes) {
  if (is_hostile && is_logged_in_) return;
  input_ += bytes;
  while (!is_closed_) {
    wire::Header header;
    const auto status = wire::parse_header(as_bytes(input_), header);
    if (status == wire::HeaderStatus::malformed)
      return violation_("a client got a malformed message");
    if (status == wire::HeaderStatus::incomplete || input_.size() < header.total_bytes()) return;
    const std::string body = input_.substr(wire::header_bytes, header.body_bytes);
    input_.erase(0, header.total_bytes());
    on_message(header.type, body);
  }
}

void Client::on_message(char type, std::string_view body) {
  const auto text = [&] { return std::string(body.substr(0, body.find('\0'))); };
  switch (type) {
    case 'S': {
      const auto parameter = wire::decode_parameter_status(as_bytes(body));
      parameters_[std::string(parameter->name)] = parameter->value;
      return;
    }
    case 'K':
      pid_ = wire::load_u32(as_bytes(body).data());
      secret_ = body.substr(4);
      return;
    case 'N':
    case 'R': return;
    case 'D': return on_token("D:" + std::string(body.substr(6)));
    case 'd': return on_token("d:" + std::string(body));
    case 'C': return on_token("C:" + text());
    case 'Z':
      status_ = body[0];
      if (!std::exchange(is_logged_in_, true)) return;
      return on_token(std::string("Z:") + body[0]);
    case 'E': {
      const auto fields = wire::decode_error(as_bytes(body));
      if (!fields || fields->sqlstate.size() != 5) return violation_("an error without its fields");
      if (!fields->is_fatal()) return on_token("E:" + std::string(fields->sqlstate));
      fatal_ = fields->sqlstate;
      if (!may_lose_connection && !is_hostile) {
        violation_("client " + std::to_string(number_) + " got FATAL " + fatal_ + " " +
                   std::string(fields->message));
      }
      return;
    }
    default: return on_token(std::string(1, type));
  }
}

void Client::on_token(const std::string& token) {
  received_.push_back(token.substr(0, 30));
  if (received_.size() > 200) received_.erase(received_.begin(), received_.begin() + 100);
  if (!fatal_.empty()) violation_("a client got " + token + " behind FATAL " + fatal_);
  if (is_collecting_) {
    collected_.push_back(token);
    is_collecting_ = !token.starts_with("Z:");
    return;
  }
  const bool is_cancelled = token == "E:57014" && may_be_cancelled_;
  if (is_cancelled) {
    while (!expected_.empty() && !expected_.front().starts_with("Z:")) expected_.pop_front();
    if (!expected_.empty() && expected_.front() == "Z:T") expected_.front() = "Z:E";
    return;
  }
  if (!expected_.empty() && expected_.front() == token) return expected_.pop_front();
  if (may_be_refused && is_refusal(token)) return terminate();
  violation_("client " + std::to_string(number_) + " got " + token.substr(0, 60) + " instead of " +
             (expected_.empty() ? "nothing" : expected_.front().substr(0, 60)) + " after " +
             received_text());
}

}  // namespace pgproxy::sim
