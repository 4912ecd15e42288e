#include <doctest/doctest.h>
#include <string>

#include "world.hpp"

#include "pgproxy/wire/encode.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;
using std::chrono::milliseconds;

namespace {

/// What is stored costs rounds of hashing for each password that is tried: a thread's work.
config::Settings slow_passwords() {
  config::Settings settings = plain_settings();
  settings.auth_type = config::AuthType::plain;
  // Of the password "secret".
  settings.secrets = {{"u",
                       "SCRAM-SHA-256$4:c2FsdHNhbHQ=$OMnPErLqHSY6b6SlsfHwh4m63VQHE+lcAZVVt/f8Cf0=:"
                       "Z9mQsImH9jGyodJk+kn29rlrrSHnE2dJdg5pFojFxSM="}};
  return settings;
}

std::string password_message(std::string_view password) {
  std::string message;
  wire::put_message(message, 'p', std::string(password) + '\0');
  return message;
}

}  // namespace

TEST_CASE("a client whose password is being checked waits, and may send ahead") {
  World world(slow_passwords());
  world.loop.job_time = milliseconds(100);
  Client& client = world.client();
  Script script(client.number());
  script.select();
  client.send(password_message("secret"));
  client.play(script);
  world.loop.run_for(milliseconds(50));
  CHECK_FALSE(client.is_logged_in());
  world.run();
  CHECK(client.is_logged_in());
  CHECK(client.rows() == 1);
  CHECK(client.is_content());
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a client may leave, or log in for too long, while its password is being checked") {
  config::Settings settings = slow_passwords();
  settings.client_login_timeout = milliseconds(200);
  World world(settings);
  world.loop.job_time = milliseconds(400);
  Client& gone = world.client();
  gone.send(password_message("secret"));
  Client& late = world.client();
  late.may_lose_connection = true;
  late.send(password_message("secret"));
  world.loop.run_for(milliseconds(100));
  CHECK(world.sessions().client_count() == 2);
  gone.vanish();
  world.loop.run_for(milliseconds(200));
  CHECK(world.sessions().client_count() == 0);
  world.run();
  CHECK_FALSE(gone.is_logged_in());
  CHECK_FALSE(late.is_logged_in());
  CHECK(world.postgres.logins_ever == 0);
  CHECK(world.violation_text() == "");
}

TEST_CASE("a wrong password costs no server") {
  World world(slow_passwords());
  Client& client = world.client();
  client.may_lose_connection = true;
  client.send(password_message("wrong"));
  world.run();
  CHECK(client.fatal() == "28P01");
  CHECK(world.postgres.logins_ever == 0);
  CHECK(world.violation_text() == "");
}
