#pragma once

#include <cstdint>
#include <span>

#include "pgproxy/base/bytes.hpp"

namespace pgproxy::auth {

/// Cryptographically strong. Aborts when the system has no randomness to give. Thread safe.
void fill_random(std::span<std::uint8_t> bytes);
std::uint64_t random_u64();

/// Compares secrets; the time taken tells their lengths only.
bool equal_in_constant_time(Bytes a, Bytes b);

}  // namespace pgproxy::auth
