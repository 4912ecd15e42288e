#pragma once

#include <string>
#include <string_view>

#include "pgproxy/web/server.hpp"

namespace pgproxy::web {

struct Request {
  std::string_view method;
  std::string_view path;
  std::string_view authorization;  ///< the header; empty: none
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body = {};
  std::string extra_headers = {};  ///< whole lines
};

/// What is answered, whoever carries it.
Response respond(const Request& request, const std::string& token, Source& source);

}  // namespace pgproxy::web
