#include "pgproxy/net/loop.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <system_error>
#include <utility>
#include <uv.h>

#include "net/connector.hpp"
#include "net/executor.hpp"
#include "net/handshake_queue.hpp"
#include "net/lingering_close.hpp"
#include "net/tls_transport.hpp"
#include "net/uv_handle.hpp"
#include "net/wakeup.hpp"

namespace pgproxy::net {
namespace {

constexpr std::size_t read_buffer_bytes = 256 * 1024;
/// A step of a login costs some twenty microseconds: everybody else waits less than a millisecond.
constexpr int newcomers_per_round = 16;

std::unique_ptr<uv_loop_t> make_loop() {
  auto loop = std::make_unique<uv_loop_t>();
  if (const int status = uv_loop_init(loop.get())) {
    throw std::system_error(-status, std::generic_category(), "cannot start an event loop");
  }
  return loop;
}

}  // namespace

UvLoop::UvLoop(const SocketOptions& options, unsigned thread_count)
    : options_(options),
      timeouts_(*this),
      loop_(make_loop()),
      read_buffer_(std::make_unique_for_overwrite<std::uint8_t[]>(read_buffer_bytes)),
      alarm_(make_handle<uv_timer_t>(*loop_, this, uv_timer_init)),
      idle_(make_handle<uv_idle_t>(*loop_, this, uv_idle_init)),
      mailbox_(std::make_unique<Wakeup>(*loop_, [this] { run_posted(); })),
      before_poll_(make_handle<uv_prepare_t>(*loop_, this, uv_prepare_init)),
      connector_(std::make_unique<UvConnector>(*this)),
      executor_(std::make_unique<UvExecutor>(*loop_, thread_count)),
      handshakes_(std::make_unique<HandshakeQueue>(*executor_)) {
  std::signal(SIGPIPE, SIG_IGN);
  uv_prepare_start(before_poll_.get(), [](uv_prepare_t* handle) {
    auto* self = static_cast<UvLoop*>(handle->data);
    if (self == nullptr) return;
    self->now_ = TimePoint{};
    self->newcomers_left_ = newcomers_per_round;
  });
}

UvLoop::~UvLoop() {
  lingering_.clear();
  while (!doomed_.empty()) std::exchange(doomed_, {}).clear();
  signals_.clear();
  executor_.reset();
  mailbox_.reset();
  before_poll_.reset();
  idle_.reset();
  alarm_.reset();
  // A transport that outlives its loop would keep the wait below from ending.
  uv_walk(
      loop_.get(), [](uv_handle_t* handle, void*) { PGPROXY_ASSERT(uv_is_closing(handle)); },
      nullptr);
  do {  // close callbacks, and lookups that a thread is still at; a stop() may be left over
    uv_run(loop_.get(), UV_RUN_DEFAULT);
  } while (uv_loop_alive(loop_.get()) != 0);
  const int status = uv_loop_close(loop_.get());
  PGPROXY_ASSERT(status == 0);
}

void UvLoop::run() {
  uv_run(loop_.get(), UV_RUN_DEFAULT);
}

void UvLoop::stop() {
  uv_stop(loop_.get());
}

void UvLoop::on_signal(int number, std::function<void()> callback) {
  auto watch = std::make_unique<SignalWatch>();
  watch->callback = std::move(callback);
  watch->handle = make_handle<uv_signal_t>(*loop_, watch.get(), uv_signal_init);
  const int status = uv_signal_start(
      watch->handle.get(),
      [](uv_signal_t* handle, int) {
        if (auto* self = static_cast<SignalWatch*>(handle->data)) self->callback();
      },
      number);
  PGPROXY_ASSERT(status == 0);  // fails only for what is no signal
  signals_.push_back(std::move(watch));
}

void UvLoop::post(std::function<void()> task) {
  {
    const std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(task));
    if (posted_.size() > 1) return;  // the loop knows
  }
  mailbox_->send();
}

void UvLoop::run_posted() {
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard lock(posted_mutex_);
    tasks.swap(posted_);
  }
  for (const auto& task : tasks) task();
}

TimePoint UvLoop::now() const {
  if (now_ == TimePoint{}) {
    now_ = std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now());
  }
  return now_;
}

WallTime UvLoop::wall_now() const {
  return std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
}

io::Connector& UvLoop::connector() {
  return *connector_;
}

io::Executor& UvLoop::executor() {
  return *executor_;
}

void UvLoop::set_alarm(TimePoint when) {
  // libuv counts from the time it last looked. At least 1 ms: it runs a timer started with 0 from
  // its own callback again without a round of events in between.
  uv_update_time(loop_.get());
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(when - now());
  uv_timer_start(
      alarm_.get(),
      [](uv_timer_t* handle) {
        auto* self = static_cast<UvLoop*>(handle->data);
        if (self == nullptr) return;
        self->now_ = TimePoint{};
        self->timeouts_.expire(self->now());
      },
      static_cast<std::uint64_t>(std::max<std::int64_t>(wait.count(), 1)), 0);
}

std::span<std::uint8_t> UvLoop::read_buffer() {
  return {read_buffer_.get(), read_buffer_bytes};
}

std::span<std::uint8_t> UvLoop::plain_buffer() {
  constexpr std::size_t size = read_buffer_bytes + TlsEngine::max_record_bytes;
  if (plain_buffer_ == nullptr)
    plain_buffer_ = std::make_unique_for_overwrite<std::uint8_t[]>(size);
  return {plain_buffer_.get(), size};
}

void UvLoop::defer(Deferred& deferred) {
  deferred_.push_back(deferred);
  stay_awake();
}

void UvLoop::destroy_later(std::unique_ptr<io::Disposable> object) {
  doomed_.push_back(std::move(object));
  stay_awake();
}

void UvLoop::stay_awake() {
  uv_idle_start(idle_.get(), [](uv_idle_t* handle) {
    if (auto* self = static_cast<UvLoop*>(handle->data)) self->run_deferred();
  });
}

void UvLoop::run_deferred() {
  uv_idle_stop(idle_.get());
  std::exchange(doomed_, {}).clear();
  // What is deferred from here on waits for the next round: a connect that fails at once and is
  // tried again at once must not keep the loop from its sockets.
  for (std::size_t left = deferred_.size(); left > 0 && !deferred_.empty(); --left) {
    Deferred& next = deferred_.front();
    next.unlink();
    next.on_deferred();
  }
  serve_newcomers();
}

bool UvLoop::may_serve_newcomer() {
  return newcomers_.empty() && newcomers_left_-- > 0;
}

void UvLoop::line_up(Deferred& newcomer) {
  newcomers_.push_back(newcomer);
  stay_awake();
}

void UvLoop::serve_newcomers() {
  for (int left = newcomers_per_round; left > 0 && !newcomers_.empty(); --left) {
    Deferred& next = newcomers_.front();
    next.unlink();
    next.on_deferred();
  }
  if (!newcomers_.empty()) stay_awake();
}

void UvLoop::close_gracefully(std::unique_ptr<io::Transport> transport) {
  if (auto* tls = dynamic_cast<TlsTransport*>(transport.get())) transport = tls->release_stream();
  lingering_.emplace_front(*this, std::move(transport));
  lingering_.front().start(lingering_.begin());
}

void UvLoop::forget(std::list<LingeringClose>::iterator closed) {
  lingering_.erase(closed);
}

}  // namespace pgproxy::net
