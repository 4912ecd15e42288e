#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "network.hpp"

#include "pgproxy/base/result.hpp"
#include "pgproxy/wire/message.hpp"

namespace pgproxy::sim {

using NameMap = std::map<std::string, std::string>;

class Backend;

/// A PostgreSQL cluster that understands a handful of statements. Clients tag their statements with
/// 'c<client>.<number>'; it watches that nobody's session shows through to anybody else.
class Postgres {
 public:
  Postgres(Loop& loop, Random& random, std::function<void(std::string)> violation);
  ~Postgres();

  void accept(std::shared_ptr<Link> link);
  /// Kills a random backend as an administrator would: FATAL 57P01, then EOF.
  void terminate_one();
  /// Cuts the connection of a random backend.
  void cut_one(bool by_reset);
  void black_hole_one();
  bool has_black_hole() const;

  /// What client `number` gave at startup and expects to find.
  void register_client(unsigned number, NameMap settings) {
    clients_[number] = std::move(settings);
  }
  const NameMap& settings_of(unsigned number) const;
  static const NameMap& defaults();

  /// Backends whose connection is open at pgproxy's end.
  std::size_t open_count() const;
  /// Complains about each open backend that is not as new.
  void check_clean() const;
  void for_each(const std::function<void(Backend&)>& visit) const;

  std::optional<Error> login_error;  ///< every login ends with it
  bool is_password_wanted = false;   ///< AuthenticationCleartextPassword first
  bool is_silent_at_login = false;   ///< accepts and never answers
  bool is_mute = false;              ///< reads queries and never answers
  unsigned logins_ever = 0;
  unsigned cancels_ever = 0;

 private:
  friend class Backend;
  Backend* random_ready();
  void cancel(std::uint32_t pid, std::string_view secret);

  Loop& loop_;
  Random& random_;
  std::function<void(std::string)> violation_;
  std::map<unsigned, NameMap> clients_;
  std::vector<std::unique_ptr<Backend>> backends_;
};

/// One backend process.
class Backend final : public Peer {
 public:
  Backend(Postgres& postgres, std::shared_ptr<Link> link, std::uint32_t pid);
  Link& link() { return *link_; }
  bool is_ready() const { return phase_ == Phase::ready && !is_gone_; }
  bool is_open() const { return !is_gone_ && phase_ != Phase::startup && link_->is_open_near(); }
  char status() const { return status_; }
  const NameMap& settings() const { return settings_; }
  /// Statements that ran, cleaning up included.
  const std::vector<std::string>& history() const { return history_; }
  std::uint32_t pid() const { return pid_; }
  void fatal(std::string_view sqlstate, std::string_view message);
  void notify() { put('N', "SNOTICE\0VNOTICE\0C00000\0Mhello\0\0"); }
  void check_clean() const;
  /// The connection ends when that many more bytes were said.
  std::optional<std::size_t> cut_after_bytes;

  void on_bytes(std::string_view bytes) override;
  void on_end() override;

 private:
  friend class Postgres;
  enum class Phase { startup, password, ready };
  enum class Outcome { done, failed, sleeping, copying };
  struct Portal {
    std::string text;
    std::string parameter;
  };
  struct Sleep {
    std::string tag;
    bool is_simple;
  };

  bool take_startup();
  bool take_message();
  void log_in();
  void on_message(char type, std::string_view body);
  void on_simple();
  void on_copy_message(char type, std::string_view body);
  void on_parse(std::string_view body);
  void on_bind(std::string_view body);
  void on_close(std::string_view body);
  const std::string* find_statement(std::string_view name) const;
  void on_describe(std::string_view body);
  void on_sync();
  Outcome execute(const std::string& text, const std::string& parameter, bool is_simple);
  Outcome control(const std::string& text, bool is_simple);
  Outcome select(const std::string& text, const std::string& parameter, bool is_simple);
  bool change_session(const std::string& text);
  bool set_pairs(const std::string& text);
  void finish_sleep(bool was_cancelled);
  bool commit();
  void roll_back();
  void error(std::string_view sqlstate, std::string_view message, bool is_simple);
  void ready();
  void begin_if_needed();
  void check_owner(const std::string& text, const std::string& parameter);
  void set(const std::string& name, const std::string& value, bool is_local);
  void reset(const std::string& name);
  void report(const std::string& name);
  void row(const std::string& value, bool is_simple);
  void complete(std::string_view tag);
  void put(char type, std::string_view body = {});
  template <std::size_t size>
  void put(char type, const char (&body)[size]) {
    put(type, std::string_view(body, size - 1));
  }
  void violation(const std::string& what) const { postgres_.violation_(what); }

  Postgres& postgres_;
  std::shared_ptr<Link> link_;
  std::uint32_t pid_;
  std::string secret_;
  Phase phase_ = Phase::startup;
  std::string input_;
  char status_ = 'I';
  bool is_implicit_ = false;  ///< a transaction that ends at the next Sync
  bool is_skipping_ = false;
  bool is_gone_ = false;
  NameMap settings_;
  NameMap session_defaults_;
  NameMap at_begin_;
  NameMap after_commit_;  ///< what SET LOCAL hides
  std::optional<std::string> unnamed_;
  std::map<std::string, std::string> named_;
  std::map<std::string, Portal> portals_;
  std::vector<std::string> statements_;  ///< of the current Query, still to run
  std::optional<Sleep> sleep_;
  unsigned sleep_number_ = 0;
  std::optional<bool> copy_in_;  ///< whether by a Query
  bool has_deferred_error_ = false;
  std::vector<std::string> residue_;
  unsigned residue_owner_ = 0;
  unsigned transaction_owner_ = 0;
  std::vector<std::string> history_;
};

/// The client number in 'c<number>.'; 0: the text has no tag.
unsigned owner_of(std::string_view text);
/// The tag itself, "c<number>.<sequence>".
std::string tag_of(std::string_view text);

}  // namespace pgproxy::sim
