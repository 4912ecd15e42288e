#pragma once

#include <memory>
#include <span>
#include <string>

#include "net/openssl.hpp"

#include "pgproxy/io/transport.hpp"

namespace pgproxy::net {

/// One TLS connection without a socket: what the network brought in, plain bytes out, and the other
/// way round. Between calls it holds no bytes but those of a record that has come only in part.
class TlsEngine {
 public:
  enum class Role : std::uint8_t { client, server };
  /// Whom the other side has to be.
  struct Expectation {
    bool is_verified = false;  ///< certificates are checked against the authorities of the context
    std::string host = {};     ///< whom a server's certificate has to name; empty: anybody
    std::string server_name = {};  ///< sent ahead of the handshake (SNI); empty: none
  };
  enum class Handshake : std::uint8_t { needs_input, done, failed };
  enum class Ending : std::uint8_t {
    none,
    closed,  ///< the other side said that it sends no more (close_notify)
    failed,  ///< error() says why
  };
  struct Read {
    std::size_t count = 0;  ///< plain bytes
    Ending end = Ending::none;
  };
  /// A record's overhead and what a record that came in part may add to what one read brings.
  static constexpr std::size_t max_record_bytes = 17 * 1024;

  TlsEngine(SSL_CTX& context, Role role, Expectation expected);
  ~TlsEngine();
  TlsEngine(const TlsEngine&) = delete;
  TlsEngine& operator=(const TlsEngine&) = delete;

  /// Goes on with the handshake. Afterwards `in` is what has not been used: once done, the first
  /// input of read(). Appends to `out` what the other side has to get, an alert included.
  Handshake handshake(Bytes& in, std::string& out);
  /// Whether what is left of the handshake is to check the other side's last message, an HMAC: no
  /// signature and no certificate, neither made nor checked.
  bool is_next_cheap() const;
  /// Decrypts all of `in`; `plain` must have room for that and max_record_bytes. May append to
  /// `out` (answers of the protocol itself).
  Read read(Bytes in, std::span<std::uint8_t> plain, std::string& out);
  /// Appends both spans to `out`, encrypted.
  void write(Bytes first, Bytes second, std::string& out);
  /// Appends the close_notify that tells the other side that nothing was cut off.
  void finish(std::string& out);

  /// For SSL_CTX_set_verify: decides nothing, but notes for error() which certificate was rejected.
  static int note_verification(int is_good, X509_STORE_CTX* context);

  const io::TlsInfo& info() const { return info_; }
  /// After a failure, for people.
  const std::string& error() const { return error_; }

 private:
  /// The BIO's other side, valid during one call.
  struct Wire {
    Bytes in;
    std::string* out = nullptr;
  };
  static const BIO_METHOD* wire_method();
  static int read_wire(BIO* bio, char* into, std::size_t size, std::size_t* count);
  static int write_wire(BIO* bio, const char* from, std::size_t size, std::size_t* count);
  static long control_wire(BIO* bio, int command, long number, void* pointer);

  void attach(Bytes in, std::string* out) { wire_ = {in, out}; }
  std::string failure() const;
  void encrypt(Bytes bytes);
  bool accepts_peer();
  void note_facts();

  Wire wire_;
  OpensslPtr<SSL> ssl_;
  const Role role_;
  bool is_broken_ = false;  ///< after a fatal error nothing may be sent any more
  Expectation expected_;    ///< only until the handshake is done
  io::TlsInfo info_;
  std::string rejected_;  ///< the certificate that failed verification
  std::string error_;
};

}  // namespace pgproxy::net
