#include <cerrno>
#include <cstring>
#include <ifaddrs.h>
#include <memory>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/socket.h>
#include <system_error>

#include "pgproxy/auth/login_rules.hpp"
#include "pgproxy/base/log.hpp"

namespace pgproxy::auth {

namespace {

struct FreeInterfaces {
  void operator()(ifaddrs* list) const { freeifaddrs(list); }
};

std::optional<config::IpAddress> address_in(const sockaddr* from) {
  config::IpAddress address;
  if (from == nullptr) return {};
  if (from->sa_family == AF_INET) {
    std::memcpy(address.bytes.data(), &reinterpret_cast<const sockaddr_in*>(from)->sin_addr,
                config::IpAddress::v4_bytes);
    return address;
  }
  if (from->sa_family != AF_INET6) return {};
  std::memcpy(address.bytes.data(), &reinterpret_cast<const sockaddr_in6*>(from)->sin6_addr,
              config::IpAddress::v6_bytes);
  address.size = config::IpAddress::v6_bytes;
  return address;
}

/// Nothing is kept: a user id may be given to somebody else, and interfaces come and go.
class OperatingSystem final : public SystemFacts {
 public:
  std::optional<std::string> user_name(std::uint32_t uid) override {
    passwd entry{};
    passwd* found = nullptr;
    std::vector<char> buffer(16 * 1024);
    if (getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0) return {};
    if (found == nullptr) return {};
    return found->pw_name;
  }

  std::optional<std::vector<config::IpRange>> own_networks() override {
    ifaddrs* found = nullptr;
    if (getifaddrs(&found) != 0) {
      log::line(log::Level::error,
                "samehost, samenet in auth_hba_file: cannot ask for own addresses: {}",
                std::generic_category().message(errno));
      return {};
    }
    const std::unique_ptr<ifaddrs, FreeInterfaces> list(found);
    std::vector<config::IpRange> networks;
    for (const ifaddrs* each = list.get(); each != nullptr; each = each->ifa_next) {
      const auto address = address_in(each->ifa_addr);
      const auto mask = address_in(each->ifa_netmask);
      if (address && mask && address->size == mask->size) networks.push_back({*address, *mask});
    }
    return networks;
  }
};

}  // namespace

SystemFacts& operating_system() {
  static OperatingSystem system;
  return system;
}

}  // namespace pgproxy::auth
