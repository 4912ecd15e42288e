#include "pgproxy/config/ip_address.hpp"

#include <cstring>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace pgproxy::config {

namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};

}  // namespace

std::optional<IpAddress> IpAddress::parse(const std::string& text) {
  if (text.empty() || text.contains('\0')) return {};
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(text.c_str(), nullptr, &hints, &found) != 0) return {};
  const std::unique_ptr<addrinfo, FreeAddresses> list(found);
  IpAddress address;
  if (list->ai_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(list->ai_addr);
    std::memcpy(address.bytes.data(), &v4->sin_addr, v4_bytes);
    return address;
  }
  if (list->ai_family != AF_INET6) return {};
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(list->ai_addr);
  std::memcpy(address.bytes.data(), &v6->sin6_addr, v6_bytes);
  address.size = v6_bytes;
  return address;
}

IpAddress IpAddress::mask(std::size_t size, std::size_t prefix_bits) {
  IpAddress mask{.size = size};
  for (std::size_t bit = 0; bit < prefix_bits; ++bit) {
    mask.bytes[bit / 8] |= static_cast<std::uint8_t>(0x80U >> (bit % 8));
  }
  return mask;
}

bool IpRange::contains(const IpAddress& other) const {
  if (other.size != address.size) return false;
  for (std::size_t i = 0; i < address.size; ++i) {
    if (((other.bytes[i] ^ address.bytes[i]) & mask.bytes[i]) != 0) return false;
  }
  return true;
}

}  // namespace pgproxy::config
