#include "pgproxy/auth/client_auth.hpp"

#include <array>
#include <fmt/format.h>
#include <optional>
#include <utility>

#include "auth/crypto.hpp"
#include "auth/scram_exchange.hpp"
#include "auth/secret.hpp"

#include "pgproxy/auth/random.hpp"
#include "pgproxy/base/assert.hpp"
#include "pgproxy/wire/encode.hpp"
#include "pgproxy/wire/message.hpp"

namespace pgproxy::auth {
namespace {

using Outcome = ClientAuth::Outcome;
using Kind = Secret::Kind;

/// Authentication request codes (55.7).
enum Request : std::uint32_t {
  cleartext_password = 3,
  md5_password = 5,
  sasl = 10,
  sasl_continue = 11,
  sasl_final = 12,
};

/// Why no password can be right under SCRAM, for the log; empty when one can.
std::string_view why_never_scram(Kind kind) {
  switch (kind) {
    case Kind::unknown: return "no such user";
    case Kind::empty: return "the password in auth_file is empty";
    case Kind::malformed: return "the SCRAM secret in auth_file is malformed";
    case Kind::md5:
      return "auth_type is scram-sha-256, but auth_file has an md5 hash: want a plain password or "
             "a SCRAM secret there";
    case Kind::plain:
    case Kind::scram: return {};
  }
  std::unreachable();
}

}  // namespace

//  unstarted -> password | md5 | scram_first -> scram_final -> done;   any -> done
struct ClientAuth::State {
  enum class Step { unstarted, password, md5, scram_first, scram_final, done };

  config::AuthType type;
  std::string user;
  Secret secret;
  std::shared_ptr<VerifierCache> cache;
  std::string channel_binding;
  Step step = Step::unstarted;
  std::array<std::uint8_t, 4> md5_salt{};
  std::optional<ScramServer> scram = {};
  std::optional<ProvenScram> proven = {};
  Error error = {};
  std::string log_reason = {};
  std::string why_never = {};  ///< set by must_fail()

  Outcome accept() {
    if (!why_never.empty()) return wrong_password(why_never);
    step = Step::done;
    return Outcome::accepted;
  }
  Outcome refuse(Error why, std::string reason) {
    step = Step::done;
    error = std::move(why);
    log_reason = std::move(reason);
    return Outcome::refused;
  }
  /// One and the same answer whatever is wrong with user or password.
  Outcome wrong_password(std::string_view reason) {
    return refuse({.sqlstate = "28P01",
                   .message = "password authentication failed for user \"" + user + "\""},
                  std::string(reason));
  }
  /// Where the client was told apart by other means than a password.
  Outcome accept_known(std::string_view method) {
    if (secret.kind != Kind::unknown) return accept();
    return refuse(
        {.sqlstate = "28000",
         .message = fmt::format("{} authentication failed for user \"{}\"", method, user)},
        "no such user");
  }
  Outcome violation(Error why) {
    std::string reason = why.detail.empty() ? why.message : why.message + ": " + why.detail;
    return refuse(std::move(why), std::move(reason));
  }
  Outcome violation(std::string message) {
    return violation(Error{.sqlstate = "08P01", .message = std::move(message)});
  }

