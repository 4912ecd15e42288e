#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "pgproxy/base/intrusive_list.hpp"
#include "pgproxy/base/result.hpp"

namespace pgproxy::io {

/// A user's stored password as PostgreSQL has it (plain, md5…, SCRAM-SHA-256$…); nullopt: there is
/// no such user, or nobody may log in as that user.
using FoundSecret = Result<std::optional<std::string>>;

/// Told what was found; hears nothing any more once it is destroyed.
class SecretListener : public ListHook<SecretListener> {
 public:
  virtual void on_secret(const FoundSecret& found) = 0;

 protected:
  ~SecretListener() = default;
};

/// Somebody to ask for the secrets of users that the configuration does not know.
class SecretSource {
 public:
  /// `database`: what the client asked for. False: there is nobody to ask. True: `listener` is
  /// told, perhaps from within the call.
  virtual bool find(std::string_view database, std::string_view user, SecretListener& listener) = 0;

 protected:
  ~SecretSource() = default;
};

}  // namespace pgproxy::io
