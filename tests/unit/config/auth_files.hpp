#pragma once

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/auth_tokens.hpp"
#include "config/hba.hpp"

namespace pgproxy::config {

/// Files that exist in memory only; the first one is called "main".
class MemoryFiles final : public FileSource {
 public:
  explicit MemoryFiles(std::string_view main) { files["main"] = main; }

  bool exists(const std::string& path) const override { return files.contains(path); }
  Result<std::string> read(const std::string& path) const override {
    const auto file = files.find(path);
    if (file != files.end()) return file->second;
    return std::unexpected(Error{.sqlstate = {}, .message = "cannot read " + path});
  }
  Result<std::vector<std::string>> list(const std::string& directory) const override {
    std::vector<std::string> paths;
    for (const auto& [path, text] : files) {
      if (path.starts_with(directory + "/")) paths.push_back(path);
    }
    return paths;
  }

  std::map<std::string, std::string> files;
};

/// What came of reading "main".
struct AuthFiles {
  explicit AuthFiles(const MemoryFiles& source) {
    lines = read_auth_lines("main", {"test.ini", 3}, "auth_hba_file", source, report, files);
  }
  explicit AuthFiles(std::string_view text) : AuthFiles(MemoryFiles(text)) {}

  /// "file:line: word,word word", quoted words in quotes.
  std::string text() const {
    std::string all;
    for (const AuthTextLine& line : lines) {
      all += fmt::format("{}:{}:", line.at.file, line.at.line);
      for (const AuthField& field : line.fields) {
        for (std::size_t i = 0; i < field.size(); ++i) {
          all += i == 0 ? ' ' : ',';
          all += field[i].is_quoted ? "\"" + field[i].text + "\"" : field[i].text;
        }
      }
      all += '\n';
    }
    return all;
  }
  std::string problems() const {
    std::string all;
    for (const Problem& problem : report.sorted_problems(files)) {
      all += fmt::format("{}:{}: {}\n", problem.file, problem.line, problem.message);
    }
    return all;
  }
  std::string warnings() const {
    std::string all;
    for (const std::string& warning : report.warnings()) all += warning + "\n";
    return all;
  }

  Report report;
  std::vector<std::string> files;
  std::vector<AuthTextLine> lines;
};

}  // namespace pgproxy::config
