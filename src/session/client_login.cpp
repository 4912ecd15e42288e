#include "session/client_login.hpp"

#include <algorithm>
#include <unistd.h>

#include "session/console_session.hpp"
#include "session/login_jobs.hpp"

#include "pgproxy/auth/random.hpp"
#include "pgproxy/session/sessions.hpp"
#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::session {
namespace {

/// No client has more to say before it is logged in.
constexpr std::size_t max_login_bytes = 128 * 1024;

bool is_console_name(std::string_view database) {
  return database == "pgproxy" || database == "pgbouncer";
}

/// Under either name it is the same: a line of auth_hba_file that has one of them is about both.
std::string other_console_name(std::string_view database) {
  if (!is_console_name(database)) return {};
  return database == "pgproxy" ? "pgbouncer" : "pgproxy";
}

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

/// As PostgreSQL stores it: printable ASCII only, at most NAMEDATALEN - 1 bytes.
std::string clean_application_name(std::string_view name) {
  std::string clean(name.substr(0, 63));
  for (char& c : clean) {
    if (c < ' ' || c > '~') c = '?';
  }
  return clean;
}

bool wants_replication(std::string_view value) {
  return !value.empty() && value != "false" && value != "off" && value != "no" && value != "0";
}

}  // namespace

std::optional<std::string> ClientSession::Login::Facts::user_name(std::uint32_t uid) {
  if (known_name) return *known_name;
  wanted_uid = uid;
  return {};
}

std::optional<std::vector<config::IpRange>> ClientSession::Login::Facts::own_networks() {
  return auth::operating_system().own_networks();
}

void ClientSession::on_login_data(Bytes bytes) {
  login_->input += as_text(bytes);
  if (login_->input.size() > max_login_bytes) {
    return fail({.sqlstate = "08P01", .message = "too much data before the end of the login"});
  }
  bool is_progress = true;
  while (is_progress && login_ != nullptr && pool_ == nullptr) {
    switch (state_) {
      case ClientState::startup: is_progress = read_startup(); break;
      case ClientState::authenticating: is_progress = read_password_message(); break;
      default: is_progress = false; break;
    }
  }
}

/// One packet of the start (PostgreSQL docs 55.2.1). True: there may be more to read.
bool ClientSession::read_startup() {
  std::string& input = login_->input;
  if (begins_with_tls()) {
    start_direct_tls();
    return false;
  }
  const auto header = wire::parse_startup_header(as_bytes(input));
  if (!header) {
    fail(header.error());
    return false;
  }
  if (!*header || input.size() < (*header)->length) return false;
  const std::string packet = input.substr(0, (*header)->length);
  switch ((*header)->kind) {
    case wire::StartupKind::ssl_request:
    case wire::StartupKind::gssenc_request: return answer_encryption_request((*header)->kind);
    case wire::StartupKind::cancel_request: {
      const auto key = wire::decode_cancel(as_bytes(packet));
      Sessions& sessions = sessions_;
      std::unique_ptr<io::Transport> transport = std::move(transport_);
      timer_.disarm();
      state_ = ClientState::closing;
      sessions.remove(*this);
      if (key) sessions.cancel(std::move(transport), key->pid, key->secret);
      return false;
    }
    case wire::StartupKind::startup: break;
  }
  auto startup = wire::decode_startup(as_bytes(packet));
  if (!startup) {
    fail(startup.error());
    return false;
  }
  input.erase(0, packet.size());
  login_->startup = std::move(*startup);
  begin_authentication();
  return true;
}