  Outcome request_md5(std::string& out);
  Outcome request_scram(std::string& out);
  bool is_hashed() const;
  Outcome on_password(Bytes body);
  bool is_password(std::string_view sent);
  bool is_md5_answer(std::string_view sent) const;
  Outcome on_scram_first(Bytes body, std::string& out);
  Outcome on_scram_final(Bytes body, std::string& out);
  ScramVerifier verifier();
};

Outcome ClientAuth::State::request_md5(std::string& out) {
  step = Step::md5;
  fill_random(md5_salt);
  wire::put_authentication(out, md5_password, as_text(md5_salt));
  return Outcome::need_more;
}

Outcome ClientAuth::State::request_scram(std::string& out) {
  step = Step::scram_first;
  std::string mechanisms;
  if (!channel_binding.empty()) wire::put_c_string(mechanisms, scram_plus_mechanism);
  wire::put_c_string(mechanisms, scram_mechanism);
  wire::put_c_string(mechanisms, "");
  wire::put_authentication(out, sasl, mechanisms);
  return Outcome::need_more;
}

/// Whether to look at a password in clear text costs PBKDF2.
bool ClientAuth::State::is_hashed() const {
  if (step != Step::password) return false;
  return secret.kind == Kind::scram || (secret.kind == Kind::unknown && cache->has_verifiers());
}

/// Cleartext or md5, whichever was asked for.
Outcome ClientAuth::State::on_password(Bytes body) {
  wire::Cursor cursor(body);
  const std::string_view sent = cursor.c_string();
  if (!cursor.ok_and_empty()) return violation("invalid password packet size");
  if (secret.kind == Kind::unknown) {
    // As long as the refusal of a known user takes.
    if (is_hashed() && !sent.empty())
      derive_keys(sent, cache->mock(user).salt, cache->iterations());
    return wrong_password("no such user");
  }
  if (sent.empty()) return wrong_password("the client sent an empty password");
  const bool is_right = step == Step::md5 ? is_md5_answer(sent) : is_password(sent);
  return is_right ? accept() : wrong_password("wrong password");
}

bool ClientAuth::State::is_password(std::string_view sent) {
  switch (secret.kind) {
    case Kind::plain: return equal_in_constant_time(as_bytes(sent), as_bytes(secret.text));
    case Kind::md5:
      return equal_in_constant_time(as_bytes(md5_hex(std::string(sent) + user)),
                                    as_bytes(md5_of_user(secret, user)));
    case Kind::scram: {
      const ScramVerifier& known = secret.verifier;
      const ScramKey key = derive_keys(sent, known.salt, known.iterations).client_key;
      if (!equal_in_constant_time(stored_key_of(key), known.stored_key)) return false;
      proven = {.verifier = known, .client_key = key};
      return true;
    }
    case Kind::unknown:
    case Kind::empty:
    case Kind::malformed: return false;
  }
  std::unreachable();
}

bool ClientAuth::State::is_md5_answer(std::string_view sent) const {
  if (secret.kind != Kind::plain && secret.kind != Kind::md5) return false;
  return equal_in_constant_time(as_bytes(sent),
                                as_bytes(md5_answer(md5_of_user(secret, user), as_text(md5_salt))));
}

/// The mock is made for everybody, needed or not: the time of the first answer would tell a clock
/// nearby who is unknown.
ScramVerifier ClientAuth::State::verifier() {
  ScramVerifier mock = cache->mock(user);
  if (secret.kind == Kind::scram) return secret.verifier;
  if (secret.kind == Kind::plain) return cache->of_password(user, secret.text);
  return mock;
}

Outcome ClientAuth::State::on_scram_first(Bytes body, std::string& out) {
  wire::Cursor cursor(body);
  const std::string_view mechanism = cursor.c_string();
  const std::uint32_t length = cursor.u32();
  const std::string_view message = as_text(cursor.bytes(length));
  if (!cursor.ok_and_empty()) return violation("malformed SASLInitialResponse");
  const bool is_bound = !channel_binding.empty() && mechanism == scram_plus_mechanism;
  if (!is_bound && mechanism != scram_mechanism) {
    return violation("client selected an invalid SASL authentication mechanism");
  }
  const auto answer = scram.emplace(verifier()).on_client_first(message, is_bound, channel_binding);
  if (!answer) return violation(answer.error());
  wire::put_authentication(out, sasl_continue, *answer);
  step = Step::scram_final;
  return Outcome::need_more;
}

Outcome ClientAuth::State::on_scram_final(Bytes body, std::string& out) {
  const auto answer = scram->on_client_final(as_text(body));
  if (!answer) return violation(answer.error());
  if (const auto reason = why_never_scram(secret.kind); !reason.empty()) {
    return wrong_password(reason);
  }
  if (!*answer) return wrong_password("wrong password");
  if (secret.kind == Kind::scram) proven = scram->proven();
  wire::put_authentication(out, sasl_final, **answer);
  return accept();
}

ClientAuth::ClientAuth(config::AuthType type, std::string user, const std::string* secret,
                       std::shared_ptr<VerifierCache> cache, std::string channel_binding)
    : state_(std::make_unique<State>(type, std::move(user), parse_secret(secret), std::move(cache),
                                     std::move(channel_binding))) {}

ClientAuth::~ClientAuth() = default;

Outcome ClientAuth::start(std::string& out) {
  using enum config::AuthType;
  State& state = *state_;
  PGPROXY_ASSERT(state.step == State::Step::unstarted);
  switch (state.type) {
    case any: return state.accept();
    case trust:
      return state.secret.kind == Kind::unknown ? state.wrong_password("no such user")
                                                : state.accept();
    case plain:
      state.step = State::Step::password;
      wire::put_authentication(out, cleartext_password);
      return Outcome::need_more;
    case md5:
      if (state.secret.kind == Kind::scram) return state.request_scram(out);
      return state.request_md5(out);
    case scram_sha_256: return state.request_scram(out);
    case peer: return state.accept_known("Peer");
    case cert: return state.accept_known("certificate");
    case hba:
    case reject: break;  // decided before
  }
  std::unreachable();
}

bool ClientAuth::is_next_slow() const {
  const State& state = *state_;
  if (state.step == State::Step::password) return state.is_hashed();
  return state.step == State::Step::scram_first && state.secret.kind == Kind::plain &&
         !state.cache->has(state.user, state.secret.text);
}

Outcome ClientAuth::on_password_message(Bytes body, std::string& out) {
  using enum State::Step;
  State& state = *state_;
  const bool is_sasl = state.step == scram_first || state.step == scram_final;
  if (body.size() > (is_sasl ? max_sasl_message_bytes : max_message_bytes)) {
    return state.violation("invalid password packet size");
  }
  switch (state.step) {
    case password:
    case md5: return state.on_password(body);
    case scram_first: return state.on_scram_first(body, out);
    case scram_final: return state.on_scram_final(body, out);
    case unstarted:
    case done: return state.violation("unexpected password message");
  }
  std::unreachable();
}

void ClientAuth::must_fail(std::string reason) {
  PGPROXY_ASSERT(!reason.empty());
  state_->why_never = std::move(reason);
}

const Error& ClientAuth::error() const {
  return state_->error;
}

const std::string& ClientAuth::log_reason() const {
  return state_->log_reason;
}

const ProvenScram* ClientAuth::proven() const {
  return state_->proven ? &*state_->proven : nullptr;
}

}  // namespace pgproxy::auth
