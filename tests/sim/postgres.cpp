// The cluster, and what a backend does with messages; statements are in statements.cpp.
#include "postgres.hpp"

#include <algorithm>
#include <utility>

#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"
#include "pgproxy/wire/startup.hpp"

namespace pgproxy::sim {

Postgres::Postgres(Loop& loop, Random& random, std::function<void(std::string)> violation)
    : loop_(loop), random_(random), violation_(std::move(violation)) {}

Postgres::~Postgres() {
  for (const auto& backend : backends_) backend->link_->set_peer(nullptr);
}

void Postgres::accept(std::shared_ptr<Link> link, Node* node) {
  const auto pid = static_cast<std::uint32_t>(backends_.size() + 1);
  backends_.push_back(std::make_unique<Backend>(*this, std::move(link), pid, node));
}

void Postgres::stop(const Node& node) {
  for (const auto& backend : backends_) {
    if (backend->node_ != &node || backend->is_gone_) continue;
    if (backend->is_ready() && random_.chance(50)) {
      backend->fatal("57P01", "terminating connection");
    } else {
      backend->fall_silent();
      backend->link_->end(random_.chance(50));
    }
  }
}

void Postgres::cancel(std::uint32_t pid, std::string_view secret) {
  ++cancels_ever;
  if (pid == 0 || pid > backends_.size()) return;
  Backend& target = *backends_[pid - 1];
  if (target.secret_ != secret || target.is_gone_) return;
  if (target.sleep_) return target.finish_sleep(true);
  // A backend that waits for the client's data does not look; it will when more has come.
  if (target.copy_in_) target.is_copy_cancelled_ = true;
}

Backend* Postgres::random_ready() {
  std::vector<Backend*> ready;
  for (const auto& backend : backends_) {
    if (backend->is_ready() && backend->is_open()) ready.push_back(backend.get());
  }
  return ready.empty() ? nullptr : ready[random_.below(ready.size())];
}

void Postgres::terminate_one() {
  if (Backend* victim = random_ready()) victim->fatal("57P01", "terminating connection");
}

void Postgres::cut_one(bool by_reset) {
  Backend* victim = random_ready();
  if (victim == nullptr) return;
  victim->link_->drop_unsent(random_.below(20));
  victim->fall_silent();
  victim->link_->end(by_reset);
}

void Postgres::black_hole_one() {
  if (Backend* victim = random_ready()) victim->link_->black_hole();
}

bool Postgres::has_black_hole() const {
  return std::ranges::any_of(
      // A process that has ended in one cannot tell.
      backends_,
      [](const auto& b) { return b->link_->is_open_near() && b->link_->is_black_hole(); });
}

std::size_t Postgres::open_count() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(backends_, [](const auto& b) { return b->is_open(); }));
}

void Postgres::check_clean() const {
  for (const auto& backend : backends_) {
    if (backend->is_open() && !backend->link_->is_black_hole()) backend->check_clean();
  }
}

void Postgres::for_each(const std::function<void(Backend&)>& visit) const {
  for (const auto& backend : backends_) visit(*backend);
}

void Postgres::register_client(unsigned number, const std::string& user, const NameMap& startup) {
  references_.try_emplace(number, user, startup);
}

Backend::Backend(Postgres& postgres, std::shared_ptr<Link> link, std::uint32_t pid, Node* node)
    : postgres_(postgres), link_(std::move(link)), pid_(pid), node_(node) {
  wire::put_u32(secret_, static_cast<std::uint32_t>(postgres.random_.next()));
  link_->set_peer(this);
}

void Backend::check_clean() const {
  if (!is_ready()) return;
  if (status_ != 'I') violation("a backend was left in a transaction");
  if (is_skipping_ || copy_in_ || sleep_) violation("a backend was left in the middle of a cycle");
  const std::string objects = session_->objects();
  if (!objects.empty()) violation("left behind: " + objects);
}

void Backend::put(char type, std::string_view body) {
  if (is_gone_) return;
  std::string out;
  wire::put_message(out, type, body);
  if (cut_after_bytes) {
    const std::size_t part = std::min(*cut_after_bytes, out.size());
    link_->send(out.substr(0, part));
    *cut_after_bytes -= part;
    if (part == out.size()) return;
    fall_silent();
    return link_->end();
  }
  link_->send(out);
}

void Backend::fatal(std::string_view sqlstate, std::string_view message) {
  std::string out;
  wire::put_error(out, wire::Severity::fatal, {std::string(sqlstate), std::string(message)});
  link_->send(out);
  fall_silent();
  link_->end();
}

/// The process is over.
void Backend::fall_silent() {
  is_gone_ = true;
  sleep_.reset();
  if (session_) session_->end();
}

void Backend::on_end() {
  fall_silent();
}

void Backend::on_bytes(std::string_view bytes) {
  if (is_gone_) return;
  input_ += bytes;
  while (!is_gone_ && !sleep_) {
    const bool progress = phase_ == Phase::startup ? take_startup() : take_message();
    if (!progress) return;
  }
}

