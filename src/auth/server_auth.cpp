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

constexpr std::string_view same_secret_hint =
    "Copy the user's rolpassword from pg_authid of the server into auth_file, or give the plain "
    "password there or as password= of the database entry.";

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
  std::optional<ProvenScram> proven;
  std::string channel_binding;
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
  Result<ScramClientKeys> keys_for(const ScramChallenge& challenge) const;
};

std::unexpected<Error> ServerAuth::State::no_usable_secret(std::string_view method) const {
  std::string_view have = "none is known";
  if (secret.kind == Secret::Kind::md5) have = "only an md5 hash is known";
  if (secret.kind == Secret::Kind::scram) {
    have = method == scram_mechanism
               ? "only a SCRAM secret is known, and no client has logged in with its password yet"
               : "only a SCRAM secret is known";
  }
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
  bool has_plus = false;
  std::string offered;
  while (true) {
    const std::string_view mechanism = cursor.c_string();
    if (mechanism.empty()) break;
    has_scram |= mechanism == scram_mechanism;
    has_plus |= mechanism == scram_plus_mechanism && !channel_binding.empty();
    offered += (offered.empty() ? "" : ", ") + std::string(mechanism);
  }
  if (!cursor.ok_and_empty()) return violation("malformed SASL request from server");
  if (!has_scram && !has_plus) return unsupported("SASL (" + offered + ")");
  const bool can_prove = secret.kind == Secret::Kind::plain || proven;
  if (!can_prove) return no_usable_secret(scram_mechanism);

  using enum ScramClient::Binding;
  const auto binding = has_plus ? end_point : channel_binding.empty() ? none : not_offered;
  const std::string first = scram.client_first(binding, channel_binding);
  const wire::MessageWriter writer(out, 'p');
  wire::put_c_string(out, has_plus ? scram_plus_mechanism : scram_mechanism);
  wire::put_u32(out, static_cast<std::uint32_t>(first.size()));
  out += first;
  step = Step::scram_first;
  return false;
}

/// Of a client's proof only where the server has the very secret that it was given for.
Result<ScramClientKeys> ServerAuth::State::keys_for(const ScramChallenge& challenge) const {
  if (secret.kind == Secret::Kind::plain) {
    return cache.keys(secret.text, challenge.salt, challenge.iterations);
  }
  const ScramVerifier& known = proven->verifier;
  const bool is_other_salt = challenge.salt != known.salt;
  if (!is_other_salt && challenge.iterations == known.iterations) {
    return ScramClientKeys{.client_key = proven->client_key, .server_key = known.server_key};
  }
  return std::unexpected(Error{
      .sqlstate = "28P01",
      .message = "the SCRAM secret of user \"" + user + "\" is not the server's: " +
                 (is_other_salt ? "the salt differs" : "the iteration count differs"),
      .detail = is_other_salt
                    ? std::string("The password was set anew on one side.")
                    : "The server asks for " + std::to_string(challenge.iterations) +
                          " iterations, the secret has " + std::to_string(known.iterations) + ".",
      .hint = std::string(same_secret_hint)});
}

Result<bool> ServerAuth::State::on_sasl_continue(wire::Cursor cursor, std::string& out) {
  if (step != Step::scram_first) return violation("unexpected SASL challenge from server");
  const auto challenge = scram.on_server_first(as_text(cursor.rest()));
  if (!challenge) return std::unexpected(challenge.error());
  const auto keys = keys_for(*challenge);
  if (!keys) return std::unexpected(keys.error());
  wire::put_message(out, 'p', scram.client_final(*challenge, *keys));
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

ServerAuth::ServerAuth(std::string user, const std::string& secret, ClientKeyCache& cache,
                       const ProvenScram* proven, std::string channel_binding)
    : state_(std::make_unique<State>(std::move(user), parse_secret(&secret), cache, std::nullopt,
                                     std::move(channel_binding))) {
  const Secret& known = state_->secret;
  // What was proven for a secret of before says nothing of the one that is known now.
  const bool is_of_it = proven != nullptr && known.kind == Secret::Kind::scram &&
                        proven->verifier.stored_key == known.verifier.stored_key &&
                        proven->verifier.salt == known.verifier.salt;
  if (is_of_it) state_->proven = *proven;
}

ServerAuth::~ServerAuth() = default;

Result<bool> ServerAuth::on_authentication(Bytes body, std::string& out) {
  auto result = state_->on_message(body, out);
  if (!result) state_->step = State::Step::done;
  return result;
}

Error ServerAuth::explain(Error refusal) const {
  const bool is_ours = state_->step == State::Step::scram_final && state_->proven;
  if (is_ours && refusal.sqlstate == "28P01") {
    refusal.detail = "The SCRAM secret of user \"" + state_->user +
                     "\" is not the server's: salt and iteration count agree, the stored key "
                     "differs.";
    refusal.hint = same_secret_hint;
  }
  return refusal;
}

}  // namespace pgproxy::auth
