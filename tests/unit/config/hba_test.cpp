#include <doctest/doctest.h>

#include "auth_files.hpp"
#include "sample.hpp"

using namespace pgproxy::config;

namespace {

struct Hba : AuthFiles {
  explicit Hba(std::string_view text) : AuthFiles(text), rules(parse_hba(lines, report)) {}
  std::vector<HbaLine> rules;
};

struct Ident : AuthFiles {
  explicit Ident(std::string_view text) : AuthFiles(text), rules(parse_ident(lines, report)) {}
  std::vector<IdentLine> rules;
};

std::string problem_of(std::string_view line) {
  return Hba(line).problems();
}

HbaLine only_rule(std::string_view text) {
  Hba read(text);
  CHECK(read.problems() == "");
  REQUIRE(read.rules.size() == 1);
  return read.rules[0];
}

}  // namespace

TEST_CASE("connection types and methods") {
  CHECK(only_rule("local all all trust").connection == HbaConnection::local);
  CHECK(only_rule("host all all all reject").connection == HbaConnection::host);
  CHECK(only_rule("hostssl all all all md5").connection == HbaConnection::hostssl);
  CHECK(only_rule("hostnossl all all all password").connection == HbaConnection::hostnossl);
  CHECK(only_rule("hostnogssenc all all all trust").connection == HbaConnection::hostnogssenc);
  CHECK(only_rule("local all all trust").method == AuthType::trust);
  CHECK(only_rule("local all all reject").method == AuthType::reject);
  CHECK(only_rule("local all all password").method == AuthType::plain);
  CHECK(only_rule("local all all md5").method == AuthType::md5);
  CHECK(only_rule("local all all scram-sha-256").method == AuthType::scram_sha_256);
  CHECK(only_rule("local all all peer").method == AuthType::peer);
  CHECK(only_rule("local all all ident").method == AuthType::peer);
  CHECK(only_rule("hostssl all all all cert").method == AuthType::cert);
  CHECK(contains(Hba("hostgssenc all all all trust").warnings(), "main:1: hostgssenc record"));
}

TEST_CASE("keywords are words without quotes") {
  const HbaLine line =
      only_rule(R"(local all,sameuser,replication,"all",x,"sameuser" all,"all" trust)");
  using enum HbaName::Kind;
  std::vector<HbaName::Kind> kinds;
  for (const HbaName& each : line.databases) kinds.push_back(each.kind);
  CHECK(kinds == std::vector{all, same_user, replication, name, name, name});
  CHECK(line.databases[3].name == "all");
  CHECK(line.users[0].kind == all);
  CHECK(line.users[1].name == "all");
  CHECK(only_rule(R"(local "/^db\d+$",/x "/," trust)").databases[0].kind == pattern);
}

TEST_CASE("addresses") {
  const HbaLine cidr = only_rule("host all all 10.1.2.3/20 trust");
  CHECK(cidr.from == HbaFrom::range);
  CHECK(cidr.range.contains(*IpAddress::parse("10.1.15.255")));
  CHECK_FALSE(cidr.range.contains(*IpAddress::parse("10.1.16.0")));
  const HbaLine mask = only_rule("host all all 10.0.0.1 255.0.255.0 trust");
  CHECK(mask.range.contains(*IpAddress::parse("10.77.0.9")));
  CHECK_FALSE(mask.range.contains(*IpAddress::parse("10.77.1.9")));
  const HbaLine v6 = only_rule("host all all fe80::/10 trust");
  CHECK(v6.range.contains(*IpAddress::parse("febf::1")));
  CHECK_FALSE(v6.range.contains(*IpAddress::parse("fec0::1")));
  CHECK_FALSE(v6.range.contains(*IpAddress::parse("254.128.0.0")));
  CHECK(only_rule("host all all 0.0.0.0/0 trust").range.contains(*IpAddress::parse("1.2.3.4")));
  CHECK(only_rule("host all all ::1/128 trust").range.contains(*IpAddress::parse("::1")));
  CHECK(only_rule("host all all all trust").from == HbaFrom::all);
  CHECK(only_rule("host all all samehost trust").from == HbaFrom::same_host);
  CHECK(only_rule("host all all samenet trust").from == HbaFrom::same_net);
}

