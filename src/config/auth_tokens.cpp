#include "config/auth_tokens.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>

#include "config/file.hpp"
#include "config/text.hpp"

namespace pgproxy::config {

namespace {

constexpr std::size_t kMostNesting = 10;  // PostgreSQL's own
/// Files that include each other twice would double their number with every level.
constexpr std::size_t kMostFiles = 1000;

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

class DiskFiles final : public FileSource {
 public:
  bool exists(const std::string& path) const override {
    std::error_code ignored;
    return std::filesystem::exists(path, ignored);
  }

  Result<std::string> read(const std::string& path) const override { return read_file(path); }

  Result<std::vector<std::string>> list(const std::string& directory) const override {
    std::error_code error;
    std::vector<std::string> paths;
    auto entry = std::filesystem::directory_iterator(directory, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      const std::string name = entry->path().filename();
      std::error_code ignored;
      if (name.starts_with('.') || !name.ends_with(".conf") || entry->is_directory(ignored))
        continue;
      paths.push_back(entry->path());
    }
    if (error) {
      return std::unexpected(Error{.sqlstate = {},
                                   .message = fmt::format("cannot read directory {}: {}",
                                                          in_quotes(directory), error.message())});
    }
    std::ranges::sort(paths);
    return paths;
  }
};

/// Takes fields off the front of one logical line (PostgreSQL's next_field_expand).
class LineScanner {
 public:
  explicit LineScanner(std::string_view rest) : rest_(rest) {}

  /// Empty: the line is over, or something is wrong with it.
  AuthField next_field() {
    AuthField field;
    while (auto token = next_token()) {
      field.push_back(*std::move(token));
      if (!ended_by_comma_) break;
    }
    return field;
  }
  bool has_open_quote() const { return has_open_quote_; }

 private:
  std::optional<AuthToken> next_token();

  std::string_view rest_;
  bool ended_by_comma_ = false;
  bool has_open_quote_ = false;
};

/// A quote opens or closes anywhere in a word; two of them in quotes are one that is meant.
std::optional<AuthToken> LineScanner::next_token() {
  ended_by_comma_ = false;
  while (!rest_.empty() && (is_blank(rest_[0]) || rest_[0] == ',')) rest_.remove_prefix(1);
  AuthToken token;
  bool in_quotes = false;
  bool was_quote = false;  // the character before closed a quotation
  bool saw_quote = false;
  while (!rest_.empty() && (in_quotes || !is_blank(rest_[0]))) {
    const char c = rest_[0];
    if (c == '#' && !in_quotes) {
      rest_ = {};
      break;
    }
    rest_.remove_prefix(1);
    if (c == ',' && !in_quotes) {
      ended_by_comma_ = true;
      break;
    }
    if (c != '"' || was_quote) token.text += c;
    was_quote = c == '"' && in_quotes && !was_quote;
    if (c != '"') continue;
    in_quotes = !in_quotes;
    saw_quote = true;
    if (token.text.empty()) token.is_quoted = true;
  }
  has_open_quote_ |= in_quotes;
  if (!saw_quote && token.text.empty()) return {};
  return token;
}

class AuthFileReader {
 public:
  AuthFileReader(const FileSource& source, Report& report, std::vector<std::string>& files)
      : source_(source), report_(report), files_(files) {}

  void read(const std::string& path, const Origin& named_at, std::string_view setting) {
    auto text = source_.read(path);
    if (text) return read_text(path, *text);
    report_.problem(named_at, fmt::format("{}: {}", setting, text.error().message),
                    "it is read as the user who runs pgproxy");
  }

  std::vector<AuthTextLine> take_lines() { return std::move(lines_); }

 private:
  void read_text(const std::string& path, std::string_view text);
  void take_line(const Origin& at, std::string_view text);
  bool take_include(const AuthTextLine& line);
  bool include(const Origin& at, const std::string& path);
  bool include_directory(const Origin& at, const std::string& path);
  bool expand(const Origin& at, AuthField& field);

