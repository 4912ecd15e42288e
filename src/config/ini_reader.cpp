#include "config/ini_reader.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fmt/format.h>
#include <ini.h>
#include <optional>
#include <system_error>
#include <utility>

#include "config/file.hpp"
#include "config/text.hpp"

#include "pgproxy/base/assert.hpp"

namespace pgproxy::config {

namespace {

constexpr std::size_t kMostIncludeDepth = 10;  // PgBouncer's
constexpr std::size_t kMostNameBytes = 63;     // PostgreSQL's NAMEDATALEN - 1
/// Name of a line that carries on the value of the line before. No entry's name looks like it:
/// escape() never leaves a '+'.
constexpr std::string_view kMore = "+";
constexpr std::size_t kEscapeBytes = 3;  // "%3b"
constexpr const char* kRelativePathHint = "a relative path starts at the working directory";

bool is_name_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
         c == '.' || c == '*' || c == '-';
}

/// Hides from inih every byte that could mean something to it (; # : = [ blanks …).
std::string escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (is_name_char(c) || c == '/') {
      result += c;
    } else {
      result += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    }
  }
  return result;
}

std::string unescape(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    result += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
    i += kEscapeBytes - 1;
  }
  return result;
}

/// Stands between the files and inih, which would cut long lines, take an indented line for a
/// continuation, " ;" for a comment and ":" for a separator: here lines are trimmed, escaped and
/// cut into pieces that inih can hold; what inih makes of them is unescaped and joined again.
class IniReader {
 public:
  IniReader(IniListener& listener, Report& report) : listener_(listener), report_(report) {}

  void open(std::string name, std::string text);
  std::vector<std::string> take_files() { return std::move(files_); }

  // The two callbacks of ini_parse_stream.
  static char* fill(char* buffer, int capacity, void* self) noexcept {
    return static_cast<IniReader*>(self)->next_line(buffer, static_cast<std::size_t>(capacity));
  }
  static int handle(void* self, const char* section, const char* name, const char* value) noexcept {
    static_cast<IniReader*>(self)->on_piece(section, name, value);
    return 1;
  }

 private:
  struct Source {
    std::string name;
    std::string text;
    std::size_t at = 0;
    int line = 0;
  };
  /// An entry on its way through inih.
  struct Entry {
    std::string unsent_name;
    std::string unsent_value;  ///< escaped
    std::string name = {};     ///< as received
    std::string value = {};    ///< as far as received
  };

  char* next_line(char* buffer, std::size_t capacity);
  std::optional<std::string_view> next_source_line();
  std::string take_line(std::string_view line);
  std::string take_section(std::string_view line);
  void take_entry(std::string_view line);
  void take_directive(std::string_view line);
  void include(const std::string& path);
  std::string next_piece(std::size_t capacity);
  void on_piece(std::string_view section, std::string_view name, std::string_view value);

  Origin here() const { return {sources_.back().name, sources_.back().line}; }
  void problem(std::string message, std::string hint = {}) {
    report_.problem(here(), std::move(message), std::move(hint));
  }

  IniListener& listener_;
  Report& report_;
  std::vector<Source> sources_;  ///< the innermost %include last
  std::vector<std::string> files_;
  std::optional<Entry> entry_;
  bool skipping_ = false;  ///< in an unknown section
};

void IniReader::open(std::string name, std::string text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);  // UTF-8 byte order mark
  if (std::ranges::find(files_, name) == files_.end()) files_.push_back(name);
  if (const auto nul = text.find('\0'); nul != std::string::npos) {
    const auto line = 1 + std::count(text.begin(), text.begin() + nul, '\n');
    report_.problem({name, static_cast<int>(line)}, "NUL byte: this is not a text file");
    return;
  }
  sources_.push_back({.name = std::move(name), .text = std::move(text)});
}

/// fgets for inih; nullptr at the end.
char* IniReader::next_line(char* buffer, std::size_t capacity) {
  std::string out;
  while (out.empty()) {
    if (entry_) {
      out = next_piece(capacity);
    } else if (const auto line = next_source_line()) {
      out = take_line(*line);
    } else {
      return nullptr;
    }
  }
  out += '\n';
  PGPROXY_ASSERT(out.size() < capacity);
  out.copy(buffer, out.size());
  buffer[out.size()] = '\0';
  return buffer;
}

/// Valid until the next source is opened.
std::optional<std::string_view> IniReader::next_source_line() {
  while (!sources_.empty() && sources_.back().at >= sources_.back().text.size()) {
    sources_.pop_back();
  }
  if (sources_.empty()) return {};
  Source& source = sources_.back();
  const std::string_view rest = std::string_view(source.text).substr(source.at);
  const std::string_view line = rest.substr(0, rest.find('\n'));
  source.at += line.size() + 1;
  ++source.line;
  return trim(line);
}

