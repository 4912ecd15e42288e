#include "pgproxy/auth/login_rules.hpp"

#include <doctest/doctest.h>
#include <map>

using namespace pgproxy;
using namespace pgproxy::auth;
using config::AuthType;
using config::ClientCert;
using config::HbaConnection;
using config::HbaFrom;
using config::HbaLine;
using config::HbaName;
using config::IdentLine;
using config::IpAddress;
using config::IpRange;
using config::Pattern;

namespace {

struct FakeSystem final : SystemFacts {
  std::optional<std::string> user_name(std::uint32_t uid) override {
    const auto name = names.find(uid);
    return name == names.end() ? std::nullopt : std::optional(name->second);
  }
  std::optional<std::vector<IpRange>> own_networks() override {
    ++asked_count;
    return networks;
  }

  std::map<std::uint32_t, std::string> names{{7, "unixjoe"}};
  std::optional<std::vector<IpRange>> networks =
      std::vector<IpRange>{{*IpAddress::parse("10.0.0.5"), *IpAddress::parse("255.255.255.0")}};
  int asked_count = 0;
};

HbaName word(const std::string& text) {
  if (text == "all") return {.kind = HbaName::Kind::all};
  if (text == "sameuser") return {.kind = HbaName::Kind::same_user};
  if (text == "replication") return {.kind = HbaName::Kind::replication};
  if (text.starts_with('/')) {
    return {.kind = HbaName::Kind::pattern, .pattern = Pattern::compile(text.substr(1)).value()};
  }
  return {.kind = HbaName::Kind::name, .name = text};
}

HbaLine rule(HbaConnection connection, const std::string& database, const std::string& user,
             AuthType method) {
  HbaLine line{.file = "hba", .line = 4, .connection = connection};
  line.databases = {word(database)};
  line.users = {word(user)};
  line.method = method;
  return line;
}
HbaLine host(const std::string& database, const std::string& user) {
  return rule(HbaConnection::host, database, user, AuthType::trust);
}
HbaLine host_from(const std::string& address, const std::string& mask) {
  HbaLine line = host("all", "all");
  line.from = HbaFrom::range;
  line.range = {*IpAddress::parse(address), *IpAddress::parse(mask)};
  return line;
}

LoginRequest over_tcp(const std::string& user = "joe", const std::string& database = "app") {
  return {.peer = {.host = "10.0.0.9", .port = 1234}, .user = user, .database = database};
}
LoginRequest over_unix(std::uint32_t uid = 7, const std::string& user = "joe") {
  return {
      .peer = {.host = "unix", .peer_uid = uid, .is_unix = true}, .user = user, .database = "app"};
}

bool matches(const HbaLine& line, const LoginRequest& request) {
  FakeSystem system;
  return find_hba_line({line}, request, system) != nullptr;
}

IdentLine ident(const std::string& map, const std::string& from, const std::string& to) {
  return {.map = map, .system_user = word(from), .database_user = word(to)};
}

/// A login under one rule.
struct Login {
  explicit Login(const HbaLine& line) {
    settings.auth_type = AuthType::hba;
    settings.hba_lines = {line};
  }
  LoginDecision decide(const LoginRequest& request) {
    return decide_login(settings, request, system);
  }

  FakeSystem system;
  config::Settings settings;
};

const io::TlsInfo unverified{.peer_common_name = "joe", .has_peer_certificate = true};
const io::TlsInfo joes{.peer_common_name = "joe",
                       .peer_names = {"joe.example", "other"},
                       .has_peer_certificate = true,
                       .is_peer_verified = true};

LoginRequest over_tls(const io::TlsInfo& tls, const std::string& user = "joe") {
  LoginRequest request = over_tcp(user);
  request.tls = &tls;
  return request;
}

}  // namespace

TEST_CASE("each connection type matches its connections") {
  const LoginRequest plain = over_tcp();
  const LoginRequest tls = over_tls(unverified);
  const LoginRequest unix_socket = over_unix();
  const auto fits = [](HbaConnection connection, const LoginRequest& request) {
    return matches(rule(connection, "all", "all", AuthType::trust), request);
  };
  const std::tuple<HbaConnection, bool, bool, bool> table[] = {
      {HbaConnection::local, false, false, true},
      {HbaConnection::host, true, true, false},
      {HbaConnection::hostssl, false, true, false},
      {HbaConnection::hostnossl, true, false, false},
      {HbaConnection::hostgssenc, false, false, false},
      {HbaConnection::hostnogssenc, true, true, false},
  };
  for (const auto& [connection, with_plain, with_tls, with_local] : table) {
    CAPTURE(static_cast<int>(connection));
    CHECK(fits(connection, plain) == with_plain);
    CHECK(fits(connection, tls) == with_tls);
    CHECK(fits(connection, unix_socket) == with_local);
  }
}

