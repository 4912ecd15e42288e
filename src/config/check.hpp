#pragma once

#include <map>
#include <string>
#include <string_view>

#include "config/report.hpp"

#include "pgproxy/config/settings.hpp"

namespace pgproxy::config {

/// Where the configuration says what.
struct Origins {
  struct Given {
    Origin at;
    bool usable = true;     ///< its value was taken
    bool is_alias = false;  ///< given under the row's second name
  };
  using Places = std::map<std::string, Given, std::less<>>;

  std::string file;  ///< the main one
  Places settings;
  Places databases;
  Places users;

  /// Of a setting or line; the main file as a whole when it is not given.
  Origin of(const Places& places, std::string_view name) const {
    const auto place = places.find(name);
    return place == places.end() ? Origin{file, 0} : place->second.at;
  }
};

/// Checks what concerns several settings at once.
void check(const Settings& settings, const Origins& origins, Report& report);
/// The part of it that is about [capacity].
void check_capacity(const Settings& settings, const Origins& origins, Report& report);

}  // namespace pgproxy::config
