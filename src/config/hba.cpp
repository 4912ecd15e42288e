#include "config/hba.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <optional>
#include <utility>

#include "config/text.hpp"

namespace pgproxy::config {

namespace {

constexpr std::string_view kNoGroupsHint =
    "roles and their members are known to the server only: name the users, or write them to a file "
    "and give @file";

/// nullopt: one that PostgreSQL has, and that is not supported.
struct Method {
  std::string_view name;
  std::optional<AuthType> type = std::nullopt;
};
constexpr Method kMethods[] = {
    {"trust", AuthType::trust},
    {"reject", AuthType::reject},
    {"password", AuthType::plain},
    {"md5", AuthType::md5},
    {"scram-sha-256", AuthType::scram_sha_256},
    {"peer", AuthType::peer},
    {"cert", AuthType::cert},
    {"ident"},
    {"gss"},
    {"sspi"},
    {"pam"},
    {"bsd"},
    {"ldap"},
    {"radius"},
};

constexpr std::pair<std::string_view, HbaConnection> kConnections[] = {
    {"local", HbaConnection::local},           {"host", HbaConnection::host},
    {"hostssl", HbaConnection::hostssl},       {"hostnossl", HbaConnection::hostnossl},
    {"hostgssenc", HbaConnection::hostgssenc}, {"hostnogssenc", HbaConnection::hostnogssenc},
};

/// Reads one line; the first thing wrong ends it, as in PostgreSQL.
class HbaParser {
 public:
  HbaParser(const AuthTextLine& text, Report& report) : text_(text), report_(report) {}

  std::optional<HbaLine> parse() {
    line_.file = text_.at.file;
    line_.line = text_.at.line;
    const bool is_good = take_connection() && take_databases() && take_users() &&
                         (is_local() || take_address()) && take_method() && take_options();
    if (!is_good) return {};
    if (line_.method == AuthType::cert) line_.client_cert = ClientCert::verify_full;
    return std::move(line_);
  }

 private:
  bool fail(std::string message, std::string_view hint = {}) const {
    report_.problem(text_.at, std::move(message), std::string(hint));
    return false;
  }
  bool is_local() const { return line_.connection == HbaConnection::local; }

  /// The next field; nullptr: there is none, which is reported.
  const AuthField* take(std::string_view what, std::string_view hint = {}) {
    if (next_ < text_.fields.size()) return &text_.fields[next_++];
    fail(fmt::format("end-of-line before {}", what), hint);
    return nullptr;
  }
  /// The only word of the next field.
  const AuthToken* take_one(std::string_view what, std::string_view many, std::string_view hint) {
    const AuthField* field = take(what);
    if (field == nullptr) return nullptr;
    if (field->size() == 1) return &field->front();
    fail(fmt::format("multiple values specified for {}", many), hint);
    return nullptr;
  }

  bool take_connection();
  bool take_databases();
  bool take_users();
  bool take_name(const AuthToken& token, std::vector<HbaName>& into) const;
  bool take_address();
  bool take_range(const std::string& text);
  bool take_mask();
  bool take_method();
  bool take_options();
  bool take_option(std::string_view name, const std::string& value);
  bool take_client_cert(std::string_view value);

