#pragma once

namespace pgproxy::config {

/// How a client proves who it is. hba: as the first line of auth_hba_file says that matches it.
/// peer and reject come from such a line only; any from auth_type only.
enum class AuthType { any, trust, plain, md5, scram_sha_256, cert, hba, peer, reject };

}  // namespace pgproxy::config