TEST_CASE("options") {
  const HbaLine cert =
      only_rule("hostssl all all all cert map=m clientname=CN clientcert=verify-full");
  CHECK(cert.map == "m");
  CHECK(cert.common_name_only);
  CHECK(cert.client_cert == ClientCert::verify_full);
  CHECK(only_rule("hostssl all all all cert").client_cert == ClientCert::verify_full);
  CHECK(only_rule("hostssl all all all md5 clientcert=verify-ca").client_cert ==
        ClientCert::verify_ca);
  CHECK(only_rule("local all all peer map=\"a b\"").map == "a b");
}

TEST_CASE("each bad line is a problem in PostgreSQL's words, and all are reported") {
  const std::pair<std::string_view, std::string_view> table[] = {
      {"locl all all trust", "invalid connection type \"locl\""},
      {"local,host all all trust", "multiple values specified for connection type"},
      {"local", "end-of-line before database specification"},
      {"local all", "end-of-line before role specification"},
      {"host all all", "end-of-line before IP address specification"},
      {"local all all", "end-of-line before authentication method"},
      {"host all all 10.0.0.1", "end-of-line before netmask specification"},
      {"host all all 10.0.0.1 trust", "invalid IP mask \"trust\""},
      {"host all all 10.0.0.1 ffff:: trust", "IP address and mask do not match"},
      {"host all all 10.0.0.0/33 trust", "invalid CIDR mask in address \"10.0.0.0/33\""},
      {"host all all ::/129 trust", "invalid CIDR mask"},
      {"host all all 10.0.0.0/ trust", "invalid CIDR mask"},
      {"host all all 10.0.0.0/8x trust", "invalid CIDR mask"},
      {"host all all 10.0.0.0/-1 trust", "invalid CIDR mask"},
      {"host all all a.example/8 trust",
       "specifying both host name and CIDR mask is invalid: \"a.example/8\""},
      {"host all all .example.com trust", "host name \".example.com\" cannot be checked here"},
      {"host all all 10.0.0.0/8,::/0 trust", "multiple values specified for host address"},
      {"local all all trusted", "invalid authentication method \"trusted\""},
      {"local all all trust,md5", "multiple values specified for authentication type"},
      {"host all all all peer", "peer authentication is only supported on local sockets"},
      {"host all all all cert", "cert authentication is only supported on hostssl connections"},
      {"host all all all ident", "authentication method \"ident\" is not supported"},
      {"host all all all ldap ldapserver=x", "authentication method \"ldap\" is not supported"},
      {"local all all pam", "authentication method \"pam\" is not supported"},
      {"host all all all gss", "authentication method \"gss\" is not supported"},
      {"host all all all radius", "authentication method \"radius\" is not supported"},
      {"local all +staff trust", "\"+staff\": members of a role cannot be known here"},
      {"local samerole all trust", "samerole cannot be checked here"},
      {"local samegroup all trust", "samegroup cannot be checked here"},
      {"local /a** all trust", "regular expression \"/a**\": *: there is nothing to repeat"},
      {"local all /(?i)x trust", "regular expression \"/(?i)x\": (?:"},
      {"local all all trust map", "authentication option not in name=value format: \"map\""},
      {"local all all trust map=x", "authentication option \"map\" is only valid for"},
      {"local all all peer mapp=x", "unrecognized authentication option name: \"mapp\""},
      {"host all all all md5 clientcert=verify-ca",
       "clientcert can only be configured for \"hostssl\" rows"},
      {"hostssl all all all md5 clientcert=1", "invalid value for clientcert: \"1\""},
      {"hostssl all all all cert clientcert=verify-ca",
       "clientcert only accepts \"verify-full\" when using \"cert\" authentication"},
      {"hostssl all all all cert clientname=DN", "clientname=DN is not supported"},
      {"hostssl all all all cert clientname=X", "invalid value for clientname: \"X\""},
  };
  std::string all;
  int number = 0;
  for (const auto& [line, message] : table) {
    CAPTURE(line);
    CHECK(problem_of(line).starts_with("main:1: " + std::string(message)));
    all += std::string(line) + "\n";
    ++number;
  }
  const Hba together(all);
  CHECK(together.rules.empty());
  CHECK(together.report.problem_count() == number);
}

TEST_CASE("a +group in quotes is a name") {
  CHECK(only_rule("local all \"+staff\" trust").users[0].name == "+staff");
}

