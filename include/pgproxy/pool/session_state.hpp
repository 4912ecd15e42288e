#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/wire/startup.hpp"

namespace pgproxy::pool {

/// One setting of a session. Names compare without case; the spelling is the server's where it
/// reports the setting, else lower case.
struct Setting {
  std::string name;
  std::string value;
  bool is_reported = false;  ///< the server tells each change by ParameterStatus
};

/// The part of a session's settings that the parse analysis of statements depends on; equal ones
/// are one object.
using ParseStateRef = std::shared_ptr<const std::string>;

/// The settings that parse analysis reads literals by ('01/02/2026'::date): a prepared statement
/// keeps the values that it found then. Equal ones are one object.
struct Reading {
  std::vector<Setting> settings;  ///< DateStyle, TimeZone, … as far as the state has them
  /// When it is another one than at the last time, PostgreSQL reads the statement anew.
  std::optional<std::string> search_path;
  /// search_path was one of a transaction: the next time it is another one.
  bool is_passing = false;
  /// What the settings were then only the server knows that has parsed the statement: no other one
  /// can be given it.
  bool is_unknown = false;
};
using ReadingRef = std::shared_ptr<const Reading>;
/// nullptr is like nothing else.
bool reads_alike(const Reading& a, const Reading& b);

/// What a change of a setting means for statements that are prepared already.
enum class ReadingRole : std::uint8_t {
  none,        ///< another setting; the parse state may still be another one
  harmless,    ///< not part of the parse state either
  reported,    ///< literals are read by it, and the server reports it
  unreported,  ///< literals are read by it
  search_path,
};
/// `name`: in any case.
ReadingRole reading_role(std::string_view name);

/// What a session's settings are, as far as they can differ between clients: everything that the
/// server reports, and what was set at startup. Immutable and interned: equal states are one
/// object, so that "nothing to do" is one comparison of pointers.
class SessionState {
 public:
  /// Sorted by name.
  const std::vector<Setting>& settings() const { return settings_; }
  const Setting* find(std::string_view name) const;
  /// The value, or "" when the state does not have it.
  std::string_view value(std::string_view name) const;
  /// standard_conforming_strings is on: a backslash in '…' is only a backslash.
  bool backslashes_are_plain() const { return backslashes_are_plain_; }
  /// search_path names pg_temp: what is created without a schema may be temporary.
  bool creates_temporary_objects() const { return creates_temporary_objects_; }
  /// client_encoding has bytes of ASCII characters within other characters (SJIS, BIG5, GBK, …):
  /// its texts cannot be read byte by byte.
  bool has_ambiguous_bytes() const { return has_ambiguous_bytes_; }
  /// Everything but settings that are known not to change what a text means when it is parsed.
  const ParseStateRef& parse_state() const { return parse_state_; }
  const ReadingRef& reading() const { return reading_; }

 private:
  friend class StateInterner;
  std::vector<Setting> settings_;
  bool backslashes_are_plain_ = true;
  bool has_ambiguous_bytes_ = false;
  bool creates_temporary_objects_ = false;
  ParseStateRef parse_state_;
  ReadingRef reading_;
};
using StateRef = std::shared_ptr<const SessionState>;

/// Fills in what a row says of a session's settings.
void describe_settings(const SessionState& state, ConnectionRow& row);

/// Makes SessionStates, one object per distinct content. One per loop; not thread safe.
class StateInterner {
 public:
  /// The empty state.
  StateRef empty();
  StateRef with(const StateRef& base, std::string_view name, std::string_view value,
                bool is_reported);
  /// `base` without the settings that the server does not report: what a session has after its
  /// RESET ALL or DISCARD ALL.
  StateRef reported_only(const StateRef& base);
  /// `base` with `values` for settings that the server does not report; nullopt: without it.
  /// `only_these`: every other one that is not reported goes.
  StateRef updated(const StateRef& base,
                   const std::vector<std::pair<std::string, std::optional<std::string>>>& values,
                   bool only_these);
  /// What `server` reports, and everything else as `wanted` has it: the state of a server
  /// connection after the SQL of difference() succeeded.
  StateRef merged(const StateRef& server, const StateRef& wanted);

 private:
  StateRef intern(std::vector<Setting> settings);
  ParseStateRef parse_state(const std::vector<Setting>& settings);
  ReadingRef reading(const std::vector<Setting>& settings);

  std::unordered_map<std::string, std::weak_ptr<const SessionState>> states_;
  std::unordered_map<std::string, std::weak_ptr<const std::string>> parse_states_;
  std::unordered_map<std::string, std::weak_ptr<const Reading>> readings_;
  std::size_t purge_at_ = 64;
};

/// The call that sets one, for a SELECT.
std::string set_sql(const Setting& setting);

/// A Query of its own in front of difference(), whose text is in the encoding that it sets; empty:
/// none needed.
std::string encoding_sql(const SessionState& server, const SessionState& wanted);

/// One Query that brings a server with state `server` in line with `wanted`; empty: none needed.
/// Every name is qualified and every literal safe under either standard_conforming_strings.
std::string difference(const SessionState& server, const SessionState& wanted);

/// What of a Reading may be another than one thinks.
struct ReadingDoubt {
  bool reported = false;
  bool unreported = false;
  bool search_path = false;
};

/// Until the end of the transaction, settings of `wanted` where `now`, as far as that is not in
/// doubt, has others: one SELECT; empty: none.
std::string reading_sql(const Reading& now, const Reading& wanted, ReadingDoubt doubt);

/// Reported settings that no SET can change (server_version, in_hot_standby, …) and that `now` has
/// otherwise than `before`: a client that believes `before` is told by ParameterStatus.
std::vector<Setting> announcements(const SessionState& now, const SessionState& before);

/// What a standby reports of itself.
inline constexpr std::string_view hot_standby_setting = "in_hot_standby";
/// What every connection to a standby has, whatever its client set.
inline constexpr std::string_view read_only_setting = "default_transaction_read_only";

/// True for reported settings that cannot be set.
bool is_read_only_setting(std::string_view name);

}  // namespace pgproxy::pool
