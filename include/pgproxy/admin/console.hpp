#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pgproxy/base/result.hpp"
#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/config/load.hpp"

namespace pgproxy::admin {

struct ResultSet;

/// Answers the commands of the console databases `pgproxy` and `pgbouncer`: the text of one Query
/// in, the messages of its answer out, ReadyForQuery included. Columns are PgBouncer 1.25.2's, in
/// its order, then ours.
/// Stateless; on the loop's thread.
class Console {
 public:
  /// Both must outlive the object.
  Console(const StatusSource& source, const config::Loaded& loaded)
      : source_(source), loaded_(loaded) {}

  /// Appends to `out`. What it does not understand is answered by an ERROR: 08P01 as PgBouncer's,
  /// 0A000 for what PgBouncer knows and this version does not.
  /// 42501 for what `is_admin` would be needed for.
  void execute(std::string_view text, bool is_admin, std::string& out) const;
  /// Appends what Describe answers: RowDescription, NoData, or an ERROR. Runs nothing.
  void describe(std::string_view text, bool is_admin, std::string& out) const;
  /// What ParameterStatus says at login: PgBouncer's greeting, which exporters and drivers look at.
  static std::vector<std::pair<std::string, std::string>> parameters();

 private:
  struct Command;

  static Command read_command(std::string_view text);
  void show(const Command& command, std::string_view text, bool is_admin, std::string& out) const;
  Result<ResultSet> look(const StatusSource& source, const Command& command, std::string_view text,
                         bool is_admin) const;

  const StatusSource& source_;
  const config::Loaded& loaded_;
};

}  // namespace pgproxy::admin
