#include "net/tls_transport.hpp"

#include <utility>

namespace pgproxy::net {
namespace {

/// Answers that the protocol itself demands (to KeyUpdate) wait for who does not read them: more
/// of them than this is an attack on our memory.
constexpr std::size_t max_queued_answer_bytes = 1024 * 1024;
/// What one write usually needs at most: as much as one read brings, and the overhead of records.
constexpr std::size_t max_kept_buffer_bytes = 512 * 1024;

}  // namespace

struct TlsTransport::Opening {
  std::string input;      ///< read from the socket, not used yet
  std::string held;       ///< written by the listener, to leave when the handshake is done
  bool is_begun = false;  ///< a newcomer no more
  bool is_done = false;
  bool owes_established = true;  ///< the listener is to hear of the end of the handshake
  bool owes_drained = false;     ///< what was held has left: the listener is to hear of it
};

class TlsTransport::Step final : public io::Job {
 public:
  explicit Step(TlsTransport& transport)
      : engine(std::move(transport.engine_)),
        input(std::exchange(transport.opening_->input, {})),
        transport_(transport),
        place_(transport.loop_.handshakes()) {}

  void run() override {
    Bytes in = as_bytes(input);
    progress = engine->handshake(in, out);
    input.erase(0, input.size() - in.size());
  }
  void on_done() override { transport_.on_step_done(*this); }

  std::unique_ptr<TlsEngine> engine;
  std::string input;
  std::string out;
  TlsEngine::Handshake progress = TlsEngine::Handshake::needs_input;

