#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pgproxy/base/result.hpp"

namespace pgproxy::io {

/// Hears how a look-up ended; once, never from within resolve().
class ResolveListener {
 public:
  /// Numeric addresses, in the resolver's order, at least one.
  virtual void on_resolved(const std::vector<std::string>& addresses) = 0;
  virtual void on_resolve_failed(const Error& error) = 0;

 protected:
  ~ResolveListener() = default;
};

/// A look-up under way. Destroying it gives up: the listener hears nothing.
class ResolveAttempt {
 public:
  virtual ~ResolveAttempt() = default;
};

/// Finds the addresses of host names without blocking the loop.
class Resolver {
 public:
  virtual std::unique_ptr<ResolveAttempt> resolve(const std::string& host,
                                                  ResolveListener& listener) = 0;

 protected:
  ~Resolver() = default;
};

}  // namespace pgproxy::io
