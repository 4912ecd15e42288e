#include "pgproxy/auth/login_rules.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "pgproxy/base/assert.hpp"

namespace pgproxy::auth {

namespace {

using config::AuthType;
using config::ClientCert;
using config::HbaConnection;
using config::HbaFrom;
using config::HbaLine;
using config::HbaName;
using config::IdentLine;
using config::IpAddress;
using config::IpRange;

/// Matches lines against one request.
class Matcher {
 public:
  Matcher(const LoginRequest& request, SystemFacts& system)
      : request_(request), system_(system), address_(IpAddress::parse(request.peer.host)) {}

  bool fits(const HbaLine& line) {
    return fits_connection(line.connection) && fits_database(line.databases) &&
           fits_user(line.users) && (line.connection == HbaConnection::local || comes_from(line));
  }
  /// Whether a line was passed by that might have matched.
  bool is_in_doubt() const { return is_in_doubt_; }

 private:
  bool fits_connection(HbaConnection connection) const {
    const bool is_tls = request_.tls != nullptr;
    switch (connection) {
      case HbaConnection::local: return request_.peer.is_unix;
      case HbaConnection::hostssl: return !request_.peer.is_unix && is_tls;
      case HbaConnection::hostnossl: return !request_.peer.is_unix && !is_tls;
      case HbaConnection::hostgssenc: return false;
      case HbaConnection::host:
      case HbaConnection::hostnogssenc: return !request_.peer.is_unix;
    }
    std::unreachable();
  }

  bool comes_from(const HbaLine& line) {
    if (!address_) return false;  // it is gone already: better no line than the wrong one
    switch (line.from) {
      case HbaFrom::all: return true;
      case HbaFrom::range: return line.range.contains(*address_);
      case HbaFrom::same_host:
        return std::ranges::any_of(own_networks(),
                                   [this](const IpRange& own) { return own.address == *address_; });
      case HbaFrom::same_net:
        return std::ranges::any_of(own_networks(),
                                   [this](const IpRange& own) { return own.contains(*address_); });
    }
    std::unreachable();
  }

  bool fits_database(const std::vector<HbaName>& names) const {
    const auto fits_one = [&](const HbaName& name) {
      // A physical replication connection has no database: only the word can mean it.
      const bool is_word = name.kind == HbaName::Kind::replication;
      if (request_.replication == Replication::physical) return is_word;
      if (is_word) return false;
      return fits_name(name, request_.database) ||
             (!request_.other_database.empty() && fits_name(name, request_.other_database));
    };
    return std::ranges::any_of(names, fits_one);
  }

  bool fits_user(const std::vector<HbaName>& names) const {
    return std::ranges::any_of(
        names, [this](const HbaName& name) { return fits_name(name, request_.user); });
  }

  bool fits_name(const HbaName& name, const std::string& given) const {
    switch (name.kind) {
      case HbaName::Kind::all: return true;
      case HbaName::Kind::same_user: return given == request_.user;
      case HbaName::Kind::name: return given == name.name;
      case HbaName::Kind::pattern: return name.pattern.find(given).has_value();
      case HbaName::Kind::replication: return false;
    }
    std::unreachable();
  }

  const std::vector<IpRange>& own_networks() {
    if (!own_networks_) {
      own_networks_ = system_.own_networks();
      is_in_doubt_ = !own_networks_;
      if (is_in_doubt_) own_networks_.emplace();
    }
    return *own_networks_;
  }

