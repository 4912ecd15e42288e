// What the proxy makes sure of before it lets anyone in.
#include "app/proxy.hpp"

#include "pgproxy/pool/acquisition_test.hpp"

namespace pgproxy::app {
namespace {

std::string in_words(const std::vector<config::Problem>& problems) {
  std::string text;
  for (const config::Problem& problem : problems) {
    text += (text.empty() ? "" : "\npgproxy: ") + problem.message;
    if (&problem != &problems.back()) text += "\n  hint: " + problem.hint;
  }
  return text;
}

/// Serves the loop until `begin`'s argument is called.
void wait_for(net::UvLoop& loop, const std::function<void(std::function<void()>)>& begin) {
  bool is_over = false;
  begin([&] {
    is_over = true;
    loop.stop();
  });
  if (!is_over) loop.run();
}

}  // namespace

Result<void> Proxy::check_capacity() {
  config::CapacityVerdict verdict;
  wait_for(loop_, [&](const std::function<void()>& over) {
    capacity_.ask([&, over](const config::CapacityVerdict& found) {
      verdict = found;
      over();
    });
  });
  const config::Settings& settings = loaded_.settings;
  for (const CapacityRow& row : verdict.rows) {
    log::line(log::Level::log, "capacity: {} {} {}: {}", row.kind, row.name, row.state,
              row.arithmetic);
  }
  if (verdict.problems.empty() || settings.check != config::CapacityCheck::enforce) return {};
  return std::unexpected(Error{.sqlstate = "53300",
                               .message = in_words(verdict.problems),
                               .hint = verdict.problems.back().hint});
}

Result<void> Proxy::coordinate() {
  if (loaded_.settings.coordination == config::Coordination::none) return {};
  coordination_ = std::make_unique<control::Coordination>(
      control::Services{loop_, fd_watcher_, resolver_}, loaded_.settings,
      config::plan_capacity(loaded_.settings));
  Result<void> result;
  wait_for(loop_, [&](const std::function<void()>& over) {
    coordination_->acquire([&, over](const Result<void>& found) {
      result = found;
      over();
    });
  });
  return result;
}

}  // namespace pgproxy::app
