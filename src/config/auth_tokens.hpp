#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/report.hpp"

#include "pgproxy/base/result.hpp"

// What pg_hba.conf and pg_ident.conf have in common: lines of fields of words (PostgreSQL
// docs 21.1).
namespace pgproxy::config {

/// The files that other files name. Paths are as they will be in messages.
class FileSource {
 public:
  virtual bool exists(const std::string& path) const = 0;
  virtual Result<std::string> read(const std::string& path) const = 0;
  /// Paths of the files in a directory, as include_dir takes them: *.conf without hidden ones,
  /// sorted.
  virtual Result<std::vector<std::string>> list(const std::string& directory) const = 0;

 protected:
  ~FileSource() = default;
};
/// Those of the system; blocks.
const FileSource& files_on_disk();

struct AuthToken {
  std::string text;
  bool is_quoted = false;  ///< begins with a quote: no keyword

  bool is_keyword(std::string_view keyword) const { return !is_quoted && text == keyword; }
};
/// Words that stand together, separated by commas; @file is replaced by that file's words.
using AuthField = std::vector<AuthToken>;

struct AuthTextLine {
  Origin at;  ///< its first physical line
  std::vector<AuthField> fields;
};

/// All lines that are not empty, with those of included files in their place. A line with something
/// wrong in it is reported, and is not in the result. `setting` names the file, and stands at
/// `named_at`. Adds the names of files read to `files`.
std::vector<AuthTextLine> read_auth_lines(const std::string& path, const Origin& named_at,
                                          std::string_view setting, const FileSource& source,
                                          Report& report, std::vector<std::string>& files);

}  // namespace pgproxy::config