  const LoginRequest& request_;
  SystemFacts& system_;
  std::optional<IpAddress> address_;
  std::optional<std::vector<IpRange>> own_networks_;
  bool is_in_doubt_ = false;
};

/// "host "127.0.0.1", user "joe", database "db", no encryption", as PostgreSQL has it.
std::string described(const LoginRequest& request) {
  const std::string from = request.peer.is_unix ? "[local]" : request.peer.host;
  const std::string_view encryption = request.tls != nullptr ? "SSL encryption" : "no encryption";
  if (request.replication == Replication::physical) {
    return fmt::format(R"(host "{}", user "{}", {})", from, request.user, encryption);
  }
  return fmt::format(R"(host "{}", user "{}", database "{}", {})", from, request.user,
                     request.database, encryption);
}

LoginDecision refuse(std::string message, std::string log_reason) {
  return {.refusal = Error{.sqlstate = "28000", .message = std::move(message)},
          .log_reason = std::move(log_reason)};
}

std::string place_of(const HbaLine& line) {
  return line.file.empty() ? "auth_type = cert" : fmt::format("{}:{}", line.file, line.line);
}

LoginDecision refuse_unmatched(const LoginRequest& request) {
  const bool is_physical = request.replication == Replication::physical;
  const std::string message =
      fmt::format("no pg_hba.conf entry for {}{}",
                  is_physical ? "replication connection from " : "", described(request));
  return refuse(message, "no line of auth_hba_file matches");
}

LoginDecision reject(const HbaLine& line, const LoginRequest& request) {
  const bool is_physical = request.replication == Replication::physical;
  const std::string message = fmt::format("pg_hba.conf rejects {}connection for {}",
                                          is_physical ? "replication " : "", described(request));
  return refuse(message, "rejected by " + place_of(line));
}

LoginDecision decide_peer(const HbaLine& line, const LoginRequest& request,
                          const config::Settings& settings, SystemFacts& system) {
  const auto name = system.user_name(request.peer.peer_uid);
  if (name && may_log_in_as(*name, request.user, line.map, settings.ident_lines)) {
    return {.method = AuthType::peer};
  }
  const std::string who =
      name ? fmt::format("system user \"{}\"", *name)
           : fmt::format("user id {}, which has no name,", request.peer.peer_uid);
  return refuse(
      fmt::format("Peer authentication failed for user \"{}\"", request.user),
      fmt::format("{} may not log in as \"{}\" by {}", who, request.user, place_of(line)));
}

/// Whether a name in the (verified) certificate allows this user.
bool names_user(const io::TlsInfo& tls, const HbaLine& line, const LoginRequest& request,
                const std::vector<IdentLine>& ident_lines) {
  const auto fits = [&](const std::string& name) {
    return !name.empty() && may_log_in_as(name, request.user, line.map, ident_lines);
  };
  return fits(tls.peer_common_name) ||
         (!line.common_name_only && std::ranges::any_of(tls.peer_names, fits));
}

LoginDecision decide_by_line(const HbaLine& line, const LoginRequest& request,
                             const config::Settings& settings, SystemFacts& system) {
  if (line.method == AuthType::reject) return reject(line, request);
  if (line.method == AuthType::peer) return decide_peer(line, request, settings, system);
  LoginDecision decision{.method = line.method};
  if (line.client_cert == ClientCert::off) return decision;
  if (request.tls == nullptr || !request.tls->is_peer_verified) {
    return refuse("connection requires a valid client certificate",
                  "no valid client certificate, wanted by " + place_of(line));
  }
  if (line.client_cert == ClientCert::verify_ca) return decision;
  if (names_user(*request.tls, line, request, settings.ident_lines)) return decision;
  std::string reason = fmt::format("the certificate of \"{}\" does not allow user \"{}\" by {}",
                                   request.tls->peer_common_name, request.user, place_of(line));
  if (line.method == AuthType::cert) {
    return refuse(fmt::format("certificate authentication failed for user \"{}\"", request.user),
                  std::move(reason));
  }
  // As in PostgreSQL the password is asked for first: who has no right name learns nothing.
  decision.must_fail = std::move(reason);
  return decision;
}

/// nullopt: goes on with the next line. The expected name, \1 replaced, is compared literally.
std::optional<bool> decide_by_ident_line(const IdentLine& line, const std::string& name,
                                         const std::string& user) {
  std::optional<config::Pattern::Match> match;
  if (line.system_user.kind == HbaName::Kind::pattern) {
    match = line.system_user.pattern.find(name);
    if (!match) return {};
  } else if (line.system_user.name != name) {
    return {};
  }
  const HbaName& wanted = line.database_user;
  if (wanted.kind == HbaName::Kind::all) return true;
  if (wanted.kind == HbaName::Kind::pattern) {
    return wanted.pattern.find(user) ? std::optional(true) : std::nullopt;
  }
  std::string expected = wanted.name;
  const auto reference = expected.find("\\1");
  if (match && reference != std::string::npos) {
    // PostgreSQL ends the search where \1 stands for nothing.
    if (!match->has_group) return false;
    expected.replace(reference, 2, match->group);
  }
  return expected == user ? std::optional(true) : std::nullopt;
}

}  // namespace

const HbaLine* find_hba_line(const std::vector<HbaLine>& lines, const LoginRequest& request,
                             SystemFacts& system) {
  // A pattern would not look at such a name, and a line that rejects it must not be passed by.
  constexpr std::size_t most = config::Pattern::max_subject_bytes;
  if (request.user.size() > most || request.database.size() > most) return nullptr;
  Matcher matcher(request, system);
  const auto found =
      std::ranges::find_if(lines, [&matcher](const HbaLine& line) { return matcher.fits(line); });
  return found == lines.end() || matcher.is_in_doubt() ? nullptr : &*found;
}

bool may_log_in_as(const std::string& name, const std::string& user, const std::string& map,
                   const std::vector<IdentLine>& lines) {
  if (map.empty()) return name == user;
  for (const IdentLine& line : lines) {
    if (line.map != map) continue;
    if (const auto verdict = decide_by_ident_line(line, name, user)) return *verdict;
  }
  return false;
}

LoginDecision decide_login(const config::Settings& settings, const LoginRequest& request,
                           SystemFacts& system) {
  switch (settings.auth_type) {
    case AuthType::hba: {
      const HbaLine* line = find_hba_line(settings.hba_lines, request, system);
      if (line == nullptr) return refuse_unmatched(request);
      return decide_by_line(*line, request, settings, system);
    }
    case AuthType::cert: {
      const HbaLine line{.connection = HbaConnection::hostssl,
                         .method = AuthType::cert,
                         .client_cert = ClientCert::verify_full};
      return decide_by_line(line, request, settings, system);
    }
    default: return {.method = settings.auth_type};
  }
}

}  // namespace pgproxy::auth
