#include "auth/scram_exchange.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "auth/crypto.hpp"
#include "auth/saslprep.hpp"

#include "pgproxy/auth/random.hpp"

namespace pgproxy::auth {
namespace {

std::unexpected<Error> malformed(std::string detail) {
  return std::unexpected(Error{
      .sqlstate = "08P01", .message = "malformed SCRAM message", .detail = std::move(detail)});
}

/// The comma separated `x=value` attributes of a message, front to back (RFC 5802 section 5.1).
class Attributes {
 public:
  explicit Attributes(std::string_view message) : rest_(message) {}

  /// The value of the next attribute if that is `name`.
  std::optional<std::string_view> take(char name) {
    if (!rest_ || rest_->size() < 2 || (*rest_)[0] != name || (*rest_)[1] != '=') {
      return std::nullopt;
    }
    const std::size_t comma = rest_->find(',');
    const std::string_view value = rest_->substr(2, comma - 2);
    if (comma == std::string_view::npos) {
      rest_.reset();
    } else {
      rest_->remove_prefix(comma + 1);
    }
    return value;
  }

  bool at_end() const { return !rest_; }

 private:
  std::optional<std::string_view> rest_;  ///< nullopt at the end: nothing follows, not even a comma
};

bool is_nonce(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f && c != ','; });
}

Bytes bytes_of(const ScramKey& key) {
  return {key.data(), key.size()};
}

std::string encode_base64(const ScramKey& key) {
  return auth::encode_base64(bytes_of(key));
}

constexpr std::string_view end_point_flag = "p=tls-server-end-point";

}  // namespace

std::string random_nonce() {
  std::array<std::uint8_t, 18> bytes{};
  fill_random(bytes);
  return encode_base64(Bytes{bytes});
}

ScramClientKeys derive_keys(std::string_view password, std::string_view salt,
                            std::uint32_t iterations) {
  const ScramKey salted = pbkdf2_sha256(saslprep(password), salt, iterations);
  return {.client_key = hmac_sha256(salted, "Client Key"),
          .server_key = hmac_sha256(salted, "Server Key")};
}

ScramKey stored_key_of(const ScramKey& client_key) {
  return sha256(client_key);
}

ScramVerifier make_verifier(std::string_view password, std::string salt, std::uint32_t iterations) {
  const ScramClientKeys keys = derive_keys(password, salt, iterations);
  return {.iterations = iterations,
          .salt = std::move(salt),
          .stored_key = stored_key_of(keys.client_key),
          .server_key = keys.server_key};
}

ScramKey apply_signature(const ScramKey& key, const ScramKey& stored_key,
                         std::string_view auth_message) {
  ScramKey out = hmac_sha256(stored_key, auth_message);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] ^= key[i];
  return out;
}

/// The GS2 header's flag says what the client knows of channel binding (RFC 5802 section 6).
Result<void> ScramServer::take_binding_flag(std::string_view& message, bool is_bound,
                                            bool can_bind) {
  const std::string_view flag = message.substr(0, message.find(','));
  message.remove_prefix(flag.size());
  if (flag.starts_with("p=")) {
    if (!is_bound) {
      return malformed("The client binds to the channel, but chose a mechanism without that.");
    }
    if (flag != end_point_flag) {
      return malformed("The client's type of channel binding is not tls-server-end-point.");
    }
    return {};
  }
  if (flag != "n" && flag != "y") return malformed("Unexpected channel-binding flag.");
  if (is_bound) {
    return malformed("The client chose SCRAM-SHA-256-PLUS without binding to the channel.");
  }
  // Somebody in between took the offer away.
  if (flag == "y" && can_bind) {
    return malformed("The client could bind to the channel but did not see that we offered it.");
  }
  return {};
}

Result<std::string> ScramServer::on_client_first(std::string_view message, bool is_bound,
                                                 std::string_view channel_binding) {
  std::string_view rest = message;
  if (auto taken = take_binding_flag(rest, is_bound, !channel_binding.empty()); !taken) {
    return std::unexpected(taken.error());
  }
  if (!rest.starts_with(",,")) return malformed("An authorization identity is not supported.");
  const std::string_view bare = rest.substr(2);
  binding_ = message.substr(0, message.size() - bare.size());
  if (is_bound) binding_ += channel_binding;
  Attributes attributes(bare);
  if (!attributes.take('n')) return malformed("The user name is missing.");
  const auto client_nonce = attributes.take('r');
  if (!client_nonce || !is_nonce(*client_nonce)) return malformed("The nonce is missing or bad.");

  nonce_.insert(0, *client_nonce);
  std::string answer = "r=" + nonce_ + ",s=" + auth::encode_base64(as_bytes(verifier_.salt)) +
                       ",i=" + std::to_string(verifier_.iterations);
  auth_message_ = std::string(bare) + "," + answer + ",";
  return answer;
}