TEST_CASE("names of databases and users") {
  CHECK(matches(host("app", "joe"), over_tcp("joe", "app")));
  CHECK_FALSE(matches(host("app", "joe"), over_tcp("Joe", "app")));
  CHECK_FALSE(matches(host("app", "joe"), over_tcp("joe", "app2")));
  CHECK(matches(host("sameuser", "all"), over_tcp("joe", "joe")));
  CHECK_FALSE(matches(host("sameuser", "all"), over_tcp("joe", "app")));
  CHECK(matches(host("/^app[0-9]$", "/e$"), over_tcp("joe", "app7")));
  CHECK_FALSE(matches(host("/^app[0-9]$", "/e$"), over_tcp("jo", "app7")));
  HbaLine lists = host("x", "y");
  lists.databases.push_back(word("app"));
  lists.users.push_back(word("joe"));
  CHECK(matches(lists, over_tcp("joe", "app")));
  CHECK(matches(lists, over_tcp("y", "x")));
  CHECK_FALSE(matches(lists, over_tcp("x", "y")));
}

TEST_CASE("physical replication matches its word only, and nothing else matches that") {
  LoginRequest request = over_tcp();
  CHECK_FALSE(matches(host("replication", "all"), request));
  request.replication = Replication::logical;
  CHECK(matches(host("app", "all"), request));
  CHECK_FALSE(matches(host("replication", "all"), request));
  request.replication = Replication::physical;
  CHECK(matches(host("replication", "all"), request));
  CHECK_FALSE(matches(host("all", "all"), request));
}

TEST_CASE("the console's two names are one database") {
  LoginRequest request = over_tcp("joe", "pgproxy");
  CHECK_FALSE(matches(host("pgbouncer", "all"), request));
  request.other_database = "pgbouncer";
  CHECK(matches(host("pgbouncer", "all"), request));
  CHECK(matches(host("pgproxy", "all"), request));
  CHECK_FALSE(matches(host("app", "all"), request));
}

TEST_CASE("addresses") {
  CHECK(matches(host_from("10.0.0.0", "255.0.0.0"), over_tcp()));
  CHECK_FALSE(matches(host_from("11.0.0.0", "255.0.0.0"), over_tcp()));
  CHECK_FALSE(matches(host_from("::", "::"), over_tcp()));
  LoginRequest v6 = over_tcp();
  v6.peer.host = "fe80::1";
  CHECK(matches(host_from("fe80::", "ffc0::"), v6));
  CHECK_FALSE(matches(host_from("0.0.0.0", "0.0.0.0"), v6));
  LoginRequest gone = over_tcp();
  gone.peer.host = "";
  CHECK_FALSE(matches(host("all", "all"), gone));
}

TEST_CASE("samehost and samenet ask the system, and only they do") {
  HbaLine line = host("all", "all");
  line.from = HbaFrom::same_net;
  CHECK(matches(line, over_tcp()));
  line.from = HbaFrom::same_host;
  CHECK_FALSE(matches(line, over_tcp()));
  LoginRequest own = over_tcp();
  own.peer.host = "10.0.0.5";
  CHECK(matches(line, own));
  LoginRequest far = over_tcp();
  far.peer.host = "10.0.1.5";
  line.from = HbaFrom::same_net;
  CHECK_FALSE(matches(line, far));
  FakeSystem system;
  CHECK(
      find_hba_line({host_from("11.0.0.0", "255.0.0.0"), host("all", "all")}, over_tcp(), system));
  CHECK(system.asked_count == 0);
}

TEST_CASE("nobody passes a samenet line by when the system does not say what the networks are") {
  FakeSystem system;
  system.networks.reset();
  std::vector<HbaLine> lines{host("all", "joe"), host("all", "all")};
  lines[0].from = HbaFrom::same_net;
  lines[0].method = AuthType::reject;
  CHECK(find_hba_line(lines, over_tcp("joe"), system) == nullptr);
  CHECK(find_hba_line(lines, over_tcp("jim"), system) == &lines[1]);
}