 private:
  TlsTransport& transport_;  ///< may be gone by the time of run()
  HandshakeQueue::Place place_;
};

TlsTransport::TlsTransport(UvLoop& loop, std::unique_ptr<StreamTransport> stream, SSL_CTX& context,
                           TlsEngine::Role role, TlsEngine::Expectation expected, Bytes received)
    : loop_(loop),
      stream_(std::move(stream)),
      engine_(std::make_unique<TlsEngine>(context, role, std::move(expected))),
      opening_(std::make_unique<Opening>()) {
  opening_->input = as_text(received);
  opening_->is_begun = role == TlsEngine::Role::client;
  stream_->set_listener(*this);
  if (role == TlsEngine::Role::client || !received.empty()) wait_for_turn();
}

TlsTransport::~TlsTransport() {
  say_goodbye();
}

bool TlsTransport::is_established() const {
  return opening_ == nullptr || opening_->is_done;
}

const io::TlsInfo* TlsTransport::tls() const {
  return is_established() ? &engine_->info() : nullptr;
}

void TlsTransport::set_listener(io::TransportListener& listener) {
  listener_ = &listener;
}

void TlsTransport::wait_for_turn() {
  stream_->pause_reading();
  if (HandshakeTurn::is_linked() || step_ != nullptr) return;
  if (opening_->is_begun) {
    loop_.handshakes().add_begun(*this);
  } else {
    loop_.handshakes().add_newcomer(*this);
  }
}

void TlsTransport::stop_waiting() {
  HandshakeTurn::unlink();
  Deferred::unlink();
  step_.reset();
}

/// A thread takes it from here.
void TlsTransport::on_turn() {
  opening_->is_begun = true;
  step_ = loop_.executor().submit(std::make_unique<Step>(*this));
}

void TlsTransport::on_step_done(Step& step) {
  step_.reset();
  engine_ = std::move(step.engine);
  opening_->input = std::move(step.input);
  go_on(step.progress, as_bytes(step.out));  // may destroy *this
}

/// As a Step, on the loop's own thread: some 25 microseconds, the session ticket included. The step
/// before was a thread's, so that these come no faster than threads make signatures.
void TlsTransport::take_step() {
  std::string& out = loop_.cipher_buffer();
  out.clear();
  Bytes in = as_bytes(opening_->input);
  const TlsEngine::Handshake progress = engine_->handshake(in, out);
  opening_->input.erase(0, opening_->input.size() - in.size());
  go_on(progress, as_bytes(out));  // may destroy *this
}

/// `answer`: what the step has for the other side, an alert included.
void TlsTransport::go_on(TlsEngine::Handshake progress, Bytes answer) {
  stream_->write(answer);
  if (progress == TlsEngine::Handshake::failed) return fail_handshake();
  if (progress == TlsEngine::Handshake::needs_input) return stream_->resume_reading();
  opening_->is_done = true;
  if (const std::string held = std::exchange(opening_->held, {}); !held.empty()) {
    write(as_bytes(held));
    opening_->owes_drained = stream_->queued_bytes() == 0;
  }
  on_deferred();  // may destroy *this
}

/// What the listener is to hear of the end of the handshake, one call in each round: it may close.
void TlsTransport::on_deferred() {
  if (std::exchange(opening_->owes_established, false)) {
    loop_.defer(*this);
    return listener_->on_established();  // may destroy *this
  }
  if (std::exchange(opening_->owes_drained, false)) {
    loop_.defer(*this);
    return listener_->on_drained();  // may destroy *this
  }
  open();
}

/// The alert has left. Nothing was handed on, nothing will be.
void TlsTransport::fail_handshake() {
  end_ = TlsEngine::Ending::failed;
  report_closed("TLS handshake failed: " + engine_->error());  // may destroy *this
}

/// Opens the way for data: first for what came with the end of the handshake.
void TlsTransport::open() {
  if (is_paused_) return;  // resume_reading() comes back to it
  const std::string input = std::move(opening_->input);
  opening_.reset();
  stream_->resume_reading();
  if (!input.empty()) deliver(as_bytes(input));  // may destroy *this
}

void TlsTransport::on_data(Bytes bytes) {
  if (end_ != TlsEngine::Ending::none) return;
  if (opening_ == nullptr) return deliver(bytes);  // may destroy *this
  opening_->input += as_text(bytes);
  stream_->pause_reading();
  if (engine_->is_next_cheap()) return take_step();  // may destroy *this
  wait_for_turn();
}

void TlsTransport::deliver(Bytes bytes) {
  std::string& out = loop_.cipher_buffer();
  out.clear();
  const std::span<std::uint8_t> plain = loop_.plain_buffer();
  const TlsEngine::Read read = engine_->read(bytes, plain, out);
  end_ = read.end;
  if (!out.empty()) {
    send(out);
    if (stream_->queued_bytes() > max_queued_answer_bytes) end_ = TlsEngine::Ending::failed;
  }
  // What was read goes first; the end is told when the socket has come to its own.
  if (end_ != TlsEngine::Ending::none) stream_->stop_input();
  if (read.count > 0) listener_->on_data(Bytes(plain).first(read.count));  // may destroy *this
}

void TlsTransport::on_drained() {
  if (listener_ != nullptr && is_established()) listener_->on_drained();  // may destroy *this
}

void TlsTransport::on_closed(const std::string& reason) {
  stop_waiting();
  if (!is_established()) return report_closed("TLS handshake not finished: " + reason);
  switch (end_) {
    case TlsEngine::Ending::closed: return report_closed("EOF");
    case TlsEngine::Ending::failed:
      return report_closed("TLS error: " + (engine_->error().empty()
                                                ? "key updates are asked for, but not read"
                                                : engine_->error()));
    case TlsEngine::Ending::none: break;
  }
  report_closed(reason == "EOF" ? "EOF without TLS close_notify" : reason);
}

void TlsTransport::report_closed(const std::string& reason) {
  io::TransportListener* listener = std::exchange(listener_, nullptr);
  if (listener != nullptr) listener->on_closed(reason);  // may destroy *this
}

/// `out`: the loop's, in which it was put together.
void TlsTransport::send(std::string& out) {
  stream_->write(as_bytes(out));
  if (out.capacity() > max_kept_buffer_bytes) out = std::string();
}

void TlsTransport::write(Bytes first, Bytes second) {
  if (!is_established()) {
    opening_->held += as_text(first);
    opening_->held += as_text(second);
    return;
  }
  if (stream_->is_broken()) return;
  std::string& out = loop_.cipher_buffer();
  out.clear();
  engine_->write(first, second, out);
  send(out);
}

std::size_t TlsTransport::queued_bytes() const {
  const std::size_t held = opening_ != nullptr ? opening_->held.size() : 0;
  return held + stream_->queued_bytes();
}

void TlsTransport::pause_reading() {
  is_paused_ = true;
  if (opening_ == nullptr) stream_->pause_reading();
}

void TlsTransport::resume_reading() {
  is_paused_ = false;
  if (opening_ == nullptr) return stream_->resume_reading();
  if (opening_->is_done && !Deferred::is_linked()) loop_.defer(*this);
}

void TlsTransport::say_goodbye() {
  if (stream_ == nullptr || !is_established() || stream_->is_broken()) return;
  std::string& out = loop_.cipher_buffer();
  out.clear();
  engine_->finish(out);
  send(out);
}

std::unique_ptr<StreamTransport> TlsTransport::release_stream() {
  say_goodbye();
  stop_waiting();
  return std::move(stream_);
}

}  // namespace pgproxy::net