Result<std::optional<std::string>> ScramServer::on_client_final(std::string_view message) {
  const std::size_t proof_at = message.rfind(",p=");
  if (proof_at == std::string_view::npos) return malformed("The proof is missing.");
  const std::string_view without_proof = message.substr(0, proof_at);
  const auto proof = decode_base64(message.substr(proof_at + 3));
  if (!proof || proof->size() != ScramKey{}.size()) return malformed("The proof is malformed.");

  Attributes attributes(without_proof);
  if (attributes.take('c') != auth::encode_base64(as_bytes(binding_))) {
    return malformed("The channel binding is not that of this connection.");
  }
  if (attributes.take('r') != nonce_) return malformed("The nonce does not match.");

  auth_message_ += without_proof;
  ScramKey sent{};
  std::ranges::transform(*proof, sent.begin(), [](char c) { return static_cast<std::uint8_t>(c); });
  client_key_ = apply_signature(sent, verifier_.stored_key, auth_message_);
  const ScramKey stored_key = stored_key_of(client_key_);
  if (!equal_in_constant_time(stored_key, verifier_.stored_key)) {
    return std::nullopt;
  }
  return "v=" + encode_base64(hmac_sha256(verifier_.server_key, auth_message_));
}

std::string ScramClient::client_first(Binding binding, std::string_view channel_binding) {
  switch (binding) {
    case Binding::none: binding_ = "n,,"; break;
    case Binding::not_offered: binding_ = "y,,"; break;
    case Binding::end_point: binding_ = std::string(end_point_flag) + ",,"; break;
  }
  auth_message_ = "n=,r=" + nonce_;
  std::string message = binding_ + auth_message_;
  if (binding == Binding::end_point) binding_ += channel_binding;
  return message;
}

Result<ScramChallenge> ScramClient::on_server_first(std::string_view message) {
  Attributes attributes(message);
  const auto nonce = attributes.take('r');
  if (!nonce || !is_nonce(*nonce) || !nonce->starts_with(nonce_) ||
      nonce->size() == nonce_.size()) {
    return malformed("The server's nonce does not continue ours.");
  }
  const auto salt = decode_base64(attributes.take('s').value_or(""));
  if (!salt || salt->empty()) return malformed("The server's salt is missing or bad.");
  const std::string_view count = attributes.take('i').value_or("");
  std::uint32_t iterations = 0;
  const auto [end, failure] =
      std::from_chars(count.data(), count.data() + count.size(), iterations);
  if (failure != std::errc{} || end != count.data() + count.size() || iterations < 1 ||
      iterations > max_server_iterations) {
    return malformed("The server's iteration count is \"" + std::string(count) + "\": want 1 to " +
                     std::to_string(max_server_iterations) + ".");
  }
  if (!attributes.at_end()) return malformed("Something follows the server's iteration count.");
  auth_message_ += "," + std::string(message) + ",";
  return ScramChallenge{.nonce = std::string(*nonce), .salt = *salt, .iterations = iterations};
}

std::string ScramClient::client_final(const ScramChallenge& challenge,
                                      const ScramClientKeys& keys) {
  const std::string without_proof =
      "c=" + auth::encode_base64(as_bytes(binding_)) + ",r=" + challenge.nonce;
  auth_message_ += without_proof;
  server_signature_ = hmac_sha256(keys.server_key, auth_message_);
  const ScramKey proof =
      apply_signature(keys.client_key, stored_key_of(keys.client_key), auth_message_);
  return without_proof + ",p=" + encode_base64(proof);
}

Result<void> ScramClient::on_server_final(std::string_view message) const {
  Attributes attributes(message);
  if (attributes.take('e')) return malformed("The server ended the exchange with an error.");
  const auto signature = decode_base64(attributes.take('v').value_or(""));
  if (!signature || !attributes.at_end()) return malformed("The server's signature is malformed.");
  if (!equal_in_constant_time(as_bytes(*signature), server_signature_)) {
    return std::unexpected(Error{.sqlstate = "08P01",
                                 .message = "incorrect SCRAM server signature",
                                 .detail = "The server does not know the user's password."});
  }
  return {};
}

}  // namespace pgproxy::auth
