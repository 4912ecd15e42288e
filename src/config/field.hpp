#pragma once

#include <array>
#include <concepts>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/row.hpp"
#include "config/text.hpp"

namespace pgproxy::config {

/// Reads, prints and describes the values of one type; one per type of member.
template <class T>
struct Codec;

template <std::unsigned_integral T>
struct Codec<T> {
  static Outcome parse(std::string_view text, const Range& range, T& into) {
    const auto value = parse_integer(text);
    if (!value || *value < range.least || *value > range.most) return Outcome::not_allowed;
    into = static_cast<T>(*value);
    return Outcome::stored;
  }
  static std::string print(T value) { return std::to_string(value); }
  static std::string allowed(const Range& range) {
    return fmt::format("{} to {}", range.least, range.most);
  }
};

/// The number of server connections of a pool.
struct PoolSizeCodec : Codec<std::uint32_t> {
  static Outcome parse(std::string_view text, const Range& range, std::uint32_t& into) {
    if (!equals_ignoring_case(text, "auto")) return Codec::parse(text, range, into);
    into = auto_size;
    return Outcome::stored;
  }
  static std::string print(std::uint32_t value) {
    return value == auto_size ? "auto" : Codec::print(value);
  }
  static std::string allowed(const Range& range) { return "auto, " + Codec::allowed(range); }
};

/// A file mode.
struct OctalCodec : Codec<std::uint32_t> {
  static std::string print(std::uint32_t value) { return fmt::format("{:#o}", value); }
  static std::string allowed(const Range& range) {
    return fmt::format("0 to {:#o} (octal)", range.most);
  }
};

template <>
struct Codec<bool> {
  static Outcome parse(std::string_view text, const Range&, bool& into) {
    const auto value = parse_flag(text);
    if (!value) return Outcome::not_allowed;
    into = *value;
    return Outcome::stored;
  }
  static std::string print(bool value) { return value ? "1" : "0"; }
  static std::string allowed(const Range&) { return "0 or 1"; }
};

/// A share of something, in decimals.
template <>
struct Codec<double> {
  static Outcome parse(std::string_view text, const Range& range, double& into) {
    const auto value = parse_seconds(text, range.most);  // the same decimals
    if (!value) return Outcome::not_allowed;
    into = std::chrono::duration<double>(*value).count();
    return Outcome::stored;
  }
  static std::string print(double value) { return fmt::format("{}", value); }
  static std::string allowed(const Range& range) {
    return fmt::format("{} to {}, decimals allowed", range.least, range.most);
  }
};

template <>
struct Codec<Duration> {
  static Outcome parse(std::string_view text, const Range& range, Duration& into) {
    const auto value = parse_seconds(text, range.most);
    if (!value || *value < std::chrono::seconds(range.least)) return Outcome::not_allowed;
    into = *value;
    return Outcome::stored;
  }
  static std::string print(Duration value) { return print_seconds(value); }
  static std::string allowed(const Range& range) {
    return fmt::format("{} to {} seconds, decimals allowed", range.least, range.most);
  }
};

template <>
struct Codec<std::string> {
  static Outcome parse(std::string_view text, const Range&, std::string& into) {
    into = text;
    return Outcome::stored;
  }
  static std::string print(const std::string& value) { return value; }
  static std::string allowed(const Range&) { return "text"; }
};

/// "<empty>" in the file is an empty Query, kept as ";"; "" is off.
struct CheckQueryCodec : Codec<std::string> {
  static Outcome parse(std::string_view text, const Range&, std::string& into) {
    into = text == "<empty>" ? ";" : text;
    return Outcome::stored;
  }
  static std::string print(const std::string& value) { return value == ";" ? "<empty>" : value; }
};

template <>
struct Codec<std::vector<std::string>> {
  static Outcome parse(std::string_view text, const Range&, std::vector<std::string>& into) {
    into = parse_list(text);
    return Outcome::stored;
  }
  static std::string print(const std::vector<std::string>& value) { return join(value, ","); }
  static std::string allowed(const Range&) { return "a list, by commas or blanks"; }
};

template <class E>
struct Choice {
  std::string_view name;
  std::optional<E> value = std::nullopt;  ///< none: a word of PgBouncer's, not in this version
};

/// The words of an enum; upper and lower case are the same.
template <class E>
constexpr auto choices() = delete;

template <>
constexpr auto choices<PoolMode>() {
  return std::to_array<Choice<PoolMode>>({{"session", PoolMode::session},
                                          {"transaction", PoolMode::transaction},
                                          {"statement", PoolMode::statement}});
}
template <>
constexpr auto choices<AuthType>() {
  return std::to_array<Choice<AuthType>>({{"scram-sha-256", AuthType::scram_sha_256},
                                          {"md5", AuthType::md5},
                                          {"plain", AuthType::plain},
                                          {"trust", AuthType::trust},
                                          {"any", AuthType::any},
                                          {"hba", AuthType::hba},
                                          {"cert", AuthType::cert},
                                          {"ldap"},
                                          {"pam"}});
}
template <>
constexpr auto choices<LogFormat>() {
  return std::to_array<Choice<LogFormat>>(
      {{"text", LogFormat::text}, {"logfmt", LogFormat::logfmt}, {"json", LogFormat::json}});
}
template <>
constexpr auto choices<LoadBalanceHosts>() {
  return std::to_array<Choice<LoadBalanceHosts>>(
      {{"round-robin", LoadBalanceHosts::round_robin}, {"disable", LoadBalanceHosts::disable}});
}
template <>
constexpr auto choices<OnResidue>() {
  return std::to_array<Choice<OnResidue>>({{"pin", OnResidue::pin}, {"error", OnResidue::error}});
}
template <>
constexpr auto choices<OnSequenceState>() {
  return std::to_array<Choice<OnSequenceState>>({{"learn", OnSequenceState::learn},
                                                 {"pin", OnSequenceState::pin},
                                                 {"error", OnSequenceState::error}});
}
template <>
constexpr auto choices<WhileRecovering>() {
  return std::to_array<Choice<WhileRecovering>>(
      {{"queue", WhileRecovering::queue}, {"reject", WhileRecovering::reject}});
}
template <>
constexpr auto choices<FailedUntil>() {
  return std::to_array<Choice<FailedUntil>>(
      {{"reconnect", FailedUntil::reconnect}, {"health_check", FailedUntil::health_check}});
}
template <>
constexpr auto choices<OnExhausted>() {
  return std::to_array<Choice<OnExhausted>>(
      {{"queue", OnExhausted::queue}, {"reject", OnExhausted::reject}});
}
template <>
constexpr auto choices<Routing>() {
  return std::to_array<Choice<Routing>>(
      {{"off", Routing::off},
       {"primary_only", Routing::primary_only},
       {"read_only_transactions", Routing::read_only_transactions},
       {"selects", Routing::selects}});
}
template <>
constexpr auto choices<ReadConsistency>() {
  return std::to_array<Choice<ReadConsistency>>({{"session", ReadConsistency::session},
                                                 {"bounded", ReadConsistency::bounded},
                                                 {"eventual", ReadConsistency::eventual}});
}
template <>
constexpr auto choices<OnNoReplica>() {
  return std::to_array<Choice<OnNoReplica>>({{"primary", OnNoReplica::primary},
                                             {"wait", OnNoReplica::wait},
                                             {"error", OnNoReplica::error}});
}
template <>
constexpr auto choices<CapacityCheck>() {
  return std::to_array<Choice<CapacityCheck>>({{"enforce", CapacityCheck::enforce},
                                               {"report", CapacityCheck::report},
                                               {"off", CapacityCheck::off}});
}
template <>
constexpr auto choices<Coordination>() {
  return std::to_array<Choice<Coordination>>(
      {{"advisory_lock", Coordination::advisory_lock}, {"none", Coordination::none}});
}
template <>
constexpr auto choices<OnOvercommit>() {
  return std::to_array<Choice<OnOvercommit>>(
      {{"refuse_new", OnOvercommit::refuse_new}, {"shrink", OnOvercommit::shrink}});
}
template <>
constexpr auto choices<CheckoutOrder>() {
  return std::to_array<Choice<CheckoutOrder>>({{"lifo", CheckoutOrder::lifo},
                                               {"round_robin", CheckoutOrder::round_robin},
                                               {"random", CheckoutOrder::random}});
}
template <>
constexpr auto choices<SslMode>() {
  return std::to_array<Choice<SslMode>>({{"disable", SslMode::disable},
                                         {"allow", SslMode::allow},
                                         {"prefer", SslMode::prefer},
                                         {"require", SslMode::require},
                                         {"verify-ca", SslMode::verify_ca},
                                         {"verify-full", SslMode::verify_full}});
}
template <>
constexpr auto choices<SslNegotiation>() {
  return std::to_array<Choice<SslNegotiation>>(
      {{"postgres", SslNegotiation::postgres}, {"direct", SslNegotiation::direct}});
}
template <>
constexpr auto choices<DheParams>() {
  return std::to_array<Choice<DheParams>>(
      {{"auto", DheParams::automatic}, {"none", DheParams::none}, {"legacy"}});
}

template <class E>
  requires std::is_enum_v<E>
struct Codec<E> {
  static Outcome parse(std::string_view text, const Range&, E& into) {
    for (const auto& choice : choices<E>()) {
      if (!equals_ignoring_case(choice.name, text)) continue;
      if (!choice.value) return Outcome::not_in_this_version;
      into = *choice.value;
      return Outcome::stored;
    }
    return Outcome::not_allowed;
  }
  static std::string print(E value) {
    for (const auto& choice : choices<E>()) {
      if (choice.value == value) return std::string(choice.name);
    }
    return {};
  }
  static std::string allowed(const Range&) {
    std::vector<std::string> names;
    for (const auto& choice : choices<E>()) {
      if (choice.value) names.emplace_back(choice.name);
    }
    return join(names, ", ");
  }
};

/// PgBouncer's server_round_robin: two of the checkout orders by a flag.
struct RoundRobinCodec : Codec<bool> {
  static Outcome parse(std::string_view text, const Range& range, CheckoutOrder& into) {
    bool value = false;
    const Outcome outcome = Codec<bool>::parse(text, range, value);
    into = value ? CheckoutOrder::round_robin : CheckoutOrder::lifo;
    return outcome;
  }
  static std::string print(CheckoutOrder value) {
    return Codec<bool>::print(value == CheckoutOrder::round_robin);
  }
};

/// Words, comma separated; none: nothing.
template <>
struct Codec<RerunOn> {
  static Outcome parse(std::string_view text, const Range&, RerunOn& into) {
    const std::vector<std::string> words = parse_list(text);
    if (words.empty()) return Outcome::not_allowed;
    RerunOn value;
    for (const std::string& word : words) {
      if (equals_ignoring_case(word, "stale_plan")) {
        value.stale_plan = true;
      } else if (equals_ignoring_case(word, "replica_refusal")) {
        value.replica_refusal = true;
      } else if (!equals_ignoring_case(word, "none") || words.size() > 1) {
        return Outcome::not_allowed;
      }
    }
    into = value;
    return Outcome::stored;
  }
  static std::string print(RerunOn value) {
    if (value.stale_plan && value.replica_refusal) return "stale_plan,replica_refusal";
    return value.stale_plan ? "stale_plan" : value.replica_refusal ? "replica_refusal" : "none";
  }
  static std::string allowed(const Range&) { return "stale_plan, replica_refusal, none"; }
};

/// "5", or "50%".
template <>
struct Codec<ReplicaPoolSize> {
  static Outcome parse(std::string_view text, const Range&, ReplicaPoolSize& into) {
    const bool is_share = text.ends_with('%');
    if (is_share) text.remove_suffix(1);
    std::uint32_t number = 0;
    const Range range = is_share ? Range{1, 1'000} : Range{1, 10'000};
    const Outcome outcome = Codec<std::uint32_t>::parse(trim(text), range, number);
    if (outcome != Outcome::stored) return outcome;
    into = is_share ? ReplicaPoolSize{.percent = number} : ReplicaPoolSize{.connections = number};
    return outcome;
  }
  static std::string print(ReplicaPoolSize value) {
    return value.connections > 0 ? std::to_string(value.connections)
                                 : std::to_string(value.percent) + "%";
  }
  static std::string allowed(const Range&) { return "1 to 10000, or a share as 50%"; }
};

/// Words, comma separated. The versions before 1.2 are known, and refused: nothing speaks them that
/// could be called safe (RFC 8996), and OpenSSL would leave them out without a word.
template <>
struct Codec<TlsProtocols> {
  static Outcome parse(std::string_view text, const Range&, TlsProtocols& into) {
    const std::vector<std::string> words = parse_list(text);
    if (words.empty()) return Outcome::not_allowed;
    TlsProtocols value;
    for (const std::string& word : words) {
      const bool is_both =
          equals_ignoring_case(word, "secure") || equals_ignoring_case(word, "all");
      if (is_both || equals_ignoring_case(word, "tlsv1.2")) value.v1_2 = true;
      if (is_both || equals_ignoring_case(word, "tlsv1.3")) value.v1_3 = true;
      if (is_both || equals_ignoring_case(word, "tlsv1.2") ||
          equals_ignoring_case(word, "tlsv1.3")) {
        continue;
      }
      const bool is_old = equals_ignoring_case(word, "tlsv1.0") ||
                          equals_ignoring_case(word, "tlsv1.1") ||
                          equals_ignoring_case(word, "legacy");
      return is_old ? Outcome::not_in_this_version : Outcome::not_allowed;
    }
    into = value;
    return Outcome::stored;
  }
  static std::string print(TlsProtocols value) {
    if (value.v1_2 && value.v1_3) return "secure";
    return value.v1_2 ? "tlsv1.2" : "tlsv1.3";
  }
  static std::string allowed(const Range&) { return "secure, all, tlsv1.2, tlsv1.3"; }
};

template <class Owner, class T>
Owner owner_of(T Owner::*);
template <class Owner, class T>
T value_of(T Owner::*);
template <class Owner, class T>
T value_of(std::optional<T> Owner::*);

/// A setting that is kept in a member; unset optionals print as nothing.
template <auto Member, class Form = Codec<decltype(value_of(Member))>>
consteval auto field(Range range = {}) {
  using Owner = decltype(owner_of(Member));
  using Value = decltype(value_of(Member));
  return Field<Owner>{
      .support = Support::full,
      .store =
          [](const Row<Owner>& row, std::string_view text, Owner& into) {
            Value value{};
            const Outcome outcome = Form::parse(text, row.field.range, value);
            if (outcome == Outcome::stored) into.*Member = std::move(value);
            return outcome;
          },
      .print = [](const Owner& owner) -> std::string {
        if constexpr (std::same_as<std::remove_cvref_t<decltype(owner.*Member)>, Value>) {
          return Form::print(owner.*Member);
        } else {
          return owner.*Member ? Form::print(*(owner.*Member)) : "";
        }
      },
      .allowed = Form::allowed,
      .range = range};
}

/// True when both texts mean the same, as "off" and "0" do.
bool same_value(std::string_view left, std::string_view right);

/// A setting of PgBouncer's for which there is no use here.
template <class Owner>
consteval Field<Owner> no_effect() {
  return {.support = Support::no_effect,
          .store =
              [](const Row<Owner>& row, std::string_view text, Owner&) {
                return same_value(text, row.standard.text) ? Outcome::stored : Outcome::no_effect;
              },
          .print = nullptr,
          .allowed = Codec<std::string>::allowed,
          .range = {}};
}

/// A setting of PgBouncer's that a later version brings.
template <class Owner>
consteval Field<Owner> later() {
  return {.support = Support::later,
          .store =
              [](const Row<Owner>& row, std::string_view text, Owner&) {
                const bool harmless = same_value(text, row.standard.text) ||
                                      (!row.extra.also.empty() && same_value(text, row.extra.also));
                return harmless ? Outcome::stored : Outcome::not_in_this_version;
              },
          .print = nullptr,
          .allowed = Codec<std::string>::allowed,
          .range = {}};
}

}  // namespace pgproxy::config