void ClientSession::begin_authentication() {
  const wire::StartupMessage& startup = login_->startup;
  const config::Settings& settings = sessions_.settings();
  state_ = ClientState::authenticating;
  login_->is_console = is_console_name(startup.database);
  if (settings.log_connections) {
    const std::string tls = tls_text();
    log::line(log::Level::log, subject(), "login attempt: db={} user={} tls={} replication=no",
              startup.database, startup.user, tls.empty() ? "no" : tls);
  }
  if (const auto error = encryption_error()) return fail(*error);
  if (sessions_.is_draining() && !login_->is_console) return shut_down();
  if (wants_replication(startup.replication)) {
    return fail({.sqlstate = "0A000",
                 .message = "replication connections are not supported",
                 .hint = "Connect to the server directly for replication."});
  }
  if (!login_->is_console) {
    if (sessions_.counted_clients >= settings.max_client_conn) {
      return fail(
          {.sqlstate = "53300",
           .message = "no more connections allowed (max_client_conn)",
           .detail = fmt::format("{} clients are connected.", sessions_.counted_clients),
           .hint = fmt::format("Raise max_client_conn above {}.", settings.max_client_conn)});
    }
    ++sessions_.counted_clients;
    is_counted_ = true;
  }
  std::string out;
  if ((startup.protocol & 0xffff) > 0 || !startup.unknown_options.empty()) {
    wire::put_negotiate_protocol(out, startup.unknown_options);
  }
  if (!out.empty()) send(std::exchange(out, {}));
  if (login_->is_console && is_console_name(startup.user)) {
    const io::Endpoint peer = transport_->peer();
    login_->is_owner = peer.is_unix && peer.peer_uid == geteuid();
    if (login_->is_owner) return on_authenticated();
  }
  decide_login();
}

void ClientSession::decide_login() {
  const wire::StartupMessage& startup = login_->startup;
  login_->decision = auth::decide_login(sessions_.settings(),
                                        {.peer = transport_->peer(),
                                         .tls = transport_->tls(),
                                         .user = startup.user,
                                         .database = startup.database,
                                         .other_database = other_console_name(startup.database)},
                                        login_->facts);
  if (const auto uid = std::exchange(login_->facts.wanted_uid, std::nullopt)) {
    login_->job =
        sessions_.loop().executor().submit(std::make_unique<Login::NameLookup>(*this, *uid));
    return;  // to be decided again, with the name
  }
  begin_proof();
}

void ClientSession::on_peer_name(std::optional<std::string> name) {
  if (state_ != ClientState::authenticating) return;
  login_->job.reset();
  login_->facts.known_name = std::move(name);
  decide_login();
  if (state_ == ClientState::authenticating) on_login_data({});  // what came ahead
}

void ClientSession::begin_proof() {
  const config::Settings& settings = sessions_.settings();
  const wire::StartupMessage& startup = login_->startup;
  const auth::LoginDecision& decision = login_->decision;
  if (decision.refusal) {
    note_refused_login(decision.log_reason);
    return fail(*decision.refusal);
  }
  const auto secret = settings.secrets.find(startup.user);
  if (secret != settings.secrets.end()) return start_authentication(&secret->second);
  const bool is_asked_for = decision.method != config::AuthType::any;
  if (is_asked_for &&
      sessions_.secret_source().find(startup.database, startup.user, login_->found)) {
    return;
  }
  start_authentication(nullptr);
}

/// Whether there is such a user, and what is stored, is known now.
void ClientSession::on_secret(const io::FoundSecret& found) {
  if (state_ != ClientState::authenticating) return;
  if (!found) return fail(found.error());
  login_->found.secret = *found;
  start_authentication(login_->found.secret ? &*login_->found.secret : nullptr);
  if (state_ == ClientState::authenticating) on_login_data({});  // what came ahead
}

void ClientSession::start_authentication(const std::string* secret) {
  const io::TlsInfo* tls = transport_->tls();
  const auth::LoginDecision& decision = login_->decision;
  login_->auth = std::make_unique<auth::ClientAuth>(decision.method, login_->startup.user, secret,
                                                    sessions_.verifiers(),
                                                    tls != nullptr ? tls->server_end_point : "");
  if (!decision.must_fail.empty()) login_->auth->must_fail(decision.must_fail);
  std::string out;
  const auth::ClientAuth::Outcome outcome = login_->auth->start(out);
  on_authentication(outcome, out);
}

