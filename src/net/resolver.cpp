#include "pgproxy/net/resolver.hpp"

#include <array>
#include <netdb.h>
#include <utility>
#include <uv.h>

#include "net/socket_address.hpp"
#include "net/uv_handle.hpp"

namespace pgproxy::net {
namespace {

class Lookup final : public io::ResolveAttempt, private Deferred {
 public:
  Lookup(UvLoop& loop, std::string host, io::ResolveListener& listener)
      : loop_(loop), host_(std::move(host)), listener_(listener) {}
  ~Lookup() override {
    if (request_ == nullptr) return;
    request_->data = nullptr;
    // Fails when a thread is at it already: then its answer is dropped.
    uv_cancel(reinterpret_cast<uv_req_t*>(request_));
  }

  void start() {
    auto request = std::make_unique<uv_getaddrinfo_t>();
    request->data = this;
    addrinfo wanted{};
    wanted.ai_family = AF_UNSPEC;
    wanted.ai_socktype = SOCK_STREAM;
    wanted.ai_flags = AI_ADDRCONFIG;
    status_ = uv_getaddrinfo(&loop_.raw(), request.get(), on_done, host_.c_str(), nullptr, &wanted);
    if (status_ == 0) {
      request_ = request.release();
    } else {
      loop_.defer(*this);
    }
  }

 private:
  static void on_done(uv_getaddrinfo_t* request, int status, addrinfo* found) {
    const std::unique_ptr<uv_getaddrinfo_t> done(request);
    const std::unique_ptr<addrinfo, decltype(&uv_freeaddrinfo)> list(found, uv_freeaddrinfo);
    auto* self = static_cast<Lookup*>(request->data);
    if (self == nullptr) return;
    self->request_ = nullptr;
    self->status_ = status;
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
      std::array<char, NI_MAXHOST> text{};
      const int failure = ::getnameinfo(at->ai_addr, at->ai_addrlen, text.data(), text.size(),
                                        nullptr, 0, NI_NUMERICHOST);
      if (failure == 0) self->addresses_.emplace_back(text.data());
    }
    self->on_deferred();
  }

  /// The last thing done: it may destroy *this.
  void on_deferred() override {
    const std::vector<std::string> addresses = std::move(addresses_);
    if (!addresses.empty()) return listener_.on_resolved(addresses);
    listener_.on_resolve_failed(
        {.sqlstate = "08001",
         .message = "could not translate host name \"" + host_ + "\" to an address: " +
                    (status_ != 0 ? system_text(-status_) : "no address found"),
         .hint = "Check the host of this database, and the resolver (getent hosts)."});
  }

  UvLoop& loop_;
  const std::string host_;
  io::ResolveListener& listener_;
  uv_getaddrinfo_t* request_ = nullptr;  ///< libuv's until its callback, which frees it
  std::vector<std::string> addresses_;
  int status_ = 0;
};

}  // namespace

std::unique_ptr<io::ResolveAttempt> UvResolver::resolve(const std::string& host,
                                                        io::ResolveListener& listener) {
  auto lookup = std::make_unique<Lookup>(loop_, host, listener);
  lookup->start();
  return lookup;
}

}  // namespace pgproxy::net
