#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace pgproxy::config {

/// An IPv4 or IPv6 address or netmask, in network byte order.
struct IpAddress {
  static constexpr std::size_t v4_bytes = 4;
  static constexpr std::size_t v6_bytes = 16;

  std::array<std::uint8_t, v6_bytes> bytes{};
  std::size_t size = v4_bytes;  ///< in bytes

  /// What getaddrinfo() takes for a numeric address; asks no resolver. nullopt: it is none.
  static std::optional<IpAddress> parse(const std::string& text);
  /// `prefix_bits` ones, then zeroes; at most 8 * `size`.
  static IpAddress mask(std::size_t size, std::size_t prefix_bits);

  bool operator==(const IpAddress&) const = default;
};

/// Addresses that agree with `address` where `mask` has ones. Both are of one family.
struct IpRange {
  IpAddress address;
  IpAddress mask;

  bool contains(const IpAddress& other) const;
  bool operator==(const IpRange&) const = default;
};

}  // namespace pgproxy::config
