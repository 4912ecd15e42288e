#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "pgproxy/config/load.hpp"

namespace pgproxy::config {

/// Where something stands. Line 0: the file as a whole.
struct Origin {
  std::string file;
  int line = 0;
};

/// Collects what is wrong or doubtful, so that one reading reports all of it.
class Report {
 public:
  void problem(const Origin& at, std::string message, std::string hint = {});
  void warning(const Origin& at, const std::string& text);

  /// By file (in the order in which files were first read), then by line; what concerns a whole
  /// file comes last.
  std::vector<Problem> sorted_problems(const std::vector<std::string>& files) const;
  std::size_t problem_count() const { return problems_.size(); }
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  std::vector<Problem> problems_;
  std::vector<std::string> warnings_;
};

}  // namespace pgproxy::config