bool ClientSession::read_password_message() {
  if (login_->auth == nullptr) return false;  // auth_query or a job is on its way
  wire::Header header;
  const Bytes input = as_bytes(login_->input);
  const wire::HeaderStatus status = wire::parse_header(input, header);
  if (status == wire::HeaderStatus::incomplete) return false;
  if (status == wire::HeaderStatus::complete && header.type == 'X') {
    leave("client close request");
    return false;
  }
  if (status == wire::HeaderStatus::malformed || header.type != 'p' ||
      header.body_bytes > auth::ClientAuth::max_message_bytes) {
    fail({.sqlstate = "08P01", .message = "expected a password message"});
    return false;
  }
  if (input.size() < header.total_bytes()) return false;
  const std::string body(as_text(input.subspan(wire::header_bytes, header.body_bytes)));
  login_->input.erase(0, header.total_bytes());
  if (login_->auth->is_next_slow()) {
    login_->job = sessions_.loop().executor().submit(
        std::make_unique<Login::PasswordCheck>(*this, std::move(login_->auth), body));
    return false;
  }
  std::string out;
  const auth::ClientAuth::Outcome outcome = login_->auth->on_password_message(as_bytes(body), out);
  on_authentication(outcome, out);
  return true;
}

void ClientSession::on_password_checked(std::unique_ptr<auth::ClientAuth> auth,
                                        auth::ClientAuth::Outcome outcome, const std::string& out) {
  if (state_ != ClientState::authenticating) return;
  login_->job.reset();
  login_->auth = std::move(auth);
  on_authentication(outcome, out);
  if (state_ == ClientState::authenticating) on_login_data({});  // what came ahead
}

void ClientSession::on_authentication(auth::ClientAuth::Outcome outcome, const std::string& out) {
  login_->reply = out;
  switch (outcome) {
    case auth::ClientAuth::Outcome::need_more:
      if (!out.empty()) send(std::exchange(login_->reply, {}));
      return;
    case auth::ClientAuth::Outcome::accepted: return on_authenticated();
    case auth::ClientAuth::Outcome::refused: break;
  }
  note_refused_login(login_->auth->log_reason());
  fail(Error(login_->auth->error()));
}

/// What the client must not learn.
void ClientSession::note_refused_login(const std::string& reason) const {
  if (!sessions_.settings().log_pooler_errors) return;
  log::line(log::Level::warning, subject(), "login failed: {}", reason);
}

void ClientSession::on_authenticated() {
  if (login_->is_console) {
    return enter_console();
  }
  const wire::StartupMessage& startup = login_->startup;
  pool::Pools& pools = sessions_.pools();
  pool::DatabaseEntry* database = pools.find_database(startup.database);
  if (database == nullptr) {
    return fail({.sqlstate = "3D000",
                 .message = "database \"" + startup.database + "\" does not exist",
                 .hint = "Add it to [databases], or add a \"*\" entry for all."});
  }
  if (startup.user.size() > 127 || database->config.name.size() > 127) {
    return fail({.sqlstate = "28000", .message = "user or database name too long"});
  }
  if (database->is_disabled) {
    return fail({.sqlstate = "55000",
                 .message = "database \"" + database->config.name + "\" is disabled",
                 .hint = "ENABLE on the console lets clients in again."});
  }
  const std::string& forced = database->config.user;
  if (sessions_.settings().auth_type == config::AuthType::any && forced.empty()) {
    return fail({.sqlstate = "28000",
                 .message = "auth_type = any needs a forced user",
                 .hint = "Give the database entry user= and password=."});
  }
  if (!count_client(*database, pools.user(startup.user))) return;
  pool_ = &pools.pool(*database, pools.user(forced.empty() ? startup.user : forced));
  target_ = pool_;
  ++pool_->client_count;
  maps_names_ = sessions_.settings().max_prepared_statements > 0 && !keeps_server_for_good();
  ++pool_->counters().client_login_count;
  if (forced.empty() || forced == startup.user) {
    const auto& found = login_->found.secret;
    pool_->note_login(found ? &*found : nullptr, login_->auth->proven());
  }
  pool_->grow();  // min_pool_size counts from the first client on
  welcome();
}

