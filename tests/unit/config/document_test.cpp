#include <algorithm>
#include <doctest/doctest.h>
#include <fstream>
#include <iterator>
#include <set>

#include "config/table.hpp"
#include "sample.hpp"

using namespace pgproxy::config;

namespace {

std::string read_source(const std::string& name) {
  std::ifstream file(std::string(PGPROXY_SOURCE_DIR) + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("pgproxy.ini.example and docs/settings.md are current") {
  CHECK(read_source("pgproxy.ini.example") == example_file());
  CHECK(read_source("docs/settings.md") == settings_document());
}

TEST_CASE("the example loads without a problem once its auth_file exists") {
  const TempDirectory directory;
  const std::string users = directory.write("userlist.txt", "\"app\" \"hush\"\n");
  std::string text = example_file();
  const std::string_view placeholder = "/etc/pgproxy/userlist.txt";
  text.replace(text.find(placeholder), placeholder.size(), users);
  const Loaded loaded = load(directory.write("pgproxy.ini", text));
  CHECK(problems_of(loaded) == "");
  CHECK(warnings_of(loaded) == "");
  CHECK(loaded.settings.secrets.contains("app"));
  CHECK(loaded.settings.auth_type == AuthType::scram_sha_256);
}

TEST_CASE("the example's commented settings are the defaults") {
  std::string text = example_file();
  for (auto at = text.find("\n;"); at != std::string::npos; at = text.find("\n;")) {
    text.erase(at + 1, 1);
  }
  std::string given = text.substr(text.find("[pgproxy]"));
  const Loaded loaded = load_text(given, "all.ini");
  const auto rows = describe(loaded);
  for (const ConfigRow& row : rows) {
    CAPTURE(row.name);
    CHECK(row.given);
    const bool is_sample = row.name == "listen_addr" || row.name == "auth_file" ||
                           row.name == "control_user" || row.name == "control_dbname";
    if (!row.must_be_given && !is_sample) CHECK(row.value == row.default_value);
  }
}

TEST_CASE("SHOW CONFIG's rows are alphabetical and say what is given, default and why") {
  const Loaded loaded =
      load_with("server_lifetime = 1.50\nadmin_users = a b\nserver_idle_timeout=7");
  const auto rows = describe(loaded);
  CHECK(std::ranges::is_sorted(rows, {}, &ConfigRow::name));
  const auto row = [&rows](std::string_view name) {
    return *std::ranges::find(rows, name, &ConfigRow::name);
  };
  CHECK(row("server_lifetime").value == "1.5");
  CHECK(row("server_lifetime").given);
  CHECK(row("server_lifetime").default_value == "3600");
  CHECK(row("admin_users").value == "a,b");
  CHECK(row("unix_socket_mode").value == "0777");
  CHECK(row("server_check_query").value == "<empty>");
  CHECK(row("auth_type").value == "any");
  CHECK_FALSE(row("listen_port").given);
  CHECK_FALSE(row("listen_port").changeable);
  CHECK(row("query_timeout").changeable);
  CHECK(row("default_pool_size").must_be_given);
  CHECK(row("default_pool_size").default_value == "");
  CHECK_FALSE(row("max_server_logins").reason.empty());
}

TEST_CASE("no name stands twice in the table, and each row says what it is") {
  std::set<std::string_view> names;
  const auto check_row = [&names](const Row<Settings>& row) {
    CAPTURE(row.name);
    CHECK(names.insert(row.name).second);
    CHECK_FALSE(row.doc.empty());
    CHECK_FALSE(row.standard.reason.empty());
    CHECK(find_setting(row.name) == &row);
  };
  for (const Group& group : setting_groups()) {
    for (const auto& row : group.rows) check_row(row);
  }
  for (const auto& row : foreign_settings()) check_row(row);
}