  const AuthTextLine& text_;
  Report& report_;
  std::size_t next_ = 0;
  HbaLine line_;
};

bool HbaParser::take_connection() {
  const AuthToken* token = take_one("connection type", "connection type",
                                    "Specify exactly one connection type per line.");
  if (token == nullptr) return false;
  const auto* known = std::ranges::find(kConnections, token->text,
                                        &std::pair<std::string_view, HbaConnection>::first);
  if (known == std::end(kConnections)) {
    NearestName nearest(token->text);
    for (const auto& [name, connection] : kConnections) nearest.offer(name);
    return fail(fmt::format("invalid connection type {}", in_quotes(token->text)), nearest.hint());
  }
  line_.connection = known->second;
  if (line_.connection == HbaConnection::hostgssenc) {
    report_.warning(text_.at, "hostgssenc record cannot match: there is no GSSAPI encryption here");
  }
  return true;
}

bool HbaParser::take_databases() {
  const AuthField* field = take("database specification");
  if (field == nullptr) return false;
  return std::ranges::all_of(*field, [this](const AuthToken& token) {
    if (token.is_keyword("sameuser")) {
      line_.databases.push_back({.kind = HbaName::Kind::same_user});
      return true;
    }
    if (token.is_keyword("replication")) {
      line_.databases.push_back({.kind = HbaName::Kind::replication});
      return true;
    }
    if (token.is_keyword("samerole") || token.is_keyword("samegroup")) {
      return fail(fmt::format("{} cannot be checked here", token.text), kNoGroupsHint);
    }
    return take_name(token, line_.databases);
  });
}

bool HbaParser::take_users() {
  const AuthField* field = take("role specification");
  if (field == nullptr) return false;
  return std::ranges::all_of(*field, [this](const AuthToken& token) {
    if (!token.is_quoted && token.text.starts_with('+')) {
      return fail(fmt::format("{}: members of a role cannot be known here", in_quotes(token.text)),
                  kNoGroupsHint);
    }
    return take_name(token, line_.users);
  });
}

bool HbaParser::take_name(const AuthToken& token, std::vector<HbaName>& into) const {
  auto name = parse_hba_name(token);
  if (!name) return fail(name.error().message);
  into.push_back(*std::move(name));
  return true;
}

bool HbaParser::take_address() {
  const AuthToken* token =
      take_one("IP address specification", "host address", "Specify one address range per line.");
  if (token == nullptr) return false;
  if (token->is_keyword("all")) {
    line_.from = HbaFrom::all;
  } else if (token->is_keyword("samehost")) {
    line_.from = HbaFrom::same_host;
  } else if (token->is_keyword("samenet")) {
    line_.from = HbaFrom::same_net;
  } else {
    line_.from = HbaFrom::range;
    return take_range(token->text);
  }
  return true;
}

bool HbaParser::take_range(const std::string& text) {
  const auto slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address && slash != std::string::npos) {
    return fail(
        fmt::format("specifying both host name and CIDR mask is invalid: {}", in_quotes(text)));
  }
  if (!address) {
    return fail(fmt::format("host name {} cannot be checked here", in_quotes(text)),
                "a login would have to wait for the name server: give addresses instead, as in "
                "192.0.2.0/24");
  }
  line_.range.address = *address;
  if (slash == std::string::npos) return take_mask();
  const std::string_view digits = std::string_view(text).substr(slash + 1);
  unsigned bits = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
  if (error != std::errc() || end != digits.data() + digits.size() || bits > address->size * 8) {
    return fail(fmt::format("invalid CIDR mask in address {}", in_quotes(text)));
  }
  line_.range.mask = IpAddress::mask(address->size, bits);
  return true;
}

bool HbaParser::take_mask() {
  const AuthField* field = take("netmask specification",
                                "Specify an address range in CIDR notation, or provide a separate "
                                "netmask.");
  if (field == nullptr) return false;
  if (field->size() > 1) return fail("multiple values specified for netmask");
  const std::string& text = field->front().text;
  const auto mask = IpAddress::parse(text);
  if (!mask) return fail(fmt::format("invalid IP mask {}", in_quotes(text)));
  if (mask->size != line_.range.address.size) return fail("IP address and mask do not match");
  line_.range.mask = *mask;
  return true;
}

bool HbaParser::take_method() {
  const AuthToken* token = take_one("authentication method", "authentication type",
                                    "Specify exactly one authentication type per line.");
  if (token == nullptr) return false;
  const auto* method = std::ranges::find(kMethods, token->text, &Method::name);
  if (method == std::end(kMethods)) {
    NearestName nearest(token->text);
    for (const Method& known : kMethods) nearest.offer(known.name);
    return fail(fmt::format("invalid authentication method {}", in_quotes(token->text)),
                nearest.hint());
  }
  const bool is_ident_of_local = is_local() && method->name == "ident";  // means peer
  if (!method->type && !is_ident_of_local) {
    return fail(fmt::format("authentication method {} is not supported", in_quotes(token->text)),
                "supported: trust, reject, password, md5, scram-sha-256, cert, and peer on local "
                "lines");
  }
  line_.method = is_ident_of_local ? AuthType::peer : *method->type;
  if (line_.method == AuthType::peer && !is_local()) {
    return fail("peer authentication is only supported on local sockets");
  }
  if (line_.method == AuthType::cert && line_.connection != HbaConnection::hostssl) {
    return fail("cert authentication is only supported on hostssl connections");
  }
  return true;
}

bool HbaParser::take_options() {
  for (; next_ < text_.fields.size(); ++next_) {
    for (const AuthToken& token : text_.fields[next_]) {
      const auto equals = token.text.find('=');
      if (equals == std::string::npos) {
        return fail(fmt::format("authentication option not in name=value format: {}",
                                in_quotes(token.text)));
      }
      if (!take_option(token.text.substr(0, equals), token.text.substr(equals + 1))) return false;
    }
  }
  return true;
}

bool HbaParser::take_option(std::string_view name, const std::string& value) {
  const bool is_hostssl = line_.connection == HbaConnection::hostssl;
  if (name == "map") {
    if (line_.method != AuthType::peer && line_.method != AuthType::cert) {
      return fail(
          R"(authentication option "map" is only valid for authentication methods peer and )"
          "cert");
    }
    line_.map = value;
    return true;
  }
  if (name == "clientcert" || name == "clientname") {
    if (!is_hostssl)
      return fail(fmt::format(R"({} can only be configured for "hostssl" rows)", name));
    if (name == "clientcert") return take_client_cert(value);
    if (value == "DN") {
      return fail("clientname=DN is not supported", "clientname=CN compares the common name");
    }
    if (value != "CN")
      return fail(fmt::format("invalid value for clientname: {}", in_quotes(value)));
    line_.common_name_only = true;
    return true;
  }
  NearestName nearest(name);
  for (const std::string_view known : {"map", "clientcert", "clientname"}) nearest.offer(known);
  return fail(fmt::format("unrecognized authentication option name: {}", in_quotes(name)),
              nearest.hint());
}

bool HbaParser::take_client_cert(std::string_view value) {
  if (value == "verify-full") {
    line_.client_cert = ClientCert::verify_full;
    return true;
  }
  if (value != "verify-ca") {
    return fail(fmt::format("invalid value for clientcert: {}", in_quotes(value)),
                "clientcert=verify-ca or clientcert=verify-full");
  }
  if (line_.method == AuthType::cert) {
    return fail(R"(clientcert only accepts "verify-full" when using "cert" authentication)");
  }
  line_.client_cert = ClientCert::verify_ca;
  return true;
}

}  // namespace

Result<HbaName> parse_hba_name(const AuthToken& token) {
  if (token.is_keyword("all")) return HbaName{.kind = HbaName::Kind::all};
  if (!token.text.starts_with('/')) {
    return HbaName{.kind = HbaName::Kind::name, .name = token.text};
  }
  auto pattern = Pattern::compile(std::string_view(token.text).substr(1));
  if (pattern) return HbaName{.kind = HbaName::Kind::pattern, .pattern = *std::move(pattern)};
  return std::unexpected(
      Error{.sqlstate = {},
            .message = fmt::format("regular expression {}: {}", in_quotes(token.text),
                                   pattern.error().message)});
}

std::vector<HbaLine> parse_hba(const std::vector<AuthTextLine>& lines, Report& report) {
  std::vector<HbaLine> rules;
  for (const AuthTextLine& line : lines) {
    if (auto rule = HbaParser(line, report).parse()) rules.push_back(*std::move(rule));
  }
  return rules;
}

}  // namespace pgproxy::config
