#include "load_login.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdexcept>

#include "pgproxy/wire/encode.hpp"
#include "pgproxy/wire/message.hpp"

namespace pgproxy::bench {
namespace {

const unsigned char* data_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* data_of(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

std::string sha256(std::string_view text) {
  std::string out(SHA256_DIGEST_LENGTH, '\0');
  SHA256(data_of(text), text.size(), data_of(out));
  return out;
}

std::string hmac(std::string_view key, std::string_view text) {
  std::string out(SHA256_DIGEST_LENGTH, '\0');
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data_of(text), text.size(),
       data_of(out), nullptr);
  return out;
}

std::string md5_hex(std::string_view text) {
  unsigned char digest[16];
  EVP_Digest(text.data(), text.size(), digest, nullptr, EVP_md5(), nullptr);
  std::string out;
  for (const unsigned char byte : digest) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

std::string base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // EVP_EncodeBlock adds a NUL
  EVP_EncodeBlock(data_of(out), data_of(bytes), static_cast<int>(bytes.size()));
  out.pop_back();
  return out;
}

std::string from_base64(std::string_view text) {
  std::string out(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(data_of(out), data_of(text), static_cast<int>(text.size()));
  if (size < 0) throw std::runtime_error("the server sent bad base64");
  for (; text.ends_with('='); text.remove_suffix(1)) out.pop_back();
  return out;
}

/// The value of `x=` in a SCRAM message.
std::string attribute(std::string_view message, char name) {
  while (!message.empty()) {
    const std::string_view item = message.substr(0, message.find(','));
    if (item.size() >= 2 && item[0] == name && item[1] == '=') return std::string(item.substr(2));
    message.remove_prefix(std::min(item.size() + 1, message.size()));
  }
  throw std::runtime_error(std::string("the server's SCRAM message lacks ") + name);
}

}  // namespace

std::string Credentials::md5_answer(std::string_view salt) const {
  return "md5" + md5_hex(md5_hex(password_ + user_) + std::string(salt));
}

const ScramKeys& Credentials::scram_keys(const std::string& salt_base64, int iterations) {
  const auto [at, is_new] = keys_.try_emplace(salt_base64 + '$' + std::to_string(iterations));
  if (is_new) {
    const std::string salt = from_base64(salt_base64);
    std::string salted(SHA256_DIGEST_LENGTH, '\0');
    PKCS5_PBKDF2_HMAC(password_.data(), static_cast<int>(password_.size()),
                      data_of(std::string_view(salt)), static_cast<int>(salt.size()), iterations,
                      EVP_sha256(), static_cast<int>(salted.size()), data_of(salted));
    at->second.client_key = hmac(salted, "Client Key");
    at->second.stored_key = sha256(at->second.client_key);
    at->second.server_key = hmac(salted, "Server Key");
  }
  return at->second;
}

void Login::on_authentication(Bytes body, std::string& out) {
  wire::Cursor cursor(body);
  const std::uint32_t code = cursor.u32();
  const std::string_view payload = as_text(cursor.rest());
  const auto put_password = [&out](const std::string& password) {
    wire::put_message(out, 'p', password + '\0');
  };
  switch (code) {
    case 0: return;  // Ok
    case 3: return put_password(credentials_.password());
    case 5: return put_password(credentials_.md5_answer(payload));
    case 10: return send_first(payload, out);
    case 11: return send_proof(payload, out);
    case 12: return check_server(payload);
    default: throw std::runtime_error("unknown authentication request " + std::to_string(code));
  }
}

void Login::send_first(std::string_view mechanisms, std::string& out) {
  if (mechanisms.find("SCRAM-SHA-256") == std::string_view::npos) {
    throw std::runtime_error("the server does not offer SCRAM-SHA-256");
  }
  std::string random(18, '\0');
  RAND_bytes(data_of(random), static_cast<int>(random.size()));
  nonce_ = base64(random);
  const std::string first = "n,,n=,r=" + nonce_;  // the user's name is in the StartupMessage
  const wire::MessageWriter writer(out, 'p');
  wire::put_c_string(out, "SCRAM-SHA-256");
  wire::put_u32(out, static_cast<std::uint32_t>(first.size()));
  out += first;
}

void Login::send_proof(std::string_view server_first, std::string& out) {
  const std::string nonce = attribute(server_first, 'r');
  if (!nonce.starts_with(nonce_)) throw std::runtime_error("the server changed our SCRAM nonce");
  const ScramKeys& keys = credentials_.scram_keys(attribute(server_first, 's'),
                                                  std::stoi(attribute(server_first, 'i')));
  const std::string without_proof = "c=biws,r=" + nonce;
  const std::string auth_message =
      "n=,r=" + nonce_ + ',' + std::string(server_first) + ',' + without_proof;
  std::string proof = hmac(keys.stored_key, auth_message);
  for (std::size_t i = 0; i < proof.size(); ++i) {
    proof[i] = static_cast<char>(proof[i] ^ keys.client_key[i]);
  }
  server_signature_ = base64(hmac(keys.server_key, auth_message));
  wire::put_message(out, 'p', without_proof + ",p=" + base64(proof));
}

void Login::check_server(std::string_view server_final) const {
  if (attribute(server_final, 'v') != server_signature_) {
    throw std::runtime_error("the server does not know our password: wrong SCRAM signature");
  }
}

}  // namespace pgproxy::bench
