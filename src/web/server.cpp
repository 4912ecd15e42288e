#include "pgproxy/web/server.hpp"

#include <array>
#include <civetweb.h>
#include <csignal>
#include <fmt/format.h>
#include <pthread.h>
#include <utility>

#include "web/endpoints.hpp"

#include "pgproxy/base/log.hpp"

namespace pgproxy::web {
namespace {

/// Signals are for the loop's thread: the threads made while this lives leave them alone.
class WithoutSignals {
 public:
  WithoutSignals() {
    sigset_t all{};
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;

 private:
  sigset_t before_{};
};

std::string_view or_empty(const char* text) {
  return text != nullptr ? std::string_view(text) : std::string_view();
}

int note_message(const mg_connection* /*connection*/, const char* message) noexcept {
  log::line(log::Level::debug, "http: {}", or_empty(message));
  return 1;
}

void send(mg_connection& connection, const Response& response, bool with_body) {
  const std::string head = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n"
      "X-Content-Type-Options: nosniff\r\nConnection: close\r\n{}\r\n",
      response.status, mg_get_response_code_text(&connection, response.status),
      response.content_type, response.body.size(), response.extra_headers);
  mg_write(&connection, head.data(), head.size());
  if (with_body) mg_write(&connection, response.body.data(), response.body.size());
}

}  // namespace

Server::Server(Options options, Source& source) : options_(std::move(options)), source_(source) {}

Result<std::unique_ptr<Server>> Server::start(Options options, Source& source) {
  std::unique_ptr<Server> server(new Server(std::move(options), source));
  const std::array<const char*, 15> settings = {
      "listening_ports",
      server->options_.listen.c_str(),
      "num_threads",
      "8",
      "connection_queue",
      "16",
      "max_request_size",
      "16384",
      "request_timeout_ms",
      "2000",
      "enable_keep_alive",
      "no",
      "decode_url",  // no path needs it, and "/%00" is not "/"
      "no",
      nullptr,
  };
  mg_callbacks callbacks{};
  callbacks.begin_request = on_request;
  callbacks.log_message = note_message;
  std::array<char, 256> text{};
  unsigned code = 0;
  mg_error_data failure{.code = &code, .text = text.data(), .text_buffer_size = text.size()};
  mg_init_data init{.callbacks = &callbacks,
                    .user_data = server.get(),
                    .configuration_options = const_cast<const char**>(settings.data())};
  const WithoutSignals blocked;
  server->context_ = mg_start2(&init, &failure);
  if (server->context_ != nullptr) return server;
  return std::unexpected(Error{
      .message =
          fmt::format("http_listen: cannot listen on {}: {}", server->options_.listen, text.data()),
      .hint = "Take an address of this machine and a free port, as http_listen = "
              "127.0.0.1:9127; empty: no HTTP."});
}

Server::~Server() {
  if (context_ != nullptr) mg_stop(context_);
}

int Server::on_request(mg_connection* connection) noexcept {
  const mg_request_info* info = mg_get_request_info(connection);
  static_cast<const Server*>(info->user_data)->answer(*connection);
  return 200;  // answered
}

void Server::answer(mg_connection& connection) const {
  const mg_request_info& info = *mg_get_request_info(&connection);
  const Request request{.method = or_empty(info.request_method),
                        .path = or_empty(info.local_uri),
                        .authorization = or_empty(mg_get_header(&connection, "Authorization"))};
  send(connection, respond(request, options_.token, source_), request.method != "HEAD");
}

}  // namespace pgproxy::web