bool Backend::take_startup() {
  if (input_.size() < 8) return false;
  const auto length = wire::load_u32(as_bytes(input_).data());
  if (input_.size() < length) return false;
  const std::string packet = input_.substr(0, length);
  input_.erase(0, length);
  if (const auto key = wire::decode_cancel(as_bytes(packet)); length == 16 && key) {
    postgres_.cancel(key->pid, as_text(key->secret));
    is_gone_ = true;
    link_->end();
    return false;
  }
  const auto startup = wire::decode_startup(as_bytes(packet));
  if (!startup) {
    violation("pgproxy sent a bad startup packet: " + startup.error().message);
    return false;
  }
  if (postgres_.is_silent_at_login) return false;
  NameMap settings(startup->settings.begin(), startup->settings.end());
  if (const std::string sqlstate = Session::startup_error(settings); !sqlstate.empty()) {
    fatal(sqlstate, "bad startup setting");
    return false;
  }
  if (is_on_standby()) settings["in_hot_standby"] = "on";
  session_.emplace(postgres_.cluster_, std::string(startup->user), settings);
  phase_ = Phase::password;
  if (!postgres_.is_password_wanted) log_in();
  if (postgres_.is_password_wanted) put('R', "\0\0\0\3");
  return true;
}

void Backend::log_in() {
  if (postgres_.login_error) {
    return fatal(postgres_.login_error->sqlstate, postgres_.login_error->message);
  }
  ++postgres_.logins_ever;
  put('R', "\0\0\0\0");
  report();
  std::string key;
  wire::put_u32(key, pid_);
  put('K', key + secret_);
  phase_ = Phase::ready;
  ready();
}

bool Backend::take_message() {
  wire::Header header;
  const auto status = wire::parse_header(as_bytes(input_), header);
  if (status == wire::HeaderStatus::malformed) {
    violation("pgproxy sent a malformed message");
    return false;
  }
  if (status == wire::HeaderStatus::incomplete || input_.size() < header.total_bytes())
    return false;
  const std::string body = input_.substr(wire::header_bytes, header.body_bytes);
  input_.erase(0, header.total_bytes());
  if (phase_ == Phase::password) {
    if (header.type == 'p') log_in();
    return true;
  }
  if (postgres_.is_mute) return true;
  on_message(header.type, body);
  return true;
}

void Backend::on_message(char type, std::string_view body) {
  if (copy_in_) return on_copy_message(type, body);
  if (is_skipping_ && type != 'S' && type != 'X') return;
  switch (type) {
    case 'Q': {
      unnamed_.reset();
      const std::string text(body.substr(0, body.size() - 1));
      statements_ = split_statements(text);
      return on_simple();
    }
    case 'P': return on_parse(body);
    case 'B': return on_bind(body);
    case 'D': return on_describe(body);
    case 'C': return on_close(body);
    case 'E': {
      const std::string name(body.substr(0, body.find('\0')));
      const auto portal = portals_.find(name);
      begin_if_needed();
      if (portal == portals_.end()) return error("34000", "portal does not exist", false);
      const Portal copy = portal->second;
      execute(copy.text, copy.parameter, false);
      return;
    }
    case 'S': return on_sync();
    case 'X': fall_silent(); return link_->end();
    default: return;  // Flush; CopyData, CopyDone, CopyFail outside of COPY
  }
}

void Backend::on_parse(std::string_view body) {
  const auto parse = wire::decode_parse(as_bytes(body));
  if (!parse) return violation("malformed Parse");
  begin_if_needed();
  const std::string name(parse->statement);
  const std::string text(parse->query);
  if (name.empty()) unnamed_.reset();
  if (text.starts_with("syntax error") || text.starts_with("pgproxy refused")) {
    return error("42601", text, false);
  }
  if (status_ == 'E' && !text.empty() && !text.starts_with("rollback")) {
    return error("25P02", "current transaction is aborted", false);
  }
  const unsigned owner = owner_of(text);
  if (owner != 0 && transaction_owner_ != 0 && owner != transaction_owner_) {
    violation(text + " was parsed in the transaction of " + std::to_string(transaction_owner_));
  }
  if (name.empty()) {
    unnamed_ = text;
  } else if (!session_->parse(name, text).empty()) {
    return error("42P05", "prepared statement already exists", false);
  }
  put('1');
}

void Backend::on_close(std::string_view body) {
  const std::string name(body.substr(1, body.size() - 2));
  if (body[0] == 'P') portals_.erase(name);
  if (body[0] == 'S' && name.empty()) unnamed_.reset();
  if (body[0] == 'S') session_->close(name);
  put('3');
}

std::optional<Prepared> Backend::find_statement(const std::string& name) const {
  if (name.empty()) return unnamed_ ? std::optional(Prepared{.text = *unnamed_}) : std::nullopt;
  const Prepared* found = session_->statement(name);
  return found != nullptr ? std::optional(*found) : std::nullopt;
}

