#include "sql/parser_thread.hpp"

#include <condition_variable>
#include <csignal>
#include <mutex>
#include <pg_query.h>
#include <pg_query/pg_query.pb-c.h>
#include <pthread.h>

namespace pgproxy::sql {
namespace {

/// The worst known text of 16 KiB, 1+1+1…, takes less than 16 MiB. Untouched pages cost nothing.
constexpr std::size_t stack_bytes = std::size_t{64} << 20;

using Look = std::function<void(const PgQuery__ParseResult*)>;

void parse_here(const std::string& text, const Look& look) {
  const PgQueryProtobufParseResult result = pg_query_parse_protobuf(text.c_str());
  PgQuery__ParseResult* tree = nullptr;
  if (result.error == nullptr) {
    tree = pg_query__parse_result__unpack(
        nullptr, result.parse_tree.len,
        reinterpret_cast<const std::uint8_t*>(result.parse_tree.data));
  }
  look(tree);
  if (tree != nullptr) pg_query__parse_result__free_unpacked(tree, nullptr);
  pg_query_free_protobuf_parse_result(result);
}

class ParserThread {
 public:
  ParserThread() {
    // Signals are for the loop's thread.
    sigset_t all{};
    sigset_t before{};
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attributes{};
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_bytes);
    is_running_ = pthread_create(&thread_, &attributes, &ParserThread::main, this) == 0;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ParserThread(const ParserThread&) = delete;
  ParserThread& operator=(const ParserThread&) = delete;
  ~ParserThread() {
    if (!is_running_) return;
    {
      const std::lock_guard lock(mutex_);
      is_stopping_ = true;
    }
    has_news_.notify_all();
    pthread_join(thread_, nullptr);
  }

  bool parse(const std::string& text, const Look& look) {
    if (!is_running_) return false;
    const std::lock_guard caller(callers_);
    std::unique_lock lock(mutex_);
    text_ = &text;
    look_ = &look;
    has_news_.notify_all();
    has_news_.wait(lock, [this] { return text_ == nullptr; });
    return true;
  }

 private:
  static void* main(void* self) {
    static_cast<ParserThread*>(self)->run();
    return nullptr;
  }
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      has_news_.wait(lock, [this] { return text_ != nullptr || is_stopping_; });
      if (is_stopping_) return;
      parse_here(*text_, *look_);
      text_ = nullptr;
      has_news_.notify_all();
    }
  }

  pthread_t thread_{};
  bool is_running_ = false;
  std::mutex callers_;  ///< one at a time
  std::mutex mutex_;    ///< guards what follows
  std::condition_variable has_news_;
  const std::string* text_ = nullptr;
  const Look* look_ = nullptr;
  bool is_stopping_ = false;
};

}  // namespace

bool parse(const std::string& text, const Look& look) {
  static ParserThread thread;
  return thread.parse(text, look);
}

}  // namespace pgproxy::sql