TEST_CASE("pg_ident.conf: maps of system users to database users") {
  const Ident read("m joe app\nm /^(.*)@x$ \\1\nm \"/a,b\" all\nm j \"all\"\nm j /^app\n");
  CHECK(read.problems() == "");
  REQUIRE(read.rules.size() == 5);
  CHECK(read.rules[0].map == "m");
  CHECK(read.rules[0].system_user.name == "joe");
  CHECK(read.rules[0].database_user.name == "app");
  CHECK(read.rules[1].system_user.kind == HbaName::Kind::pattern);
  CHECK(read.rules[2].database_user.kind == HbaName::Kind::all);
  CHECK(read.rules[3].database_user.name == "all");
  CHECK(read.rules[4].database_user.kind == HbaName::Kind::pattern);
  CHECK(Ident("m all app").rules[0].system_user.name == "all");  // no keyword there
}

TEST_CASE("pg_ident.conf: bad lines are problems") {
  CHECK(Ident("m joe\n").problems() == "main:1: missing entry at end of line\n");
  CHECK(Ident("m joe,jim app\n").problems() == "main:1: multiple values in ident field\n");
  CHECK(contains(Ident("m /( app\n").problems(), "main:1: regular expression \"/(\""));
  CHECK(contains(Ident("m /a \\1\n").problems(), "has no subexpressions as requested"));
  CHECK(contains(Ident("m /(a)+ \\1\n").problems(), "the part that \\1 stands for is repeated"));
  CHECK(Ident("m /(a)+ app\n").problems() == "");
  CHECK(contains(Ident("m joe +staff\n").problems(), "members of a role cannot be known here"));
  CHECK(contains(Ident("m joe app more\n").warnings(), "main:1: what stands behind"));
}

TEST_CASE("auth_type = hba wants its files, and checks them against the other settings") {
  const TempDirectory directory;
  const std::string users = "auth_file = " + directory.write("users", "\"joe\" \"hush\"\n");
  CHECK(contains(problems_of(load_with("auth_type = hba\n" + users)),
                 "test.ini:12: auth_hba_file must be given: auth_type = hba does what it says"));
  const std::string hba = directory.write(
      "hba", "hostssl all all all md5\nlocal all all peer map=m\nlocal x y\nhost all all all z\n");
  const std::string rules = "auth_type = hba\n" + users + "\nauth_hba_file = " + hba;
  const Loaded loaded = load_with(rules);
  CHECK(contains(problems_of(loaded), hba + ":2: map=m: auth_ident_file must be given"));
  CHECK(contains(problems_of(loaded), hba + ":3: end-of-line before authentication method"));
  CHECK(contains(problems_of(loaded), hba + ":4: invalid authentication method \"z\""));
  CHECK(contains(warnings_of(loaded), hba + ":1: hostssl record cannot match"));
  const std::string ident = directory.write("ident", "n joe joe\n");
  CHECK(contains(warnings_of(load_with(rules + "\nauth_ident_file = " + ident)),
                 hba + ":2: map=m: no line of auth_ident_file has that name"));
  CHECK(contains(problems_of(load_with(rules + "\nauth_ident_file = " + ident + "x")),
                 "test.ini:15: auth_ident_file: cannot read"));
  CHECK(contains(problems_of(load_with("auth_type = hba\nauth_hba_file = " + hba)),
                 "test.ini:12: auth_file must be given: whatever a line of auth_hba_file asks"));
  CHECK(contains(warnings_of(load_with("auth_hba_file = " + hba)),
                 "test.ini:12: auth_hba_file: not read, auth_type is not hba"));
}

TEST_CASE("lines that want certificates want somebody who vouches for them") {
  const TempDirectory directory;
  const std::string users = "auth_file = " + directory.write("users", "\"joe\" \"hush\"\n");
  const std::string hba = directory.write(
      "hba", "hostssl all all all cert\nhostssl all all all md5 clientcert=verify-ca\n");
  const std::string text = "auth_type = hba\n" + users + "\nauth_hba_file = " + hba +
                           "\nclient_tls_sslmode = require\nclient_tls_cert_file = x\n"
                           "client_tls_key_file = x\n";
  for (const char* line : {":1", ":2"}) {
    CHECK(
        contains(problems_of(load_with(text)), hba + line + ": client_tls_ca_file must be given"));
  }
  CHECK(problems_of(load_with(text + "client_tls_ca_file = x\n")) == "");
}
