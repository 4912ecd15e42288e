#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "session/client_login.hpp"

// What a login leaves to the executor's threads. A session that is gone has given up its job.
namespace pgproxy::session {

/// The name of a system user: name services over a network may take their time.
class ClientSession::Login::NameLookup final : public io::Job {
 public:
  NameLookup(ClientSession& session, std::uint32_t uid) : session_(session), uid_(uid) {}
  void run() override { name_ = auth::operating_system().user_name(uid_); }
  void on_done() override { session_.on_peer_name(std::move(name_)); }

 private:
  ClientSession& session_;
  std::uint32_t uid_;
  std::optional<std::string> name_;
};

/// A password message that takes many rounds of hashing.
class ClientSession::Login::PasswordCheck final : public io::Job {
 public:
  PasswordCheck(ClientSession& session, std::unique_ptr<auth::ClientAuth> auth, std::string body)
      : session_(session), auth_(std::move(auth)), body_(std::move(body)) {}
  void run() override { outcome_ = auth_->on_password_message(as_bytes(body_), out_); }
  void on_done() override { session_.on_password_checked(std::move(auth_), outcome_, out_); }

 private:
  ClientSession& session_;
  std::unique_ptr<auth::ClientAuth> auth_;
  std::string body_;
  std::string out_;
  auth::ClientAuth::Outcome outcome_ = auth::ClientAuth::Outcome::refused;
};

}  // namespace pgproxy::session
