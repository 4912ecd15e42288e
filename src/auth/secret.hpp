#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "pgproxy/auth/scram.hpp"

namespace pgproxy::auth {

/// A stored password, told apart as PostgreSQL does: "md5" and 32 lower-case hex digits;
/// "SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey" with base64; else plain text.
struct Secret {
  enum class Kind {
    unknown,  ///< there is no such user
    empty,    ///< never matches
    plain,
    md5,
    scram,
    malformed,  ///< starts like SCRAM but is not: taking it for a plain password would be a trap
  };
  Kind kind = Kind::unknown;
  std::string text;        ///< plain and md5: as stored
  ScramVerifier verifier;  ///< scram
};

/// `stored` is nullptr for an unknown user.
Secret parse_secret(const std::string* stored);

/// The 32 hex digits that PostgreSQL stores after "md5"; of a plain or md5 secret.
std::string md5_of_user(const Secret& secret, std::string_view user);
/// What answers an md5 challenge, "md5" and 32 hex digits; empty when OpenSSL has no MD5.
std::string md5_answer(std::string_view md5_of_user, std::string_view salt);

}  // namespace pgproxy::auth