TEST_CASE("the first line that matches decides") {
  FakeSystem system;
  const std::vector<HbaLine> lines{
      rule(HbaConnection::host, "app", "jim", AuthType::trust),
      rule(HbaConnection::host, "app", "joe", AuthType::reject),
      rule(HbaConnection::host, "all", "all", AuthType::md5),
  };
  CHECK(find_hba_line(lines, over_tcp("joe"), system) == &lines[1]);
  CHECK(find_hba_line(lines, over_tcp("jack"), system) == &lines[2]);
  CHECK(find_hba_line(lines, over_unix(), system) == nullptr);
}

TEST_CASE("a name too long for a pattern matches no line, also none behind one that rejects") {
  const std::string longest(Pattern::max_subject_bytes, 'a');
  CHECK(matches(host("all", "/^a+$"), over_tcp(longest)));
  CHECK_FALSE(matches(host("all", "all"), over_tcp(longest + "a")));
  CHECK_FALSE(matches(host("all", "all"), over_tcp("joe", longest + "a")));
}

TEST_CASE("no line and reject are 28000 in PostgreSQL's words") {
  Login login(rule(HbaConnection::host, "app", "joe", AuthType::reject));
  const LoginDecision rejected = login.decide(over_tcp());
  REQUIRE(rejected.refusal);
  CHECK(rejected.refusal->sqlstate == "28000");
  CHECK(rejected.refusal->message ==
        "pg_hba.conf rejects connection for host \"10.0.0.9\", user \"joe\", database \"app\", no "
        "encryption");
  CHECK(rejected.log_reason == "rejected by hba:4");
  CHECK(
      login.decide(over_tls(unverified, "jim")).refusal->message ==
      "no pg_hba.conf entry for host \"10.0.0.9\", user \"jim\", database \"app\", SSL encryption");
  CHECK(login.decide(over_unix()).refusal->message ==
        "no pg_hba.conf entry for host \"[local]\", user \"joe\", database \"app\", no encryption");
  LoginRequest replication = over_tcp();
  replication.replication = Replication::physical;
  CHECK(login.decide(replication).refusal->message ==
        "no pg_hba.conf entry for replication connection from host \"10.0.0.9\", user \"joe\", no "
        "encryption");
}

TEST_CASE("peer compares the system user, by name or by map") {
  Login login(rule(HbaConnection::local, "all", "all", AuthType::peer));
  CHECK(login.decide(over_unix(7, "unixjoe")).method == AuthType::peer);
  CHECK_FALSE(login.decide(over_unix(7, "unixjoe")).refusal);
  const LoginDecision other = login.decide(over_unix(7, "joe"));
  REQUIRE(other.refusal);
  CHECK(other.refusal->sqlstate == "28000");
  CHECK(other.refusal->message == "Peer authentication failed for user \"joe\"");
  CHECK(other.log_reason == "system user \"unixjoe\" may not log in as \"joe\" by hba:4");
  CHECK(login.decide(over_unix(8, "joe")).refusal);
  CHECK(login.decide(over_unix(~0U, "")).refusal);
  login.settings.hba_lines[0].map = "m";
  CHECK(login.decide(over_unix(7, "unixjoe")).refusal);
  login.settings.ident_lines = {ident("m", "unixjoe", "joe")};
  CHECK_FALSE(login.decide(over_unix(7, "joe")).refusal);
}

TEST_CASE("cert wants a verified certificate with the user's name") {
  Login login(rule(HbaConnection::hostssl, "all", "all", AuthType::cert));
  login.settings.hba_lines[0].client_cert = ClientCert::verify_full;
  CHECK(login.decide(over_tls(joes)).method == AuthType::cert);
  CHECK_FALSE(login.decide(over_tls(joes)).refusal);
  CHECK_FALSE(login.decide(over_tls(joes, "joe.example")).refusal);
  CHECK(login.decide(over_tls(joes, "joe.exampl")).refusal->message ==
        "certificate authentication failed for user \"joe.exampl\"");
  CHECK(login.decide(over_tls(unverified)).refusal->message ==
        "connection requires a valid client certificate");
  login.settings.hba_lines[0].common_name_only = true;
  CHECK_FALSE(login.decide(over_tls(joes)).refusal);
  CHECK(login.decide(over_tls(joes, "joe.example")).refusal);
  login.settings.hba_lines[0].map = "m";
  login.settings.ident_lines = {ident("m", "joe", "app")};
  CHECK(login.decide(over_tls(joes)).refusal);
  CHECK_FALSE(login.decide(over_tls(joes, "app")).refusal);
  const io::TlsInfo nameless{.has_peer_certificate = true, .is_peer_verified = true};
  CHECK(login.decide(over_tls(nameless, "")).refusal);
}

