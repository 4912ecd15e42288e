// Login dialogues against either side. The first byte picks side, method and secret; the rest are
// message bodies separated by "||", in which "@@" stands for the nonce that the side under test
// sent last (no fuzzer guesses that).
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "auth/scram_exchange.hpp"

#include "pgproxy/auth/client_auth.hpp"
#include "pgproxy/auth/server_auth.hpp"
#include "pgproxy/base/assert.hpp"

namespace {

using namespace pgproxy;
using namespace pgproxy::auth;

constexpr std::uint32_t iterations = 1;

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (true) {
    const std::size_t at = text.find("||");
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 2);
  }
}

/// What stands behind the last "r=" of what was sent, up to a comma.
std::string nonce_in(std::string_view sent) {
  const std::size_t at = sent.rfind("r=");
  if (at == std::string_view::npos) return {};
  sent.remove_prefix(at + 2);
  return std::string(sent.substr(0, sent.find(',')));
}

std::string with_nonce(std::string message, std::string_view nonce) {
  for (std::size_t at = 0; (at = message.find("@@", at)) != std::string::npos; at += nonce.size()) {
    message.replace(at, 2, nonce);
  }
  return message;
}

std::string stored_scram() {
  return "SCRAM-SHA-256$1:c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
}

void run_client_side(unsigned choice, const std::vector<std::string>& messages) {
  using enum config::AuthType;
  static const config::AuthType types[] = {any, trust, plain, md5, scram_sha_256};
  static const std::string secrets[] = {"", "secret", "md5" + std::string(32, 'a'), stored_scram()};
  const config::AuthType type = types[choice % 5];
  const unsigned which = choice / 5 % 5;
  const std::string* secret = which < 4 ? &secrets[which] : nullptr;

  const auto verifiers = std::make_shared<VerifierCache>(iterations);
  ClientAuth auth(type, "joe", secret, verifiers);
  std::string out;
  std::string nonce;
  auto outcome = auth.start(out);
  for (const std::string& message : messages) {
    nonce = out.empty() ? nonce : nonce_in(out);
    out.clear();
    outcome = auth.on_password_message(as_bytes(with_nonce(message, nonce)), out);
    if (outcome == ClientAuth::Outcome::refused) {
      PGPROXY_ASSERT(auth.error().sqlstate.size() == 5 && !auth.log_reason().empty());
    }
    // Nobody knows a password of these.
    const bool may_pass = which == 1;
    PGPROXY_ASSERT(may_pass || outcome != ClientAuth::Outcome::accepted);
  }
}

/// The rounds that a server may ask for take too long under a sanitizer.
bool asks_for_many_rounds(std::string_view message) {
  const std::size_t at = message.rfind(",i=");
  return at != std::string_view::npos && message.size() - at > 7;
}

void run_server_side(unsigned choice, const std::vector<std::string>& messages) {
  static const std::string secrets[] = {"", "secret", "md5" + std::string(32, 'a'), stored_scram()};
  ClientKeyCache cache;
  ServerAuth auth("joe", secrets[choice % 4], cache);
  std::string out;
  std::string nonce;
  bool uses_scram = false;
  for (const std::string& message : messages) {
    if (asks_for_many_rounds(message)) return;
    nonce = out.empty() ? nonce : nonce_in(out);
    uses_scram = uses_scram || out.find(scram_mechanism) != std::string::npos;
    out.clear();
    const auto result = auth.on_authentication(as_bytes(with_nonce(message, nonce)), out);
    if (!result) {
      PGPROXY_ASSERT(result.error().sqlstate.size() == 5);
      continue;
    }
    // The server cannot sign: it does not know the password.
    PGPROXY_ASSERT(!*result || !uses_scram);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const unsigned choice = data[0];
  const auto messages = split(as_text(Bytes(data + 1, size - 1)));
  if (choice % 2 == 0) {
    run_client_side(choice / 2, messages);
  } else {
    run_server_side(choice / 2, messages);
  }
  return 0;
}