/// What inih is to see of this line at once; an entry is left in entry_ instead.
std::string IniReader::take_line(std::string_view line) {
  if (line.empty() || line[0] == '#' || line[0] == ';') return {};
  if (line[0] == '[') return take_section(line);
  if (line[0] == '%') {
    take_directive(line);
  } else if (!skipping_) {
    take_entry(line);
  }
  return {};
}

std::string IniReader::take_section(std::string_view line) {
  if (!line.ends_with(']')) {
    problem(fmt::format("{}: want a section header, [name]", in_quotes(line)));
    skipping_ = true;
    return {};
  }
  const std::string_view name = trim(line.substr(1, line.size() - 2));
  skipping_ = !listener_.on_section(name, here());
  return skipping_ ? std::string{} : fmt::format("[{}]", name);
}

void IniReader::take_entry(std::string_view line) {
  const bool is_quoted = line[0] == '\'';
  const auto name_end = is_quoted ? line.find('\'', 1) : line.find('=');
  if (name_end == std::string_view::npos) {
    return problem(is_quoted ? "a quoted name has no closing quote"
                             : fmt::format("{}: want name = value", in_quotes(line)));
  }
  const std::string_view name =
      is_quoted ? line.substr(1, name_end - 1) : trim(line.substr(0, name_end));
  const std::string_view rest = trim(line.substr(name_end + (is_quoted ? 1 : 0)));
  if (!rest.starts_with('=')) {
    return problem(fmt::format("{}: want = after the quoted name", in_quotes(name)));
  }
  if (name.empty()) return problem("there is no name before =");
  if (name.size() > kMostNameBytes) {
    return problem(fmt::format("{}: a name has {} bytes at most", in_quotes(name), kMostNameBytes));
  }
  if (!is_quoted && !std::ranges::all_of(name, is_name_char)) {
    return problem(fmt::format("{}: a name like this must be quoted", in_quotes(name)),
                   "write it in single quotes, 'my name' = ...; without them a name has letters, "
                   "digits and _ . * -");
  }
  entry_ = Entry{.unsent_name = escape(name), .unsent_value = escape(trim(rest.substr(1)))};
}

void IniReader::take_directive(std::string_view line) {
  constexpr std::string_view word = "%include";
  const std::string_view rest = line.substr(std::min(word.size(), line.size()));
  const std::string path(trim(rest));
  if (!line.starts_with(word) || path.empty() || rest.size() == path.size()) {
    return problem(
        fmt::format("{}: the only line that starts with % is \"%include FILE\"", in_quotes(line)));
  }
  include(path);
}

void IniReader::include(const std::string& path) {
  std::error_code ignored;  // equivalent() is false for what does not exist
  for (const Source& source : sources_) {
    if (std::filesystem::equivalent(source.name, path, ignored)) {
      return problem(
          fmt::format("%include {}: that file is being read already, so it would include "
                      "itself for ever",
                      in_quotes(path)));
    }
  }
  if (sources_.size() > kMostIncludeDepth) {
    return problem(fmt::format("%include {}: more than {} files inside each other", in_quotes(path),
                               kMostIncludeDepth));
  }
  auto text = read_file(path);
  if (!text) return problem("%include: " + text.error().message, kRelativePathHint);
  open(path, *std::move(text));
}

/// The next line for inih of the entry under way: `name=piece`, then `+=piece` as often as needed.
std::string IniReader::next_piece(std::size_t capacity) {
  std::string line = std::exchange(entry_->unsent_name, std::string(kMore)) + "=";
  constexpr std::size_t line_end_bytes = 2;  // "\n\0"
  PGPROXY_ASSERT(line.size() + kEscapeBytes + line_end_bytes <= capacity);
  std::string& value = entry_->unsent_value;
  std::size_t count = std::min(value.size(), capacity - line_end_bytes - line.size());
  // An escape stays in one piece.
  if (count < value.size()) {
    const auto percent = value.rfind('%', count - 1);
    if (percent != std::string::npos && percent + kEscapeBytes > count) count = percent;
  }
  line += value.substr(0, count);
  value.erase(0, count);
  return line;
}

void IniReader::on_piece(std::string_view section, std::string_view name, std::string_view value) {
  if (name != kMore) entry_->name = unescape(name);
  entry_->value += unescape(value);
  if (!entry_->unsent_value.empty()) return;
  const Entry entry = *std::exchange(entry_, std::nullopt);
  listener_.on_entry(section, entry.name, entry.value, here());
}

}  // namespace

std::vector<std::string> read_ini(std::string_view text, const std::string& name,
                                  IniListener& listener, Report& report) {
  IniReader reader(listener, report);
  reader.open(name, std::string(text));
  ini_parse_stream(IniReader::fill, &reader, IniReader::handle, &reader);
  return reader.take_files();
}

}  // namespace pgproxy::config