TEST_CASE("auth_type = cert is the same without lines") {
  FakeSystem system;
  config::Settings settings;
  settings.auth_type = AuthType::cert;
  CHECK(decide_login(settings, over_tls(joes), system).method == AuthType::cert);
  CHECK(decide_login(settings, over_tls(joes, "jim"), system).refusal);
  CHECK(decide_login(settings, over_tls(unverified), system).refusal);
  CHECK(decide_login(settings, over_tcp(), system).refusal);
}

TEST_CASE("clientcert beside a password: no certificate ends it, a wrong name fails it later") {
  Login login(rule(HbaConnection::hostssl, "all", "all", AuthType::md5));
  CHECK(login.decide(over_tls(unverified)).method == AuthType::md5);
  login.settings.hba_lines[0].client_cert = ClientCert::verify_ca;
  CHECK(login.decide(over_tls(unverified)).refusal);
  CHECK(login.decide(over_tls(joes, "jim")).method == AuthType::md5);
  CHECK(login.decide(over_tls(joes, "jim")).must_fail.empty());
  login.settings.hba_lines[0].client_cert = ClientCert::verify_full;
  CHECK(login.decide(over_tls(joes)).must_fail.empty());
  const LoginDecision mismatch = login.decide(over_tls(joes, "jim"));
  CHECK(mismatch.method == AuthType::md5);
  CHECK_FALSE(mismatch.refusal);
  CHECK(mismatch.must_fail == "the certificate of \"joe\" does not allow user \"jim\" by hba:4");
}

TEST_CASE("other auth types go on as they are") {
  FakeSystem system;
  config::Settings settings;
  for (const AuthType type :
       {AuthType::any, AuthType::trust, AuthType::plain, AuthType::md5, AuthType::scram_sha_256}) {
    settings.auth_type = type;
    CHECK(decide_login(settings, over_tcp(), system).method == type);
  }
}

TEST_CASE("a map lets a name log in as another") {
  const std::vector<IdentLine> lines{
      ident("m", "joe", "app"),
      ident("m", "joe", "web"),
      ident("n", "jim", "app"),
      ident("m", "/^(.*)@x$", "\\1"),
      ident("m", "root", "all"),
      ident("m", "ops", "/^ops_"),
      ident("m", "/^(a+)b$", "pre_\\1_\\1"),
      ident("m", "lit", "\\1"),
  };
  const auto may = [&](const std::string& name, const std::string& user) {
    return may_log_in_as(name, user, "m", lines);
  };
  CHECK(may("joe", "app"));
  CHECK(may("joe", "web"));
  CHECK_FALSE(may("joe", "joe"));
  CHECK_FALSE(may("jim", "app"));
  CHECK(may_log_in_as("jim", "app", "n", lines));
  CHECK_FALSE(may_log_in_as("jim", "app", "", lines));
  CHECK(may_log_in_as("jim", "jim", "", lines));
  CHECK(may("sue@x", "sue"));
  CHECK_FALSE(may("sue@x", "joe"));
  CHECK_FALSE(may("sue@xx", "sue"));
  CHECK_FALSE(may("all@x", "anybody"));  // what \1 becomes is a name, never a keyword
  CHECK_FALSE(may("/.*@x", "anybody"));
  CHECK(may("root", "anybody"));
  CHECK(may("ops", "ops_1"));
  CHECK_FALSE(may("ops", "devops_1"));
  CHECK(may("aab", "pre_aa_\\1"));  // the first reference only, as in PostgreSQL
  CHECK(may("lit", "\\1"));
}

TEST_CASE("a group that took no part ends the search, as in PostgreSQL") {
  const std::vector<IdentLine> lines{ident("m", "/^(a)|^joe$", "\\1"), ident("m", "joe", "app")};
  CHECK(may_log_in_as("a", "a", "m", lines));
  CHECK_FALSE(may_log_in_as("joe", "app", "m", lines));
}

TEST_CASE("the real system knows its users") {
  CHECK_FALSE(operating_system().user_name(0xfffffff0U).has_value());
  CHECK(operating_system().user_name(0) == "root");
}