/// Counts the client for its database and user, unless one of them is full.
bool ClientSession::count_client(pool::DatabaseEntry& database, pool::UserEntry& user) {
  const config::Settings& settings = sessions_.settings();
  const config::User* configured = settings.find_user(user.name);
  const auto refuse = [&](std::string_view setting, std::uint32_t limit) {
    fail({.sqlstate = "53300",
          .message = fmt::format("client connections exceeded ({})", setting),
          .hint = fmt::format("Raise {} above {}.", setting, limit)});
    return false;
  };
  const std::uint32_t per_database =
      database.config.max_db_client_connections.value_or(settings.max_db_client_connections);
  if (per_database > 0 && database.client_count >= per_database) {
    return refuse("max_db_client_connections", per_database);
  }
  const std::uint32_t per_user = configured != nullptr && configured->max_user_client_connections
                                     ? *configured->max_user_client_connections
                                     : settings.max_user_client_connections;
  if (per_user > 0 && user.client_count >= per_user) {
    return refuse("max_user_client_connections", per_user);
  }
  ++database.client_count;
  ++user.client_count;
  user_ = &user;
  return true;
}

/// Finds out what the client's session looks like: its startup settings over the server's defaults,
/// in the server's spelling. Known after the first client that gave the same; else a server is
/// asked. In session mode the client gets the server that it keeps.
void ClientSession::welcome() {
  // Sent ahead: in front of whatever comes while a server is waited for.
  const std::string ahead = std::move(login_->input);
  if (!ahead.empty()) stash(as_bytes(ahead));
  for (const auto& [name, value] : login_->startup.settings) {
    if (contains(sessions_.settings().ignore_startup_parameters, name)) continue;
    if (name == "application_name") continue;
    if (name == "session_authorization") {
      return fail({.sqlstate = "0A000",
                   .message = "session_authorization cannot be set at startup",
                   .hint = "Log in as that user."});
    }
    wire::put_c_string(login_->raw_settings, name);
    wire::put_c_string(login_->raw_settings, value);
  }
  pool::StateRef known = login_->raw_settings.empty() ? pool_->default_state()
                                                      : pool_->find_canonical(login_->raw_settings);
  const bool is_session = keeps_server_for_good();
  if (known != nullptr && !is_session) {
    session_state_ = with_application_name(std::move(known));
    return finish_login(nullptr);
  }
  state_ = ClientState::welcoming;
  // It is a wait for a server; without a limit to that, client_login_timeout goes on.
  if (is_session || has_wait_limit()) pool_->wait_queue().arm(timer_, pool_->loop().now());
  if (pool::ServerConnection* server = pool_->checkout(*this)) on_server_granted(*server);
}

pool::StateRef ClientSession::with_application_name(pool::StateRef state) const {
  for (const auto& [name, value] : login_->startup.settings) {
    if (name != "application_name") continue;
    if (contains(sessions_.settings().ignore_startup_parameters, name)) continue;
    state = pool_->context().states.with(state, name, clean_application_name(value), true);
  }
  return state;
}

pool::StateRef ClientSession::welcome_target() const {
  pool::StateRef target = pool_->default_state();
  for (const auto& [name, value] : login_->startup.settings) {
    if (name == "application_name") continue;
    if (contains(sessions_.settings().ignore_startup_parameters, name)) continue;
    const pool::Setting* known = target->find(name);
    target =
        pool_->context().states.with(target, name, value, known != nullptr && known->is_reported);
  }
  return target;
}

void ClientSession::finish_welcome() {
  pool::StateRef canonical = pool_->default_state();
  if (!login_->raw_settings.empty()) {
    canonical = pool_->context().states.merged(server_->session_state(), welcome_target());
    server_->set_session_state(canonical);
    pool_->remember_canonical(login_->raw_settings, canonical);
  }
  session_state_ = with_application_name(std::move(canonical));
  pool::ServerConnection& server = *std::exchange(server_, nullptr);
  if (keeps_server_for_good()) return finish_login(&server);
  finish_login(nullptr);
  pool_->checkin(server);
}

