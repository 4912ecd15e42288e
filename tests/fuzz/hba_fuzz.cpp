#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "config/auth_tokens.hpp"
#include "config/hba.hpp"

#include "pgproxy/auth/login_rules.hpp"

namespace {

using namespace pgproxy;

/// Every file there is has the same text; the twentieth cannot be read, so that reading ends.
class SameFile final : public config::FileSource {
 public:
  explicit SameFile(std::string_view text) : text_(text) {}

  bool exists(const std::string& path) const override { return path != "none"; }
  Result<std::string> read(const std::string&) const override {
    if (++read_count_ < 20) return std::string(text_);
    return std::unexpected(Error{.sqlstate = {}, .message = "cannot read"});
  }
  Result<std::vector<std::string>> list(const std::string& directory) const override {
    return std::vector{directory + "/a.conf"};
  }

 private:
  std::string_view text_;
  mutable int read_count_ = 0;
};

class NoSystem final : public auth::SystemFacts {
 public:
  std::optional<std::string> user_name(std::uint32_t) override { return "joe"; }
  std::optional<std::vector<config::IpRange>> own_networks() override { return {}; }
};

std::vector<config::AuthTextLine> lines_of(std::string_view text, config::Report& report) {
  std::vector<std::string> files;
  return config::read_auth_lines("main", {"fuzz.ini", 1}, "auth_hba_file", SameFile(text), report,
                                 files);
}

}  // namespace

/// Whatever the files hold, and whatever name a client gives: reading them ends with rules or with
/// problems, and deciding by the rules ends.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string_view hba = text.substr(0, text.find('\x01'));
  const std::string_view rest = text.substr(std::min(hba.size() + 1, text.size()));
  const std::string_view ident = rest.substr(0, rest.find('\x01'));
  const std::string name(rest.substr(std::min(ident.size() + 1, rest.size())));

  config::Report report;
  config::Settings settings;
  settings.auth_type = config::AuthType::hba;
  settings.hba_lines = config::parse_hba(lines_of(hba, report), report);
  settings.ident_lines = config::parse_ident(lines_of(ident, report), report);
  const io::TlsInfo tls{.peer_common_name = name, .is_peer_verified = true};
  NoSystem system;
  for (const bool is_unix : {false, true}) {
    const auth::LoginRequest request{.peer = {.host = "127.0.0.1", .is_unix = is_unix},
                                     .tls = is_unix ? nullptr : &tls,
                                     .user = name,
                                     .database = "app"};
    decide_login(settings, request, system);
    // Lines behind the first that matches count too.
    config::Settings one;
    one.auth_type = config::AuthType::hba;
    one.ident_lines = settings.ident_lines;
    for (const config::HbaLine& line : settings.hba_lines) {
      one.hba_lines = {line};
      decide_login(one, request, system);
    }
  }
  return 0;
}
