#include "auth/crypto.hpp"

#include <doctest/doctest.h>
#include <string>

using namespace pgproxy;
using namespace pgproxy::auth;
using namespace std::literals;

namespace {

std::string hex(const ScramKey& key) {
  std::string out;
  for (const std::uint8_t byte : key) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

}  // namespace

TEST_CASE("hashes agree with their published test vectors") {
  CHECK(hex(sha256(as_bytes("abc"sv))) ==  // FIPS 180-2, B.1
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const std::string key(20, '\x0b');
  CHECK(hex(hmac_sha256(as_bytes(key), "Hi There")) ==  // RFC 4231, 4.2
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  CHECK(hex(hmac_sha256(as_bytes("Jefe"sv), "what do ya want for nothing?")) ==  // 4.3
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK(hex(pbkdf2_sha256("passwd", "salt", 1)).starts_with("55ac046e56e3089f"));  // RFC 7914, 11
  CHECK(md5_hex("abc") == "900150983cd24fb0d6963f7d28e17f72");                     // RFC 1321
}

TEST_CASE("base64 goes there and back") {
  for (const auto& [raw, text] : {std::pair{""sv, ""sv},
                                  {"f"sv, "Zg=="sv},
                                  {"fo"sv, "Zm8="sv},
                                  {"foo"sv, "Zm9v"sv},
                                  {"\0\xff\0"sv, "AP8A"sv}}) {
    CHECK(encode_base64(as_bytes(raw)) == text);
    CHECK(decode_base64(text) == raw);
  }
}

TEST_CASE("only the one right spelling in base64 is taken") {
  for (const auto text : {"Zg"sv, "Zg="sv, "Zg==="sv, "Zh=="sv, "=g=="sv, "===="sv, "Zm9v\n"sv,
                          " Zg="sv, "Zm-v"sv, "Zg==Zg=="sv, "Zm9v===="sv, "Zm\0v"sv, "Z=9v"sv}) {
    CHECK_FALSE(decode_base64(text));
  }
}
