#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "pgproxy/sql/residue.hpp"

// The words that residue.cpp looks for, all lower case.
namespace pgproxy::sql {

/// How to go on behind the first word of a statement.
enum class Follow : unsigned char { body, set, prepare, create, declare, explain };

struct FirstWord {
  std::string_view word;
  Residue leaves = Residue::none;
  Follow follow = Follow::body;
};

/// Commands that we can judge, the frequent ones first: it is searched front to back. The first
/// word of anything else (DO, CALL, LOAD, replication commands, future ones) means unknown.
inline constexpr FirstWord first_words[] = {
    {"select"},
    {"insert"},
    {"update"},
    {"begin"},
    {"commit"},
    {"delete"},
    {"with"},
    {"set", Residue::none, Follow::set},
    {"rollback"},
    {"show"},
    {"end"},
    {"start"},
    {"execute"},  // what it runs came by PREPARE
    {"copy"},
    {"savepoint"},
    {"release"},
    {"values"},
    {"fetch"},
    {"declare", Residue::none, Follow::declare},
    {"close"},
    {"explain", Residue::none, Follow::explain},
    {"create", Residue::none, Follow::create},
    {"prepare", Residue::none, Follow::prepare},
    {"deallocate", Residue::prepared_statement},
    {"reset", Residue::setting},
    {"discard", Residue::discard},
    {"listen", Residue::listen},
    {"unlisten", Residue::listen},
    {"notify"},
    {"merge"},
    {"truncate"},
    {"drop"},
    {"alter"},
    {"lock"},
    {"abort"},
    {"move"},
    {"table"},
    {"analyze"},
    {"analyse"},
    {"vacuum"},
    {"grant"},
    {"revoke"},
    {"comment"},
    {"refresh"},
    {"reindex"},
    {"cluster"},
    {"checkpoint"},
    {"reassign"},
    {"import"},
    {"security"},
};

struct TellingName {
  std::string_view name;
  Residue leaves = Residue::none;
};

/// Identifiers that tell of residue wherever they stand. pg_temp_<number> is one more.
inline constexpr TellingName telling_names[] = {
    {"set_config", Residue::setting},
    {"set_limit", Residue::setting},    // pg_trgm
    {"pg_settings", Residue::setting},  // an UPDATE of it is a SET
    {"pg_temp", Residue::temporary_object},
    {"pg_advisory_lock", Residue::advisory_lock},
    {"pg_advisory_lock_shared", Residue::advisory_lock},
    {"pg_try_advisory_lock", Residue::advisory_lock},
    {"pg_try_advisory_lock_shared", Residue::advisory_lock},
    {"pg_advisory_unlock", Residue::advisory_lock},
    {"pg_advisory_unlock_shared", Residue::advisory_lock},
    {"pg_advisory_unlock_all", Residue::advisory_lock},
    {"lastval", Residue::sequence_state},
    {"currval", Residue::sequence_state},
    {"setseed", Residue::unknown},  // outlives DISCARD ALL
    {"dblink_connect", Residue::unknown},
    {"dblink_connect_u", Residue::unknown},
    {"pg_backup_start", Residue::unknown},
    {"pg_start_backup", Residue::unknown},
    {"pg_create_logical_replication_slot", Residue::unknown},
    {"pg_create_physical_replication_slot", Residue::unknown},
    {"pg_copy_logical_replication_slot", Residue::unknown},
    {"pg_copy_physical_replication_slot", Residue::unknown},
    {"pg_replication_origin_session_setup", Residue::unknown},
};

/// Says cheaply of almost every word that it is not one of a set: which lengths (a bit each) the
/// set's words with a given last character have. (Last, as many of ours begin with pg_.)
class WordFilter {
 public:
  constexpr void add(std::size_t length, char last) {
    lengths_[index(last)] |= std::uint64_t{1} << length;
  }
  /// `word` is not empty.
  constexpr bool may_contain(std::string_view word) const {
    return word.size() < 64 && (lengths_[index(word.back())] >> word.size() & 1) != 0;
  }

 private:
  /// Letters of either case fall together; that others may, too, costs only time.
  static constexpr std::size_t index(char c) { return (c | 0x20) & 127; }

  std::array<std::uint64_t, 128> lengths_{};
};

}  // namespace pgproxy::sql
