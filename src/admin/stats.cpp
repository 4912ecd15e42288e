#include <algorithm>
#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "admin/shows.hpp"

namespace pgproxy::admin {
namespace {

using Counter = std::uint64_t PoolCounters::*;

/// One counter under the names that PgBouncer's commands have for it.
struct Metric {
  Counter counter;
  Counter per;                ///< its average is per this one; nullptr: per second
  std::string_view total;     ///< SHOW STATS, behind total_
  std::string_view average;   ///< SHOW STATS, behind avg_
  std::string_view totals;    ///< SHOW STATS_TOTALS
  std::string_view averages;  ///< SHOW STATS_AVERAGES
  std::string_view summed;    ///< SHOW TOTALS, behind total_ and avg_
};

constexpr Metric metric(std::string_view name, Counter counter, Counter per = nullptr) {
  return {counter, per, name, name, name, name, name};
}

// PgBouncer 1.25.2's, in its order.
constexpr Metric old_metrics[] = {
    metric("server_assignment_count", &PoolCounters::server_assignment_count),
    metric("xact_count", &PoolCounters::xact_count),
    metric("query_count", &PoolCounters::query_count),
    {&PoolCounters::bytes_received, nullptr, "received", "recv", "bytes_received", "bytes_received",
     "client_bytes"},
    {&PoolCounters::bytes_sent, nullptr, "sent", "sent", "bytes_sent", "bytes_sent",
     "server_bytes"},
    metric("xact_time", &PoolCounters::xact_time, &PoolCounters::xact_count),
    metric("query_time", &PoolCounters::query_time, &PoolCounters::query_count),
    metric("wait_time", &PoolCounters::wait_time, &PoolCounters::server_assignment_count),
    {&PoolCounters::client_parse_count, nullptr, "client_parse_count", "client_parse_count",
     "client_parse_count", "avg_client_parse_count", "ps_client_parse_count"},
    {&PoolCounters::server_parse_count, nullptr, "server_parse_count", "server_parse_count",
     "server_parse_count", "avg_server_parse_count", "ps_server_parse_count"},
    {&PoolCounters::bind_count, nullptr, "bind_count", "bind_count", "bind_count", "avg_bind_count",
     "ps_bind_count"},
};
// Of later versions: behind all of those.
constexpr Metric new_metrics[] = {
    {&PoolCounters::client_login_count, nullptr, "client_login_count", "client_login_count",
     "client_login_count", "avg_client_login_count", "client_login_count"},
};
using Metrics = std::span<const Metric>;

std::uint64_t total(const Metric& metric, const StatsRow& row) {
  return row.total.*metric.counter;
}

/// Over the last full stats_period; 0 before the first has ended.
std::uint64_t average(const Metric& metric, const StatsRow& row) {
  const auto growth = [&row](Counter counter) {
    return row.latest.*counter - row.previous.*counter;
  };
  const std::uint64_t grown = growth(metric.counter);
  if (metric.per != nullptr) {
    const std::uint64_t events = growth(metric.per);
    return events == 0 ? 0 : grown / events;
  }
  if (row.period <= Duration::zero()) return 0;
  const double period_s = std::chrono::duration<double>(row.period).count();
  return static_cast<std::uint64_t>(static_cast<double>(grown) / period_s);
}

using Value = std::uint64_t (*)(const Metric&, const StatsRow&);

/// One number of a StatsRow and what a command calls it.
struct Number {
  std::string name;
  const Metric* metric = nullptr;
  Value value = nullptr;
};

void add(std::vector<Number>& numbers, Metrics metrics, std::string_view prefix,
         std::string_view Metric::* name, Value value) {
  for (const Metric& metric : metrics) {
    numbers.push_back({std::string(prefix).append(metric.*name), &metric, value});
  }
}

std::vector<Number> totals_and_averages(std::string_view Metric::* total_name,
                                        std::string_view Metric::* average_name) {
  std::vector<Number> numbers;
  for (const Metrics metrics : {Metrics(old_metrics), Metrics(new_metrics)}) {
    add(numbers, metrics, "total_", total_name, total);
    add(numbers, metrics, "avg_", average_name, average);
  }
  return numbers;
}

ResultSet per_database(const StatusSource& source, const std::vector<Number>& numbers) {
  ResultSet set{.columns = {{"database"}}};
  for (const Number& number : numbers) set.columns.push_back({number.name, ColumnType::numeric});
  for (const StatsRow& row : source.stats()) {
    auto& cells = set.rows.emplace_back();
    cells.emplace_back(row.database);
    for (const Number& number : numbers) {
      cells.push_back(to_cell(number.value(*number.metric, row)));
    }
  }
  return set;
}

}  // namespace

ResultSet show_stats(const StatusSource& source, const config::Loaded&) {
  return per_database(source, totals_and_averages(&Metric::total, &Metric::average));
}

ResultSet show_stats_totals(const StatusSource& source, const config::Loaded&) {
  std::vector<Number> numbers;
  add(numbers, old_metrics, "", &Metric::totals, total);
  add(numbers, new_metrics, "", &Metric::totals, total);
  return per_database(source, numbers);
}

ResultSet show_stats_averages(const StatusSource& source, const config::Loaded&) {
  std::vector<Number> numbers;
  add(numbers, old_metrics, "", &Metric::averages, average);
  add(numbers, new_metrics, "", &Metric::averages, average);
  return per_database(source, numbers);
}

ResultSet show_totals(const StatusSource& source, const config::Loaded&) {
  StatsRow sum;
  for (const StatsRow& row : source.stats()) {
    sum.total += row.total;
    sum.latest += row.latest;
    sum.previous += row.previous;
    sum.period = std::max(sum.period, row.period);  // they are all the same
  }
  ResultSet set{.columns = {{"name"}, {"value", ColumnType::numeric}}};
  for (const Number& number : totals_and_averages(&Metric::summed, &Metric::summed)) {
    set.rows.push_back({number.name, to_cell(number.value(*number.metric, sum))});
  }
  return set;
}

}  // namespace pgproxy::admin
