#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/report.hpp"

namespace pgproxy::config {

/// Is told what a configuration file holds, in the order of its lines.
class IniListener {
 public:
  /// False: the section is unknown; its entries are then left out.
  virtual bool on_section(std::string_view name, const Origin& at) = 0;
  /// `name` is unquoted; `value` is the rest of the line, without blanks at its ends.
  virtual void on_entry(std::string_view section, std::string_view name, std::string_view value,
                        const Origin& at) = 0;

 protected:
  ~IniListener() = default;
};

/// Reads `text` (and what it includes) in PgBouncer's syntax, tokenised by inih. Syntax errors go
/// to `report`; the rest of the file is read all the same. Returns the names of the files read.
std::vector<std::string> read_ini(std::string_view text, const std::string& name,
                                  IniListener& listener, Report& report);

}  // namespace pgproxy::config