void Backend::on_bind(std::string_view body) {
  const auto names = wire::decode_bind_names(as_bytes(body));
  begin_if_needed();
  const auto found = find_statement(std::string(names->statement));
  if (!found) return error("26000", "prepared statement does not exist", false);
  // Our clients' Binds have no format codes and at most one parameter, which is their tag.
  wire::Cursor cursor(as_bytes(body).subspan(names->portal.size() + names->statement.size() + 2));
  cursor.u16();
  std::string parameter;
  if (cursor.u16() > 0) parameter = as_text(cursor.bytes(cursor.u32()));
  const unsigned owner = owner_of(found->text);
  if (owner != 0 && owner_of(parameter) != owner) {
    violation("Bind of " + parameter + " found the statement " + found->text);
  }
  if (found->from_sql) return error("08P01", "bind message supplies 1 parameters", false);
  if (status_ == 'E' && !found->text.starts_with("rollback")) {
    return error("25P02", "current transaction is aborted", false);
  }
  if (!names->statement.empty() && session_->is_stale(*found)) return stale_plan();
  session_->revalidate(std::string(names->statement));
  const std::string shown = find_statement(std::string(names->statement))->shown(parameter);
  portals_[std::string(names->portal)] = {found->text, shown};
  put('2');
}

void Backend::on_describe(std::string_view body) {
  begin_if_needed();
  std::string text = portals_[""].text;
  if (body[0] == 'S') {
    const std::string name(body.substr(1, body.size() - 2));
    const auto found = find_statement(name);
    if (!found) return error("26000", "prepared statement does not exist", false);
    text = found->from_sql ? "select" : found->text;
    if (status_ == 'E' && text.starts_with("select")) {
      return error("25P02", "current transaction is aborted", false);
    }
    put('t', "\0\0");
    if (!name.empty() && session_->is_stale(*found)) return stale_plan();
    session_->revalidate(name);
  }
  if (text.starts_with("select") || text.starts_with("show")) {
    put('T', "\0\0");
  } else {
    put('n');
  }
}

/// RevalidateCachedQuery in PostgreSQL's plancache.c.
void Backend::stale_plan() {
  put('E',
      "SERROR\0VERROR\0C0A000\0Mcached plan must not change result type\0"
      "RRevalidateCachedQuery\0\0");
  is_skipping_ = true;
  if (status_ == 'T') status_ = 'E';
}

void Backend::on_sync() {
  is_skipping_ = false;
  if (is_implicit_) {
    if (status_ == 'E') {
      roll_back();
    } else if (!commit()) {
      error("23505", "deferred constraint", true);
    }
    is_implicit_ = false;
  }
  ready();
}

void Backend::on_copy_message(char type, std::string_view body) {
  const bool is_simple = *copy_in_;
  if (type == 'S' || type == 'H') return;
  if (std::exchange(is_copy_cancelled_, false)) {
    copy_in_.reset();
    error("57014", "canceling statement due to user request", is_simple);
    if (is_simple) on_simple();
    return;
  }
  if (type == 'd') {
    if (!body.starts_with("bad")) return;
    copy_in_.reset();
    error("22P04", "bad line", is_simple);
    if (is_simple) on_simple();
    return;
  }
  copy_in_.reset();
  if (type == 'c') {
    complete("COPY 1");
    if (is_simple) on_simple();
    return;
  }
  error(type == 'f' ? "57014" : "08P01", "COPY from stdin failed", is_simple);
  if (is_simple) on_simple();
}

void Backend::error(std::string_view sqlstate, std::string_view message, bool is_simple) {
  std::string out;
  wire::put_error(out, wire::Severity::error, {std::string(sqlstate), std::string(message)});
  put('E', std::string_view(out).substr(wire::header_bytes));
  if (!is_simple) is_skipping_ = true;
  if (is_simple) statements_.clear();
  if (status_ == 'T') status_ = 'E';
}

void Backend::ready() {
  if (status_ == 'I' || is_implicit_) transaction_owner_ = 0;
  report();
  const char shown = is_implicit_ ? 'I' : status_;
  put('Z', std::string_view(&shown, 1));
}

/// Right before ReadyForQuery, as PostgreSQL since 14.
void Backend::report() {
  if (!is_on_standby()) session_->leave_recovery();
  for (const auto& [name, value] : session_->reported()) {
    const auto [known, is_new] = reported_.try_emplace(name, value);
    if (!is_new && std::exchange(known->second, value) == value) continue;
    std::string body;
    wire::put_c_string(body, name);
    wire::put_c_string(body, value);
    put('S', body);
  }
}

void Backend::row(const Row& values, bool is_simple) {
  if (is_simple) put('T', "\0\0");
  std::string body;
  wire::put_u16(body, static_cast<std::uint16_t>(values.size()));
  for (const auto& value : values) {
    wire::put_u32(body, value ? static_cast<std::uint32_t>(value->size()) : 0xffffffff);
    body += value.value_or("");
  }
  put('D', body);
}

void Backend::complete(std::string_view tag) {
  std::string body;
  wire::put_c_string(body, tag);
  put('C', body);
}

}  // namespace pgproxy::sim