/// `kept`: the server that is the client's own from now on, whose pid it is told; nullptr: none.
void ClientSession::finish_login(pool::ServerConnection* kept) {
  std::string out = std::move(login_->reply);
  out.reserve(1024);  // some fifteen parameters
  wire::put_authentication(out, 0);
  for (const pool::Setting& setting : session_state_->settings()) {
    if (setting.is_reported) wire::put_parameter_status(out, setting.name, setting.value);
  }
  startup_state_ = session_state_;
  workload_ = &sessions_.workload(*pool_);
  begin_routing();
  const Sessions::CancelKey key =
      sessions_.register_key(*this, kept != nullptr ? kept->backend_pid() : 0);
  cancel_pid_ = key.pid;
  cancel_secret_ = key.secret;
  wire::put_backend_key(out, cancel_pid_, cancel_secret_);
  wire::put_ready_for_query(out, wire::TransactionStatus::idle);
  send(out);
  transport_->admit();
  pool_->counters().logins.add(pool_->loop().now() - login_->since);
  login_.reset();
  state_ = ClientState::idle;
  pool_->client_idle_queue().arm(timer_, pool_->loop().now());
  if (kept == nullptr || take(*kept)) process_inbox();
}

void ClientSession::enter_console() {
  const std::string& user = login_->startup.user;
  const config::Settings& settings = sessions_.settings();
  const bool is_admin = login_->is_owner || contains(settings.admin_users, user);
  // With auth_type = any nobody has shown who it is; as in PgBouncer, any name may look.
  if (!is_admin && !contains(settings.stats_users, user) &&
      settings.auth_type != config::AuthType::any) {
    return fail({.sqlstate = "42501",
                 .message = "not allowed",
                 .hint = "Name the user in admin_users or stats_users."});
  }
  transport_->admit();
  console_access_ = is_admin ? ConsoleAccess::admin : ConsoleAccess::stats;
  timer_.disarm();
  std::string out = std::move(login_->reply);
  wire::put_authentication(out, 0);
  for (const auto& [name, value] : sessions_.console().parameters()) {
    wire::put_parameter_status(out, name, value);
  }
  const Sessions::CancelKey key = sessions_.register_key(*this, 0);
  cancel_pid_ = key.pid;
  cancel_secret_ = key.secret;
  wire::put_backend_key(out, cancel_pid_, cancel_secret_);
  wire::put_ready_for_query(out, wire::TransactionStatus::idle);
  send(out);
  state_ = ClientState::console;
  const std::string ahead = std::move(login_->input);
  if (!ahead.empty()) stash(as_bytes(ahead));
  process_inbox();
  sessions_.on_console_entered();
}

std::size_t ClientSession::read_console(Bytes in) {
  std::size_t used = 0;
  while (used < in.size()) {
    wire::Header header;
    const Bytes rest = in.subspan(used);
    const wire::HeaderStatus status = wire::parse_header(rest, header);
    if (status == wire::HeaderStatus::incomplete) return used;
    if (status == wire::HeaderStatus::malformed || header.body_bytes > max_login_bytes) {
      fail({.sqlstate = "08P01", .message = "invalid message length"});
      return used;
    }
    if (rest.size() < header.total_bytes()) return used;
    used += header.total_bytes();
    if (header.type == 'X') {
      leave("client close request");
      return used;
    }
    const Bytes body = rest.subspan(wire::header_bytes, header.body_bytes);
    if (!answer_console(header.type, body)) {
      fail({.sqlstate = "08P01",
            .message = fmt::format("invalid frontend message type {}", int{header.type})});
      return used;
    }
    if (state_ != ClientState::console || console_command_ != nullptr) return used;
  }
  return used;
}

/// False: that is no message for a console.
bool ClientSession::answer_console(char type, Bytes body) {
  std::string out;
  if (type == 'Q' && (console_ == nullptr || !console_->is_skipping())) {
    const auto text = wire::decode_query(body);
    if (!text) return false;
    if (console_ != nullptr) console_->forget_unnamed();
    if (run_console_command(*text, false)) return true;
    sessions_.console().execute(*text, console_access_, out);
  } else {
    if (console_ == nullptr) {
      console_ = std::make_unique<ConsoleSession>(sessions_.console(), console_access_);
    }
    const std::string* command = type == 'E' ? console_->begin_command(body) : nullptr;
    if (command != nullptr && run_console_command(std::string(*command), true)) return true;
    if (!console_->on_message(type, body, out)) return false;
  }
  if (!out.empty()) send(out);
  return true;
}

}  // namespace pgproxy::session
