#include "pool/server_login.hpp"

#include <algorithm>

#include "pgproxy/pool/pool.hpp"
#include "pgproxy/pool/server_connection.hpp"
#include "pgproxy/wire/decode.hpp"
#include "pgproxy/wire/encode.hpp"

namespace pgproxy::pool {
namespace {

/// No message of a login is longer; a server that sends more is not PostgreSQL.
constexpr std::uint32_t max_login_message_bytes = 64 * 1024;

/// What the entry wants of each of its sessions: RESET goes back to it.
std::vector<std::pair<std::string, std::string>> startup_settings(const Pool& pool) {
  const config::Database& entry = pool.database().config;
  auto settings = entry.startup_settings;
  settings.insert(settings.end(), entry.server_settings.begin(), entry.server_settings.end());
  const bool is_replica = pool.kind() == PoolKind::replica;  // it may be promoted
  if (entry.read_only || is_replica) settings.emplace_back("default_transaction_read_only", "on");
  return settings;
}

/// The server's words, with where to correct what they are about.
std::string hint_for(const Pool& pool, std::string_view message, std::string_view hint) {
  const auto is_named = [message](const auto& setting) {
    return message.contains("\"" + setting.first + "\"");
  };
  if (!std::ranges::any_of(pool.database().config.server_settings, is_named)) {
    return std::string(hint);
  }
  return fmt::format("Correct server_settings of database {}{}.", pool.database().config.name,
                     pool.place_of_entry());
}

}  // namespace

ServerLogin::ServerLogin(ServerConnection& server)
    : server_(server),
      auth_(server.pool().user().name, server.pool().server_password(),
            server.pool().context().client_keys,
            server.pool().proven_scram() ? &*server.pool().proven_scram() : nullptr,
            server.channel_binding()),
      reported_(server.pool().context().states.empty()) {}

void ServerLogin::start() {
  std::string packet;
  Pool& pool = server_.pool();
  wire::put_startup(packet, pool.user().name, pool.server_database(), startup_settings(pool));
  server_.send(as_bytes(packet));
}

void ServerLogin::on_data(Bytes bytes) {
  input_ += as_text(bytes);
  std::size_t used = 0;
  Outcome outcome = Outcome::go_on;
  while (outcome == Outcome::go_on) {
    const Bytes rest = as_bytes(input_).subspan(used);
    wire::Header header;
    const wire::HeaderStatus status = wire::parse_header(rest, header);
    if (status == wire::HeaderStatus::incomplete) break;
    if (status == wire::HeaderStatus::malformed || header.body_bytes > max_login_message_bytes) {
      outcome = fail_unexpected(static_cast<char>(rest[0]));
      break;
    }
    if (rest.size() < header.total_bytes()) break;
    used += header.total_bytes();
    outcome = on_message(header.type, rest.subspan(wire::header_bytes, header.body_bytes));
  }
  if (outcome == Outcome::go_on) {
    input_.erase(0, used);
  } else if (outcome == Outcome::failed) {
    const Error error = std::move(error_);
    server_.on_login_failed(error);
  } else {
    const std::string secret = std::move(secret_);
    const std::string behind = input_.substr(used);  // a notice, a changed parameter
    ServerConnection& server = server_;
    server.on_login_done(std::move(reported_), pid_, as_bytes(secret));
    if (!behind.empty()) server.on_data(as_bytes(behind));
  }
}

ServerLogin::Outcome ServerLogin::on_message(char type, Bytes body) {
  if (type == 'E') {
    const auto fields = wire::decode_error(body);
    if (!fields || fields->sqlstate.size() != 5) return fail_unexpected(type);
    return fail(auth_.explain({.sqlstate = std::string(fields->sqlstate),
                               .message = std::string(fields->message),
                               .detail = std::string(fields->detail),
                               .hint = hint_for(server_.pool(), fields->message, fields->hint)}));
  }
  if (type == 'N' || type == 'v') return Outcome::go_on;
  if (type == 'R') return on_authentication(body);
  if (!authenticated_) return fail_unexpected(type);
  if (type == 'S') {
    const auto parameter = wire::decode_parameter_status(body);
    if (!parameter) return fail_unexpected(type);
    reported_ =
        server_.pool().context().states.with(reported_, parameter->name, parameter->value, true);
    return Outcome::go_on;
  }
  if (type == 'K') {
    const auto key = wire::decode_backend_key(body);
    if (!key) return fail_unexpected(type);
    pid_ = key->pid;
    secret_ = as_text(key->secret);
    return Outcome::go_on;
  }
  if (type == 'Z' && wire::decode_ready_for_query(body) == wire::TransactionStatus::idle) {
    return Outcome::ready;
  }
  return fail_unexpected(type);
}

ServerLogin::Outcome ServerLogin::on_authentication(Bytes body) {
  if (authenticated_) return fail_unexpected('R');
  std::string answer;
  const Result<bool> accepted = auth_.on_authentication(body, answer);
  if (!accepted) return fail(accepted.error());
  if (!answer.empty()) server_.send(as_bytes(answer));
  authenticated_ = *accepted;
  return Outcome::go_on;
}

ServerLogin::Outcome ServerLogin::fail(Error error) {
  error_ = std::move(error);
  return Outcome::failed;
}

ServerLogin::Outcome ServerLogin::fail_unexpected(char type) {
  return fail({.sqlstate = "08P01",
               .message = fmt::format("unexpected message from server during login: {:#04x}",
                                      static_cast<unsigned char>(type)),
               .hint = "Check that host and port of the database entry name a PostgreSQL server."});
}

}  // namespace pgproxy::pool