  const FileSource& source_;
  Report& report_;
  std::vector<std::string>& files_;
  std::vector<AuthTextLine> lines_;
  std::size_t depth_ = 0;
  std::size_t file_count_ = 0;
};

/// A name in a file is relative to that file's directory.
std::string path_beside(const std::string& file, const std::string& name) {
  const std::filesystem::path path(name);
  return path.is_absolute() ? name : (std::filesystem::path(file).parent_path() / path).string();
}

/// Joins lines that end with a backslash, comments too, as PostgreSQL does.
void AuthFileReader::read_text(const std::string& path, std::string_view text) {
  if (std::ranges::find(files_, path) == files_.end()) files_.push_back(path);
  int number = 0;
  while (!text.empty()) {
    const Origin at{path, number + 1};
    std::string joined;
    bool is_continued = true;
    while (is_continued && !text.empty()) {
      const std::size_t before = joined.size();
      std::string_view piece = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(piece.size() + 1, text.size()));
      ++number;
      while (piece.ends_with('\r')) piece.remove_suffix(1);
      joined += piece;
      is_continued = joined.size() > before && joined.ends_with('\\');
      if (is_continued) joined.pop_back();
    }
    take_line(at, joined);
  }
}

void AuthFileReader::take_line(const Origin& at, std::string_view text) {
  if (text.contains('\0')) return report_.problem(at, "the line has a zero byte");
  AuthTextLine line{.at = at};
  LineScanner scanner(text);
  for (AuthField field = scanner.next_field(); !field.empty(); field = scanner.next_field()) {
    line.fields.push_back(std::move(field));
  }
  if (scanner.has_open_quote()) return report_.problem(at, "a double quote is not closed");
  for (AuthField& field : line.fields) {
    if (!expand(at, field)) return;
  }
  if (line.fields.empty() || take_include(line)) return;
  lines_.push_back(std::move(line));
}

/// True for the three directives, whether they worked or not.
bool AuthFileReader::take_include(const AuthTextLine& line) {
  if (line.fields.size() != 2 || line.fields[0].empty() || line.fields[1].empty()) return false;
  const std::string& word = line.fields[0][0].text;
  if (word != "include" && word != "include_if_exists" && word != "include_dir") return false;
  const std::string path = path_beside(line.at.file, line.fields[1][0].text);
  if (word == "include_dir") return include_directory(line.at, path);
  if (word == "include_if_exists" && !source_.exists(path)) {
    report_.warning(line.at, fmt::format("there is no {}", in_quotes(path)));
    return true;
  }
  return include(line.at, path);
}

/// True, always.
bool AuthFileReader::include(const Origin& at, const std::string& path) {
  if (depth_ >= kMostNesting || file_count_ >= kMostFiles) {
    report_.problem(at, fmt::format("{}: more than {}", in_quotes(path),
                                    depth_ >= kMostNesting
                                        ? fmt::format("{} files inside each other", kMostNesting)
                                        : fmt::format("{} files", kMostFiles)));
    return true;
  }
  auto text = source_.read(path);
  if (!text) {
    report_.problem(at, text.error().message,
                    "a relative name is looked for beside the file that names it");
    return true;
  }
  ++file_count_;
  ++depth_;
  read_text(path, *text);
  --depth_;
  return true;
}

bool AuthFileReader::include_directory(const Origin& at, const std::string& path) {
  const auto paths = source_.list(path);
  if (!paths) {
    report_.problem(at, paths.error().message);
    return true;
  }
  for (const std::string& file : *paths) include(at, file);
  return true;
}

/// Replaces each @file by the words in it; false: reported.
bool AuthFileReader::expand(const Origin& at, AuthField& field) {
  AuthField expanded;
  const std::size_t problem_count = report_.problem_count();
  for (AuthToken& token : field) {
    if (token.is_quoted || token.text.size() < 2 || token.text[0] != '@') {
      expanded.push_back(std::move(token));
      continue;
    }
    std::vector<AuthTextLine> theirs = std::exchange(lines_, {});
    include(at, path_beside(at.file, token.text.substr(1)));
    std::swap(theirs, lines_);
    for (AuthTextLine& line : theirs) {
      for (AuthField& words : line.fields) std::ranges::move(words, std::back_inserter(expanded));
    }
  }
  if (report_.problem_count() != problem_count) return false;
  // PostgreSQL would take the next field in its place.
  if (expanded.empty()) report_.problem(at, "there is no word in what @ names");
  field = std::move(expanded);
  return !field.empty();
}

}  // namespace

const FileSource& files_on_disk() {
  static const DiskFiles files;
  return files;
}

std::vector<AuthTextLine> read_auth_lines(const std::string& path, const Origin& named_at,
                                          std::string_view setting, const FileSource& source,
                                          Report& report, std::vector<std::string>& files) {
  AuthFileReader reader(source, report, files);
  reader.read(path, named_at, setting);
  return reader.take_lines();
}

}  // namespace pgproxy::config
