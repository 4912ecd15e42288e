#include "session/prepared_statements.hpp"

#include <algorithm>
#include <utility>

namespace pgproxy::session {

const pool::StatementRef* PreparedStatements::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at != by_name_.end() ? &at->second.statement : nullptr;
}

const PreparedStatements::Entry* PreparedStatements::find_entry(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at != by_name_.end() ? &at->second : nullptr;
}

void PreparedStatements::described(std::uint64_t statement_number, std::uint64_t description) {
  for (auto& [name, entry] : by_name_) {
    const bool is_it = entry.statement != nullptr && entry.statement->number() == statement_number;
    if (!is_it) continue;
    entry.description = description;
    entry.is_outdated = false;
  }
}

bool PreparedStatements::note_outdated(std::string_view name) {
  const auto at = by_name_.find(name);
  return at != by_name_.end() && !std::exchange(at->second.is_outdated, true);
}

void PreparedStatements::add(std::string_view name, pool::StatementRef statement,
                             std::uint32_t number) {
  journal_.note(number, {.name = std::string(name), .is_removal = false});
  by_name_.emplace(name, Entry{std::move(statement)});
}

void PreparedStatements::add_answered(std::string_view name, pool::StatementRef statement) {
  by_name_.emplace(name, Entry{std::move(statement)});
}

void PreparedStatements::remove(std::string_view name, std::uint32_t number) {
  const auto at = by_name_.find(name);
  if (at == by_name_.end()) return;
  journal_.note(number, {.name = at->first, .is_removal = true, .before = at->second});
  note_closed(at->second.statement);
  by_name_.erase(at);
}

void PreparedStatements::note_closed(const pool::StatementRef& statement) {
  if (statement == nullptr || was_closed(statement->number())) return;
  if (closed_.size() == max_closed) closed_.erase(closed_.begin());
  closed_.push_back(statement->number());
}

bool PreparedStatements::was_closed(std::uint64_t statement_number) const {
  return std::ranges::find(closed_, statement_number) != closed_.end();
}

bool PreparedStatements::take_closed(std::uint64_t statement_number) {
  return std::erase(closed_, statement_number) > 0;
}

void PreparedStatements::make_own(std::string_view name, std::uint32_t number) {
  const auto at = by_name_.find(name);
  journal_.note(number, {.name = at->first, .is_removal = true, .before = std::move(at->second)});
  at->second = {};
}

void PreparedStatements::forget(std::string_view name) {
  const auto at = by_name_.find(name);
  if (at == by_name_.end()) return;
  note_closed(at->second.statement);
  by_name_.erase(at);
}

bool PreparedStatements::is_certain(std::string_view name, pool::ExpectedReplies& expected) const {
  return !journal_.any([&](std::uint32_t number, const Change& change) {
    return change.name == name && !expected.is_certain(number);
  });
}

bool PreparedStatements::is_certain(pool::ExpectedReplies& expected) const {
  return !journal_.any(
      [&](std::uint32_t number, const Change&) { return !expected.is_certain(number); });
}

std::string_view PreparedStatements::name_of(std::uint64_t statement_number) const {
  for (const auto& [name, entry] : by_name_) {
    const pool::StatementRef& statement = entry.statement;
    if (statement != nullptr && statement->number() == statement_number) return name;
  }
  for (const auto& [name, number] : gone_) {
    if (number == statement_number) return name;
  }
  return {};
}

void PreparedStatements::take_back(pool::ExpectedReplies::Skipped skipped) {
  journal_.take_back(skipped, [this](std::uint32_t, const Change& change) {
    by_name_.erase(change.name);
    if (change.is_removal) by_name_.emplace(change.name, change.before);
  });
}

void PreparedStatements::clear(pool::ExpectedReplies& expected) {
  journal_.settle(expected.oldest_number());
  journal_.drop([](const Change& change) { return change.is_removal; });
  std::erase_if(by_name_, [this](const auto& entry) {
    if (journal_.any([&](std::uint32_t, const Change& c) { return c.name == entry.first; })) {
      return false;
    }
    const pool::StatementRef& statement = entry.second.statement;
    if (statement != nullptr) gone_.emplace_back(entry.first, statement->number());
    note_closed(statement);
    return true;
  });
}

}  // namespace pgproxy::session
