#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "builder.hpp"

namespace stress {

/// Operations on what a session keeps between transactions. Each changes the model in step with
/// what it sends; what PostgreSQL would answer follows from the model.
class SessionBuilder : private Builder {
 public:
  using Builder::Builder;

  std::deque<Step> build(Kind kind);

 private:
  using Rows = std::vector<std::string>;

  // One statement, its answer, and what the client has then.
  void simple(std::string_view sql, const Rows& rows, std::string_view command, char status = 'I');
  void run(std::string_view sql, const Rows& rows, std::string_view command, char status = 'I');
  void fail(std::string_view sql, std::string_view sqlstate, char status = 'I');
  void done() { steps_.back().after = session_; }
  void may_be_refused(bool in_transaction = false);

  std::string value_for(std::size_t setting);
  std::string any_role() { return std::string("tenant_") + "abc"[below(3)]; }
  std::string parameter() const { return owner_ + "-" + sequence_; }
  std::string row_of(const Prepared& statement) const;
  std::string text_of(const Prepared& statement) const;
  std::string any_name();

  // One message of a pipeline; `skips_` as the server does behind an error.
  void error_in_pipeline(std::string_view sqlstate);
  void parse_named();
  void use_named(const std::string& name);
  void close_named(const std::string& name);
  void set_in_pipeline();
  void end_pipeline();

  void prepare();
  void execute();
  void prepared_pipeline();
  void sql_execute();
  void deallocate();
  void deallocate_all();
  void set();
  void reset();
  void role();
  void settings_transaction();
  void change_within(Session& transaction, Settings& visible);
  void check_within(const Settings& visible);
  void code();
  void check_session();
  void temporary_table();
  void drop_table();
  void advisory_lock();
  void unlock();
  void listen();
  void unlisten();
  void hold_cursor();
  void close_cursor();
  void sql_prepare();
  void undone_residue();
  void discard_all();
  void give_up();

  bool skips_ = false;
  std::optional<Session> at_sync_;  ///< settings of a pipeline that fails go back to these
};

}  // namespace stress
