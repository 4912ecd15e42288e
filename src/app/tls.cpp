#include "app/tls.hpp"

#include "pgproxy/net/tls_context.hpp"

namespace pgproxy::app {

Tls load_tls(config::Loaded& loaded) {
  const auto take = [&loaded](const net::TlsContextResult& made) {
    if (made) return *made;
    const net::TlsProblem& problem = made.error();
    loaded.add_problem(problem.setting, problem.message, problem.hint);
    return std::shared_ptr<const io::TlsContext>();
  };
  Tls tls;
  tls.clients = take(net::make_client_tls(loaded.settings));
  tls.servers = take(net::make_server_tls(loaded.settings));
  return tls;
}

}  // namespace pgproxy::app
