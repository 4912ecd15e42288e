#include "pgproxy/auth/server_auth.hpp"

#include <optional>
#include <utility>

#include "auth/scram_exchange.hpp"
#include "auth/secret.hpp"

#include "pgproxy/wire/encode.hpp"
#include "pgproxy/wire/message.hpp"

namespace pgproxy::auth {
namespace {

std::unexpected<Error> violation(std::string message) {
  return std::unexpected(Error{.sqlstate = "08P01", .message = std::move(message)});
}

std::unexpected<Error> unsupported(std::string_view method) {
  return std::unexpected(Error{
      .sqlstate = "0A000",
      .message = "server asks for authentication method " + std::string(method) +
                 ", which is not supported",
      .hint = "Let the server's pg_hba.conf ask pgproxy for scram-sha-256, md5 or password."});
}

/// Authentication request codes that we do not speak, by their names (55.7).
std::string method_name(std::uint32_t code) {
  switch (code) {
    case 2: return "Kerberos V5";
    case 4: return "crypt";
    case 6: return "SCM credentials";
    case 7:
    case 8: return "GSSAPI";
    case 9: return "SSPI";
    default: return "number " + std::to_string(code);
  }
}

}  // namespace

//  challenged: unasked -> answered                              -> done
//  SCRAM:      unasked -> scram_first -> scram_final -> answered -> done
//  trusted:    unasked                                           -> done;   any -> done by an error
struct ServerAuth::State {
  enum class Step { unasked, scram_first, scram_final, answered, done };

  std::string user;
  Secret secret;
  ClientKeyCache& cache;
  Step step = Step::unasked;
  ScramClient scram = ScramClient{};

  std::unexpected<Error> no_usable_secret(std::string_view method) const;
  Result<bool> on_message(Bytes body, std::string& out);
  Result<bool> on_ok(wire::Cursor cursor);
  Result<bool> on_cleartext(wire::Cursor cursor, std::string& out);
  Result<bool> on_md5(wire::Cursor cursor, std::string& out);
  Result<bool> on_sasl(wire::Cursor cursor, std::string& out);
  Result<bool> on_sasl_continue(wire::Cursor cursor, std::string& out);
  Result<bool> on_sasl_final(wire::Cursor cursor);
};

std::unexpected<Error> ServerAuth::State::no_usable_secret(std::string_view method) const {
  std::string_view have = "none is known";
  if (secret.kind == Secret::Kind::md5) have = "only an md5 hash is known";
  if (secret.kind == Secret::Kind::scram) have = "only a SCRAM secret is known";
  if (secret.kind == Secret::Kind::malformed) have = "the stored SCRAM secret is malformed";
  return std::unexpected(Error{
      .sqlstate = "28P01",
      .message = "server asks for the password of user \"" + user + "\" (" + std::string(method) +
                 "), but " + std::string(have),
      .hint = "Give the plain password in auth_file, or as password= of the database entry."});
}

Result<bool> ServerAuth::State::on_ok(wire::Cursor cursor) {
  if (!cursor.ok_and_empty()) return violation("malformed AuthenticationOk from server");
  if (step == Step::scram_first || step == Step::scram_final) {
    return violation("server sent AuthenticationOk before it proved that it knows the password");
  }
  step = Step::done;
  return true;
}

Result<bool> ServerAuth::State::on_cleartext(wire::Cursor cursor, std::string& out) {
  if (step != Step::unasked) return violation("unexpected password request from server");
  if (!cursor.ok_and_empty()) return violation("malformed password request from server");
  if (secret.kind != Secret::Kind::plain) return no_usable_secret("password");
  const wire::MessageWriter writer(out, 'p');
  wire::put_c_string(out, secret.text);
  step = Step::answered;
  return false;
}

Result<bool> ServerAuth::State::on_md5(wire::Cursor cursor, std::string& out) {
  if (step != Step::unasked) return violation("unexpected md5 request from server");
  const Bytes salt = cursor.bytes(4);
  if (!cursor.ok_and_empty()) return violation("malformed md5 request from server");
  if (secret.kind != Secret::Kind::plain && secret.kind != Secret::Kind::md5) {
    return no_usable_secret("md5");
  }
  const std::string answer = md5_answer(md5_of_user(secret, user), as_text(salt));
  if (answer.empty()) return unsupported("md5 (OpenSSL offers no MD5 here)");
  const wire::MessageWriter writer(out, 'p');
  wire::put_c_string(out, answer);
  step = Step::answered;
  return false;
}

Result<bool> ServerAuth::State::on_sasl(wire::Cursor cursor, std::string& out) {
  if (step != Step::unasked) return violation("unexpected SASL request from server");
  bool has_scram = false;
  std::string offered;
  while (true) {
    const std::string_view mechanism = cursor.c_string();
    if (mechanism.empty()) break;
    has_scram = has_scram || mechanism == scram_mechanism;
    offered += (offered.empty() ? "" : ", ") + std::string(mechanism);
  }
  if (!cursor.ok_and_empty()) return violation("malformed SASL request from server");
  if (!has_scram) return unsupported("SASL (" + offered + ")");
  if (secret.kind != Secret::Kind::plain) return no_usable_secret(scram_mechanism);

  const std::string first = scram.client_first();
  const wire::MessageWriter writer(out, 'p');
  wire::put_c_string(out, scram_mechanism);
  wire::put_u32(out, static_cast<std::uint32_t>(first.size()));
  out += first;
  step = Step::scram_first;
  return false;
}

Result<bool> ServerAuth::State::on_sasl_continue(wire::Cursor cursor, std::string& out) {
  if (step != Step::scram_first) return violation("unexpected SASL challenge from server");
  const auto answer = scram.on_server_first(as_text(cursor.rest()), secret.text, cache);
  if (!answer) return std::unexpected(answer.error());
  wire::put_message(out, 'p', *answer);
  step = Step::scram_final;
  return false;
}

Result<bool> ServerAuth::State::on_sasl_final(wire::Cursor cursor) {
  if (step != Step::scram_final) return violation("unexpected end of SASL from server");
  if (auto proved = scram.on_server_final(as_text(cursor.rest())); !proved) {
    return std::unexpected(proved.error());
  }
  step = Step::answered;
  return false;
}

Result<bool> ServerAuth::State::on_message(Bytes body, std::string& out) {
  if (step == Step::done) return violation("unexpected authentication message from server");
  if (body.size() > max_sasl_message_bytes) {
    return violation("authentication message from server is too long");
  }
  wire::Cursor cursor(body);
  const std::uint32_t code = cursor.u32();
  if (!cursor.ok()) return violation("malformed authentication message from server");
  switch (code) {
    case 0: return on_ok(cursor);
    case 3: return on_cleartext(cursor, out);
    case 5: return on_md5(cursor, out);
    case 10: return on_sasl(cursor, out);
    case 11: return on_sasl_continue(cursor, out);
    case 12: return on_sasl_final(cursor);
    default: return unsupported(method_name(code));
  }
}

ServerAuth::ServerAuth(std::string user, const std::string& secret, ClientKeyCache& cache)
    : state_(std::make_unique<State>(std::move(user), parse_secret(&secret), cache)) {}

ServerAuth::~ServerAuth() = default;

Result<bool> ServerAuth::on_authentication(Bytes body, std::string& out) {
  auto result = state_->on_message(body, out);
  if (!result) state_->step = State::Step::done;
  return result;
}

}  // namespace pgproxy::auth
