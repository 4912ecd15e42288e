#include "pgproxy/pool/statements.hpp"

#include <algorithm>
#include <charconv>

#include "pgproxy/wire/encode.hpp"
#include "pgproxy/wire/message.hpp"

namespace pgproxy::pool {
namespace {

constexpr std::string_view name_prefix = "pgproxy_";
constexpr std::size_t min_uses = 16;

}  // namespace

std::size_t Statement::hash_of(std::string_view definition, const ParseStateRef& parse_state) {
  return std::hash<std::string_view>{}(definition) ^
         std::hash<const void*>{}(parse_state.get()) * 0x9e3779b97f4a7c15U;
}

Statement::Statement(std::uint64_t number, std::string_view definition, ParseStateRef parse_state,
                     ReadingRef reading)
    : number_(number),
      name_(statement_name(number)),
      definition_(definition),
      parse_state_(std::move(parse_state)),
      reading_(std::move(reading)),
      hash_(hash_of(definition_, parse_state_)) {}

void Statement::put_parse(std::string& out, std::string_view name) const {
  const wire::MessageWriter writer(out, 'P');
  wire::put_c_string(out, name);
  out += definition_;
}

std::string statement_name(std::uint64_t number) {
  return std::string(name_prefix) + std::to_string(number);
}

std::uint64_t statement_number(std::string_view name) {
  if (!name.starts_with(name_prefix)) return 0;
  name.remove_prefix(name_prefix.size());
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  const bool is_number = error == std::errc() && end == name.data() + name.size();
  return is_number && !name.starts_with('0') ? number : 0;
}

std::uint64_t description_of(Bytes body) {
  constexpr std::size_t origin_bytes = 6;  // table and column: others after a dump and restore
  constexpr std::size_t type_bytes = 10;   // oid, size, modifier; then the format, which is Bind's
  std::uint64_t hash = 1;
  const auto add = [&](std::string_view part) {
    hash = hash * 0x9e3779b97f4a7c15U + std::hash<std::string_view>{}(part);
  };
  wire::Cursor cursor(body);
  for (std::size_t left = body.empty() ? 0 : cursor.u16(); left > 0 && cursor.ok(); --left) {
    add(cursor.c_string());
    cursor.bytes(origin_bytes);
    add(as_text(cursor.bytes(type_bytes)));
    cursor.u16();
  }
  if (!body.empty()) add("rows");  // of no column at all, too
  return hash != 0 ? hash : 1;
}

StatementRef Statements::find_or_add(std::string_view definition, const ParseStateRef& parse_state,
                                     const ReadingRef& reading) {
  const Key key{definition, parse_state, reading, Statement::hash_of(definition, parse_state)};
  if (const auto at = statements_.find(key); at != statements_.end()) return *at;
  if (statements_.size() >= purge_at_) {
    std::erase_if(statements_, [](const StatementRef& s) { return s.use_count() == 1; });
    purge_at_ = std::max<std::size_t>(256, statements_.size() * 2);
  }
  return *statements_
              .insert(std::make_shared<Statement>(++last_number_, definition, parse_state, reading))
              .first;
}

StatementRef Statements::find(std::string_view definition, const ParseStateRef& parse_state,
                              const ReadingRef& reading) const {
  const auto at = statements_.find(
      Key{definition, parse_state, reading, Statement::hash_of(definition, parse_state)});
  return at != statements_.end() ? *at : nullptr;
}

StatementRef Statements::add_unshared(std::string_view definition, const ReadingRef& reading) {
  return std::make_shared<Statement>(++last_number_, definition, nullptr, reading);
}

/// Calls visit(change) for what may be there whatever we think: its Close may yet be skipped.
template <class Visit>
void ServerStatements::for_each_in_doubt(ExpectedReplies& expected, Visit visit) const {
  journal_.for_each([&](std::uint32_t message, const Change& change) {
    if (change.before && !expected.is_certain(message)) visit(change);
  });
}

ServerStatements::Need ServerStatements::use(const Statement& statement,
                                             ExpectedReplies& expected) {
  const std::uint64_t number = statement.number();
  const auto at = by_number_.find(number);
  if (at == by_number_.end()) {
    Need need = Need::parse;
    for_each_in_doubt(expected, [&](const Change& change) {
      if (change.statement_number == number) need = Need::close_and_parse;
    });
    return need;
  }
  Parsed& parsed = *at->second;
  if (&by_use_.front() != &parsed) {
    parsed.unlink();
    by_use_.push_front(parsed);
  }
  const bool is_current = parsed.version == statement.version();
  if (!is_current) return Need::close_and_parse;
  return journal_.empty() || expected.is_certain(parsed.message) ? Need::nothing
                                                                 : Need::close_and_parse;
}

ServerStatements::Parsed& ServerStatements::insert(const StatementRef& statement,
                                                   std::uint32_t version, std::uint32_t message) {
  auto& slot = by_number_[statement->number()];
  if (slot == nullptr) {
    slot = std::make_unique<Parsed>();
    slot->statement = statement;
    by_use_.push_front(*slot);
  }
  slot->version = version;
  slot->message = message;
  slot->description = 0;
  return *slot;
}

std::optional<ServerStatements::Change::Before> ServerStatements::now(
    std::uint64_t statement_number) const {
  const auto at = by_number_.find(statement_number);
  if (at == by_number_.end()) return std::nullopt;
  const Parsed& there = *at->second;
  return Change::Before{there.statement, there.version, there.message, there.description};
}

std::optional<ServerStatements::Change::Before> ServerStatements::now(
    std::string_view own_name) const {
  const auto at = std::ranges::find(own_names_, own_name, &OwnName::name);
  if (at == own_names_.end()) return std::nullopt;
  return Change::Before{.message = at->message};
}

void ServerStatements::parsed(const StatementRef& statement, std::uint32_t number) {
  journal_.note(number, {.statement_number = statement->number(),
                         .parsed = statement,
                         .version = statement->version(),
                         .before = now(statement->number())});
  insert(statement, statement->version(), number);
}

void ServerStatements::closed(std::uint64_t statement_number, std::uint32_t number) {
  const auto before = now(statement_number);
  if (!before && journal_.empty()) return;
  journal_.note(number, {.statement_number = statement_number, .before = before});
  by_number_.erase(statement_number);
}

StatementRef ServerStatements::to_evict(const Statement& statement, std::size_t max_count) {
  if (by_number_.size() < max_count || by_number_.contains(statement.number())) return nullptr;
  return by_use_.back().statement;
}

void ServerStatements::note_use(std::uint32_t number, const Statement& statement,
                                ExpectedReplies& expected) {
  if (uses_.size() == uses_.capacity()) {
    std::erase_if(uses_,
                  [&](const auto& use) { return is_before(use.first, expected.oldest_number()); });
    if (uses_.size() * 2 > uses_.capacity()) uses_.reserve(std::max(min_uses, uses_.size() * 2));
  }
  uses_.emplace_back(number, statement.number());
}

std::uint64_t ServerStatements::used_by(std::uint32_t number) const {
  const auto use = std::ranges::find(uses_, number, [](const auto& u) { return u.first; });
  return use != uses_.end() ? use->second : 0;
}

std::uint64_t ServerStatements::described(std::uint32_t number, std::uint64_t description) {
  const std::uint64_t statement_number = used_by(number);
  const auto at = by_number_.find(statement_number);
  if (at == by_number_.end()) return statement_number;
  // What is on its way may parse it once more.
  const bool is_replaced = journal_.any([&](std::uint32_t other, const Change& change) {
    return change.statement_number == statement_number && is_before(number, other);
  });
  if (!is_replaced) at->second->description = description;
  return statement_number;
}

std::uint64_t ServerStatements::description(const Statement& statement) const {
  const auto at = by_number_.find(statement.number());
  const bool is_current = at != by_number_.end() && at->second->version == statement.version();
  return is_current ? at->second->description : 0;
}

StatementRef ServerStatements::find(std::uint64_t statement_number) const {
  const auto at = by_number_.find(statement_number);
  return at != by_number_.end() ? at->second->statement : nullptr;
}

void ServerStatements::mistrust(std::uint64_t statement_number) {
  const auto at = by_number_.find(statement_number);
  if (at != by_number_.end()) at->second->version = at->second->statement->version() - 1;
}

void ServerStatements::forget(const Statement& statement) {
  by_number_.erase(statement.number());
}

std::vector<std::uint64_t> ServerStatements::numbers(ExpectedReplies& expected) const {
  std::vector<std::uint64_t> numbers;
  for (const auto& [number, parsed] : by_number_) numbers.push_back(number);
  for_each_in_doubt(expected, [&](const Change& change) {
    if (change.statement_number != 0) numbers.push_back(change.statement_number);
  });
  return numbers;
}

std::vector<std::string> ServerStatements::own_names(ExpectedReplies& expected) const {
  std::vector<std::string> names;
  for (const OwnName& own : own_names_) names.push_back(own.name);
  for_each_in_doubt(expected, [&](const Change& change) {
    if (change.statement_number == 0) names.push_back(change.name);
  });
  return names;
}

bool ServerStatements::has_own_name(std::string_view name, ExpectedReplies& expected) const {
  bool is_there = now(name).has_value();
  for_each_in_doubt(expected, [&](const Change& change) { is_there |= change.name == name; });
  return is_there;
}

void ServerStatements::own_parsed(std::string_view name, std::uint32_t number) {
  const Change change{.name = std::string(name), .before = now(name)};
  std::erase_if(own_names_, [&](const OwnName& own) { return own.name == name; });
  own_names_.push_back({change.name, number});
  journal_.note(number, change);
}

void ServerStatements::own_closed(std::string_view name, std::uint32_t number) {
  journal_.note(number, {.name = std::string(name), .before = now(name)});
  std::erase_if(own_names_, [&](const OwnName& own) { return own.name == name; });
}

void ServerStatements::own_deallocated(std::string_view name, std::uint32_t number) {
  Change* later = journal_.find([&](std::uint32_t message, const Change& change) {
    return change.statement_number == 0 && change.name == name && is_before(number, message);
  });
  if (later != nullptr) return later->before.reset();
  std::erase_if(own_names_, [&](const OwnName& own) {
    return own.name == name && is_before(own.message, number);
  });
}

void ServerStatements::take_back(ExpectedReplies::Skipped skipped) {
  journal_.take_back(skipped, [&](std::uint32_t, const Change& change) {
    Change* later = journal_.find([&](std::uint32_t message, const Change& other) {
      return other.is_of_same(change) && !is_before(message, skipped.to);
    });
    if (later != nullptr) {
      later->before = change.before;
    } else {
      restore(change);
    }
  });
}

void ServerStatements::restore(const Change& change) {
  const auto& before = change.before;
  if (change.statement_number == 0) {
    std::erase_if(own_names_, [&](const OwnName& own) { return own.name == change.name; });
    if (before) own_names_.push_back({change.name, before->message});
  } else if (before) {
    insert(before->statement, before->version, before->message).description = before->description;
  } else {
    by_number_.erase(change.statement_number);
  }
}

void ServerStatements::settle(ExpectedReplies& expected) {
  if (journal_.empty()) return;
  journal_.settle(expected.oldest_number(), [&](const Change& change) {
    if (change.parsed != nullptr && !expected.is_uncertain()) change.parsed->prove(change.version);
  });
}

void ServerStatements::clear(ExpectedReplies& expected) {
  settle(expected);
  // What is still to come of a name begins with nothing.
  const auto first_of = [this](const Change& change) {
    return journal_.find(
        [&](std::uint32_t, const Change& other) { return other.is_of_same(change); });
  };
  journal_.for_each([&](std::uint32_t, Change& change) {
    if (first_of(change) == &change) change.before.reset();
  });
  std::erase_if(by_number_, [&](const auto& entry) {
    return first_of({.statement_number = entry.first}) == nullptr;
  });
  std::erase_if(own_names_,
                [&](const OwnName& own) { return first_of({.name = own.name}) == nullptr; });
}

}  // namespace pgproxy::pool
