#pragma once

#include <string>
#include <string_view>

namespace pgproxy::auth {

/// The password as SCRAM hashes it (SASLprep, RFC 4013), so that it is the same however it was
/// typed. As in PostgreSQL and libpq, one that SASLprep has no answer for, because it is not UTF-8
/// or has code points that are prohibited or unassigned, is taken as it is. Thread safe.
std::string saslprep(std::string_view password);

}  // namespace pgproxy::auth
