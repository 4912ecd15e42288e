#include "app/web_source.hpp"

#include <chrono>
#include <future>
#include <optional>
#include <utility>

namespace pgproxy::app {
namespace {

/// A loop that does not answer within this time is in trouble, which the caller should hear.
constexpr std::chrono::seconds patience{2};

/// `make` is called on the loop, if at all, and its result waited for.
template <class Value>
std::optional<Value> ask(net::UvLoop& loop, const std::function<Value()>& make) {
  auto promise = std::make_shared<std::promise<Value>>();
  std::future<Value> answer = promise->get_future();
  loop.post([promise, make] { promise->set_value(make()); });
  if (answer.wait_for(patience) != std::future_status::ready) return std::nullopt;
  return answer.get();
}

}  // namespace

std::shared_ptr<const metrics::Status> WebSource::status() {
  auto status = ask(loop_, makers_.status);
  return status ? std::make_shared<const metrics::Status>(std::move(*status)) : nullptr;
}

std::vector<config::ConfigRow> WebSource::config() {
  return ask(loop_, makers_.config).value_or(std::vector<config::ConfigRow>());
}

std::optional<std::vector<SlowQueryRow>> WebSource::slow_queries() {
  return ask(loop_, makers_.slow_queries);
}

std::optional<std::vector<ErrorRow>> WebSource::errors() {
  return ask(loop_, makers_.errors);
}

}  // namespace pgproxy::app
